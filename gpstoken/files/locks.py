"""One process at a time: a lock that ends with the process that holds it, however that ends."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(target: str | Path, command: str) -> Iterator[None]:
    """Holds the lock of a file or folder that is being written, beside it; the kernel frees it when the process ends.

    Args:
        target: what is written; its parent folder must exist.
        command: what writes it, for the message to whoever comes second: "gpstoken fit".

    Raises:
        ValueError: if another process holds it; names that process.
        OSError: if the lock cannot be written.
    """
    target = Path(target)
    path = target.with_name(f".{target.name}.lock")
    descriptor = _acquire(path, target)
    try:
        holder = (
            f"{command} (process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')})"
        )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, holder.encode())
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: who waits for this file finds another and begins anew
        os.close(descriptor)


def _acquire(path: Path, target: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 1000).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise ValueError(f"{target}: {holder} is at work there; wait for it, or choose another place") from None
        except OSError:
            os.close(descriptor)
            raise
        try:
            same = os.path.samestat(os.fstat(descriptor), os.stat(path))
        except FileNotFoundError:  # its last holder has removed it since
            same = False
        if same:
            return descriptor
        os.close(descriptor)
