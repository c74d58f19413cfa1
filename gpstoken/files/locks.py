"""One process at a time, and folders for a time: both end with the process that has them, however that ends."""

import fcntl
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpstoken.files.writing import naming

NEW = 10  # seconds


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
        with naming(path):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, holder.encode())
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: who waits for this file finds another and begins anew
        os.close(descriptor)


@contextmanager
def temporary_folder(parent: str | Path, prefix: str) -> Iterator[Path]:
    """Yields a new folder that is removed at the end; that of a process which was killed, by the next call.

    Args:
        parent: where it is made; it must exist, and may be shared by several machines.
        prefix: of its name, by which the next call finds it.
    """
    parent = Path(parent)
    for folder in parent.glob(f"{prefix}*"):
        _remove_if_abandoned(folder)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _remove_if_abandoned(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # another process has removed it, or it is not ours to read
        return
    try:
        # A folder is locked a moment after it is made.
        if time.time() - os.fstat(descriptor).st_mtime > NEW:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # it is in use
        pass
    finally:
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
