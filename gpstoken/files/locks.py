"""Locks and temporary folders, released when their process ends, however it ends."""

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
    """Holds a lock beside a file or folder while it is written; the kernel releases it when the process ends.

    Args:
        target: the file or folder to be written; its parent folder must exist.
        command: the command that writes it, such as "gpstoken fit", for the error of a second process.

    Raises:
        ValueError: naming the process, if another process holds the lock.
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
        path.unlink(missing_ok=True)  # while still locked: a process that opened this file notices and tries again
        os.close(descriptor)


@contextmanager
def temporary_folder(parent: str | Path, prefix: str) -> Iterator[Path]:
    """Yields a new folder that is removed at the end; the folder of a killed process is removed by the next call.

    Args:
        parent: parent folder; it must exist, and may be shared by several machines.
        prefix: prefix of the folder's name, by which the next call finds an abandoned folder.
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
    except OSError:  # another process has removed it, or there is no permission
        return
    try:
        # A folder is locked a moment after it is created.
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
            raise ValueError(f"{target}: {holder} is writing there; wait for it, or choose another place") from None
        except OSError:
            os.close(descriptor)
            raise
        try:
            same = os.path.samestat(os.fstat(descriptor), os.stat(path))
        except FileNotFoundError:  # the last holder has removed it in the meantime
            same = False
        if same:
            return descriptor
        os.close(descriptor)
