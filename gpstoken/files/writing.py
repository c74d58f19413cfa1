"""Atomic writing: files and folders get their final name only when they are complete, and replace nothing else."""

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` and renames it at the end; on an error it is removed, the old file stays.

    The content is on disk before the rename: after a power cut `path` is either the old file or the new one.

    Args:
        path: the file to write; its folder must exist. Several processes may write it at once: the last one wins.

    Raises:
        OSError: if it cannot be written, or `path` is a folder.
    """
    path = Path(path)
    part = _part(path)
    try:
        # Created here, so that it gets the permissions of the user's umask, whatever writes into it afterwards.
        with part.open("xb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
        yield part
        part.chmod(mode)
        flush(part)
        os.replace(part, path)
        flush(path.parent)
    except OSError as error:
        # The temporary name would mean nothing to a user; torch and safetensors have their own messages.
        if error.strerror is None or (error.filename is not None and str(part) != str(error.filename)):
            raise
        raise OSError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Adds the file's name to disk errors, because errors while writing to an open file do not have it."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def replace_file(path: str | Path, content: bytes) -> None:
    """Writes a file atomically, creating its folder if needed; see `replacing`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_bytes(content)


@contextmanager
def replacing_folder(folder: str | Path, ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Yields an empty folder beside `folder` and renames it at the end; on an error it is removed, the old one stays.

    Args:
        folder: the folder to write; its parent must exist.
        ours: whether an existing folder may be replaced, see `check_replaceable`.

    Raises:
        ValueError: if something else is there; nothing has been written in that case.
        OSError: if it cannot be written.
    """
    folder = Path(folder)
    check_replaceable(folder, ours)
    part = _part(folder)
    part.mkdir()
    try:
        yield part
        move_folder(part, folder, ours)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def check_replaceable(folder: str | Path, ours: Callable[[Path], bool]) -> None:
    """Checks that a command would not overwrite anything that it has not made.

    Args:
        folder: the folder to be written.
        ours: called with an existing folder that is not empty: whether it is of the kind to be written, and so may be
            replaced.

    Raises:
        ValueError: if a file is there, or a folder that is neither empty nor ours.
    """
    folder = Path(folder)
    _restore(folder)
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise ValueError(f"{folder}: is a file, expected a new folder; choose another name")
    names = sorted(path.name for path in folder.iterdir())
    if names and not ours(folder):
        more = f" and {len(names) - 6} more" if len(names) > 6 else ""
        held = f"{', '.join(names[:6])}{more}"
        raise ValueError(f"{folder}: holds {held}, not only files of this command; choose another folder")


def move_folder(source: str | Path, folder: str | Path, ours: Callable[[Path], bool]) -> None:
    """Moves `source` to `folder`, on any file system; an older `folder` is removed last, when the new one is in place.

    Args:
        source: a complete folder; it no longer exists afterwards.
        folder: its new name; the parent must exist.
        ours: see `check_replaceable`.

    Raises:
        ValueError: see `check_replaceable`.
        OSError: if there is no space, or `folder` cannot be written; both folders are unchanged.
    """
    source, folder = Path(source), Path(folder)
    check_replaceable(folder, ours)
    if _disk(source) != _disk(folder.parent):
        part = _part(folder)
        try:
            _copy(source, part, folder)
            move_folder(part, folder, ours)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(source)
        return
    for path in (*source.rglob("*"), source):
        if not path.is_symlink():
            flush(path)
    old = _old(folder)
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)  # left by a kill after the new folder was in place
        os.rename(folder, old)
    try:
        os.rename(source, folder)
    except OSError:
        _restore(folder)
        raise
    flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def check_writable(path: str | Path) -> None:
    """Checks that a file or folder can be written, before hours of computation.

    Args:
        path: the file or folder to be written; its parent folders need not exist.

    Raises:
        ValueError: naming the parent folder that is a file or not writable, and the reason.
    """
    parents = Path(path).absolute().parents
    above = next(folder for folder in parents if folder.exists() or folder.is_symlink())
    if not above.is_dir():
        raise ValueError(f"{path}: cannot be written, {above} is not a folder; choose another place")
    try:
        with tempfile.TemporaryFile(dir=above) as file:
            file.write(bytes(1 << 12))
            file.flush()
    except OSError as error:
        raise ValueError(f"{path}: cannot be written, {above}: {error.strerror}; choose another place") from error


def remove_abandoned(path: str | Path) -> None:
    """Removes temporary files that killed calls of `replacing` left beside `path`; the caller holds its lock."""
    path = Path(path)
    _remove(abandoned(path.parent, re.escape(path.name)))


def remove_abandoned_within(folder: Path) -> None:
    """Removes temporary files of killed calls of `replacing` below a folder to which only the caller writes."""
    _remove([part for place in (folder, *folder.rglob("*/")) for part in abandoned(place, ".+")])


def abandoned(folder: Path, names: str) -> list[Path]:
    """Temporary files of killed calls of `replacing` in `folder`, for file names that match the expression `names`."""
    left = re.compile(rf"\.(?:{names})\.\d+(-[0-9a-f]{{8}})?\.part")  # an older version wrote no hexadecimal digits
    return [path for path in folder.iterdir() if left.fullmatch(path.name)] if folder.is_dir() else []


def remove_unfinished(folder: Path, name: str) -> None:
    """Removes the folders .NAME.KEY.parts of unfinished work for `name`, but not those of `a.b` when `name` is `a`."""
    left = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{16}}\.parts")
    for path in folder.iterdir():
        if left.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def flush(path: Path) -> None:
    """Waits until a file, or the list of names in a folder, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(parts: list[Path]) -> None:
    for part in parts:
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)


def _copy(source: Path, part: Path, folder: Path) -> None:
    """Calls `copytree` and shortens its error, a list of all files with the same reason."""
    try:
        shutil.copytree(source, part)
    except shutil.Error as error:
        why = re.sub(r"^\[Errno \d+\] |: '.*", "", str(error.args[0][0][2]))
        raise OSError(f"{folder}: cannot be written ({why}); {source} is unchanged") from error


def _part(path: Path) -> Path:
    """A temporary name beside `path` that contains its full name, so that a kill cannot confuse `a` and `a.b`."""
    return path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")


def _disk(path: Path) -> int:
    return path.stat().st_dev


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _restore(folder: Path) -> None:
    """Renames a folder back if a kill has left it under its temporary name in the middle of an exchange."""
    old = _old(folder)
    if old.is_dir() and not folder.exists():
        os.rename(old, folder)
