"""Files and folders that take their name only when they are whole, and never at the cost of something else."""

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
    """Yields a temporary path beside `path`, which takes its name at the end; an error removes it, the old file stays.

    The content is on the disk before the name is: after a power cut `path` is the old file or the new one.

    Args:
        path: the file to write; its folder must exist. Several processes may write it at once: the last one stays.

    Raises:
        OSError: if it cannot be written, or `path` is a folder.
    """
    path = Path(path)
    part = _part(path)
    try:
        # Made here, so that it has the permissions that the user's umask gives, whatever writes into it afterwards.
        with part.open("xb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
        yield part
        part.chmod(mode)
        flush(part)
        os.replace(part, path)
        flush(path.parent)
    except OSError as error:
        # The name of the part would tell a user nothing; torch and safetensors have texts of their own.
        if error.strerror is None or (error.filename is not None and str(part) != str(error.filename)):
            raise
        raise OSError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Has errors of the disk name the file: those of writing to an open one do not."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def replace_file(path: str | Path, content: bytes) -> None:
    """Writes a file whole, in a folder that is made where it is not there; see `replacing`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_bytes(content)


@contextmanager
def replacing_folder(folder: str | Path, ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Yields an empty folder beside `folder`, which takes its name at the end; an error removes it, the old one stays.

    Args:
        folder: the folder to write; its parent must exist.
        ours: tells of a folder with that name whether it may be replaced, as `check_replaceable` has it.

    Raises:
        ValueError: if something else is there; nothing has been written then.
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
    """Refuses a place at which a command would overwrite what it has not made.

    Args:
        folder: where a folder is to be written.
        ours: called with a folder that is there and not empty: whether it is of the kind that is to be written, and so
            may be replaced.

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
        raise ValueError(f"{folder}: holds {held}, not what this command writes alone; choose another folder")


def move_folder(source: str | Path, folder: str | Path, ours: Callable[[Path], bool]) -> None:
    """`source` becomes `folder`, on whatever file system that is. What was there goes last, when the new one is there.

    Args:
        source: a whole folder; it is gone afterwards.
        folder: its new name; the parent must exist.
        ours: see `check_replaceable`.

    Raises:
        ValueError: see `check_replaceable`.
        OSError: if there is no room, or `folder` cannot be written; both folders are as they were.
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
        shutil.rmtree(old, ignore_errors=True)  # a kill has left it after the new one was in place
        os.rename(folder, old)
    try:
        os.rename(source, folder)
    except OSError:
        _restore(folder)
        raise
    flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def check_writable(path: str | Path) -> None:
    """Refuses a file or folder to be written where nothing can be written, before hours of work for it.

    Args:
        path: what will be written; the folders above it need not exist.

    Raises:
        ValueError: if one of them is a file, or cannot be written to; says which and why.
    """
    parents = Path(path).absolute().parents
    above = next(folder for folder in parents if folder.exists() or folder.is_symlink())
    if not above.is_dir():
        raise ValueError(f"{path}: cannot be written, {above} is no folder; choose another place")
    try:
        with tempfile.TemporaryFile(dir=above) as file:
            file.write(bytes(1 << 12))
            file.flush()
    except OSError as error:
        raise ValueError(f"{path}: cannot be written, {above}: {error.strerror}; choose another place") from error


def remove_abandoned(path: str | Path) -> None:
    """Removes what kills within `replacing` have left beside `path`; the caller holds the lock of `path`."""
    path = Path(path)
    _remove(abandoned(path.parent, re.escape(path.name)))


def remove_abandoned_within(folder: Path) -> None:
    """Removes what kills within `replacing` have left anywhere below a folder that the caller alone writes to."""
    _remove([part for each in (folder, *folder.rglob("*/")) for part in abandoned(each, ".+")])


def abandoned(folder: Path, names: str) -> list[Path]:
    """What kills within `replacing` have left in `folder` of files whose names the regular expression `names` has."""
    left = re.compile(rf"\.(?:{names})\.\d+(-[0-9a-f]{{8}})?\.part")  # without hexadecimal digits: of an older version
    return [path for path in folder.iterdir() if left.fullmatch(path.name)] if folder.is_dir() else []


def remove_unfinished(folder: Path, name: str) -> None:
    """Removes the folders .NAME.KEY.parts, in which work for `name` was begun; of no other name, `a.b` for `a`."""
    left = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{16}}\.parts")
    for path in folder.iterdir():
        if left.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def flush(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(parts: list[Path]) -> None:
    for part in parts:
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)


def _copy(source: Path, part: Path, folder: Path) -> None:
    """`copytree`, whose own error is a list of all files with the same reason."""
    try:
        shutil.copytree(source, part)
    except shutil.Error as error:
        why = re.sub(r"^\[Errno \d+\] |: '.*", "", str(error.args[0][0][2]))
        raise OSError(f"{folder}: cannot be written ({why}); {source} stays") from error


def _part(path: Path) -> Path:
    """A name beside `path` that holds its own in full: `a` and `a.b` must not be taken for one another after a kill."""
    return path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")


def _disk(path: Path) -> int:
    return path.stat().st_dev


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _restore(folder: Path) -> None:
    """Gives a folder its name back that a kill has left under the name it had for the moment of the exchange."""
    old = _old(folder)
    if old.is_dir() and not folder.exists():
        os.rename(old, folder)
