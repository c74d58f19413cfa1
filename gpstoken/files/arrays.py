"""Reads the arrays of npz files from any source, without unpacking more than the file's size makes plausible."""

import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

import numpy as np

PLAIN_BYTES = 2**25  # up to this size an array may have any compression ratio, such as labels and constants
RATIO = 100  # largest compression ratio above that size; photographs and covariances stay below 10
PIECE = 2**20
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # numpy's methods; others can unpack a small piece to any size


def read_arrays(path: str | Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an npz, in the order of the file.

    Args:
        path: the file.
        names: names of the arrays to read, if present; None: all.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, or an array holds Python objects or is far larger than its compressed form.
            Other errors of numpy and zipfile, which raise nearly anything for damaged files.
    """
    with zipfile.ZipFile(path) as archive:
        members = {member.removesuffix(".npy"): member for member in archive.namelist()}
        return {name: _read(archive, member) for name, member in members.items() if names is None or name in names}


def array_names(path: str | Path) -> list[str]:
    """Names of the arrays of an npz; raises the same errors as `read_arrays`."""
    with zipfile.ZipFile(path) as archive:
        return [member.removesuffix(".npy") for member in archive.namelist()]


def check_member(archive: zipfile.ZipFile, member: str) -> None:
    """Checks that unpacking a member of a zip takes no more memory than its compressed size makes plausible.

    Raises:
        ValueError: if its compression method is not one of numpy's, or its compression ratio is too high.
    """
    info = archive.getinfo(member)
    name = member.removesuffix(".npy")
    if info.compress_type not in METHODS:
        raise ValueError(f"{name} has compression method {info.compress_type} of zip, but only deflate is read")
    if info.file_size > max(PLAIN_BYTES, RATIO * info.compress_size):
        raise ValueError(f"{name} unpacks from {info.compress_size:,} to {info.file_size:,} bytes, unlike numbers")


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads an npy header from a stream: shape, whether in Fortran order, and type.

    Raises:
        ValueError: if the version is not the one that numpy writes for arrays of numbers.
    """
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"npy version {version}, expected (1, 0)")
    return np.lib.format.read_array_header_1_0(stream)


def _read(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    check_member(archive, member)
    with archive.open(member) as stream:
        shape, fortran, kind = read_header(stream)
        if kind.hasobject:
            raise ValueError("it holds Python objects, but only numbers are read")
        size = archive.getinfo(member).file_size - stream.tell()
        if any(side < 0 for side in shape) or math.prod(shape) * kind.itemsize != size:
            raise ValueError(f"{member} has {size:,} bytes, but its header says {kind} {list(shape)}")
        content, filled = bytearray(size), 0
        while piece := stream.read(min(PIECE, size - filled)):
            content[filled : filled + len(piece)] = piece
            filled += len(piece)
        if filled != size:
            raise ValueError(f"{member} ends too early")
    array = np.frombuffer(content, kind) if size else np.empty(math.prod(shape), kind)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)
