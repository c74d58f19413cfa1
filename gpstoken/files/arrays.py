"""Arrays out of an npz that others have written: no more is unpacked than the file's size makes likely."""

import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

import numpy as np

PLAIN_BYTES = 2**25  # an array up to this may be packed as well as it can be: labels, constants
RATIO = 100  # of a larger one, bytes to those in the file; photographs and covariances come to less than 10
PIECE = 2**20
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # numpy's; others unpack a piece of the file to any size


def read_arrays(path: str | Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an npz, in the order of the file.

    Args:
        path: the file.
        names: of the arrays that are wanted where they are there; None: all.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or one of the arrays holds objects of Python or is far larger than its place in
            the file. Other errors of numpy and zipfile: they raise nearly anything on garbage.
    """
    with zipfile.ZipFile(path) as archive:
        members = {member.removesuffix(".npy"): member for member in archive.namelist()}
        return {name: _read(archive, member) for name, member in members.items() if names is None or name in names}


def array_names(path: str | Path) -> list[str]:
    """Names of the arrays of an npz; raises as `read_arrays`."""
    with zipfile.ZipFile(path) as archive:
        return [member.removesuffix(".npy") for member in archive.namelist()]


def check_member(archive: zipfile.ZipFile, member: str) -> None:
    """Refuses a member of a zip whose unpacking would take memory that the file's size does not let expect.

    Raises:
        ValueError: if it is packed by another method than numpy's, or too well.
    """
    info = archive.getinfo(member)
    name = member.removesuffix(".npy")
    if info.compress_type not in METHODS:
        raise ValueError(f"{name} is packed by method {info.compress_type} of zip, and only deflated ones are read")
    if info.file_size > max(PLAIN_BYTES, RATIO * info.compress_size):
        raise ValueError(f"{name} unpacks from {info.compress_size:,} to {info.file_size:,} bytes, no array of numbers")


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran order, and type of an npy; the stream is past its header then.

    Raises:
        ValueError: if it is of another version than numpy writes for arrays of numbers.
    """
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"of npy version {version}, expected (1, 0)")
    return np.lib.format.read_array_header_1_0(stream)


def _read(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    check_member(archive, member)
    with archive.open(member) as stream:
        shape, fortran, kind = read_header(stream)
        if kind.hasobject:
            raise ValueError("it holds Python objects, and only numbers are read")
        size = archive.getinfo(member).file_size - stream.tell()
        if any(side < 0 for side in shape) or math.prod(shape) * kind.itemsize != size:
            raise ValueError(f"{member} has {size:,} bytes, its header says {kind} {list(shape)}")
        content, filled = bytearray(size), 0
        while piece := stream.read(min(PIECE, size - filled)):
            content[filled : filled + len(piece)] = piece
            filled += len(piece)
        if filled != size:
            raise ValueError(f"{member} ends too early")
    array = np.frombuffer(content, kind) if size else np.empty(math.prod(shape), kind)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)
