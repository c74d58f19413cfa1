"""Reads the images of a folder, an ADM npz or an npy batch by batch, without holding the whole set in memory."""

import math
import os
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from gpstoken.files.arrays import check_member, read_header
from gpstoken.files.finding import find_pictures
from gpstoken.files.pictures import ENDINGS, printable, read_picture

MEMBER = "arr_0.npy"  # numpy.savez's name of its first unnamed array, as written by ADM's samplers


def count(source: str | Path) -> int:
    """Number of images of a source of `read_batches`, from file names or a header only.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if it holds no images, or something else.
    """
    source = _existing(source)
    if source.is_dir():
        return len(pictures(source))
    if source.suffix == ".npy":
        return len(_memory_map(source))
    return archive_shape(source)[0]


def archive_shape(source: Path) -> tuple[int, ...]:
    """Shape (N, H, W, 3) of the images of an npz, from its header alone.

    Raises:
        ValueError: if it holds no images, or something else.
    """
    with _member(source) as (_, shape):
        return shape


def contents(path: str | Path) -> set[str]:
    """The content of a reference: "images" (folder, npy, or `arr_0` of an npz), "statistics" (`mu` of an npz), or both.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if it holds neither.
    """
    path = _existing(path)
    if path.is_dir() or path.suffix == ".npy":
        return {"images"}
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
    except Exception as error:  # numpy and zipfile raise nearly anything for damaged files
        raise ValueError(f"{path}: not a folder of pictures, an npz or an npy ({error})") from error
    kinds = {kind for key, kind in (("arr_0", "images"), ("mu", "statistics")) if key in names}
    if not kinds:
        held = ", ".join(names[:6]) or "nothing"
        raise ValueError(f"{path}: expected arr_0 (images) or mu and sigma (statistics), found {held}")
    return kinds


def read_batches(source: str | Path, batch_size: int, rank: int = 0, world: int = 1) -> Iterator[Tensor]:
    """Reads images in order.

    Args:
        source: a folder of pictures of one size (see `pictures`; each is read by `gpstoken.files.pictures`), an npz
            whose `arr_0` is uint8[N, H, W, 3] (stored or deflated, as for ADM's evaluator), or an npy of that array.
        batch_size: images per batch; the last batch may have fewer.
        rank: rank of this process, which gets the batches rank, rank + world, rank + 2 world, ...
        world: number of processes.

    Yields:
        uint8[B, 3, H, W].

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: naming the file, if it is damaged, holds no images, or the pictures differ in size.
    """
    source = _existing(source)
    starts = range(0, count(source), batch_size)
    if source.is_dir():
        arrays = _from_folder(source, starts[rank::world], batch_size)
    elif source.suffix == ".npy":
        images = _memory_map(source)
        arrays = (images[start : start + batch_size] for start in starts[rank::world])
    else:
        # A stream can only be read sequentially, so the batches of other processes are dropped.
        arrays = (array for number, array in enumerate(_from_npz(source, batch_size)) if number % world == rank)
    for array in arrays:
        yield torch.from_numpy(np.array(array.transpose(0, 3, 1, 2), order="C"))


def pictures(folder: Path) -> list[Path]:
    """The pictures of a folder and its subfolders, found by their endings and sorted by path; see `find_pictures`.

    Raises:
        ValueError: if there are none.
    """
    names = find_pictures(folder, leave_ours_out=False).names
    if not names:
        raise ValueError(f"{folder}: no pictures in the folder or its subfolders ({' '.join(ENDINGS)})")
    return [folder / name for name in names]


def _existing(source: str | Path) -> Path:
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or folder; expected a folder of pictures, an npz or an npy")
    return source


def _from_folder(folder: Path, starts: range, batch_size: int) -> Iterator[np.ndarray]:
    paths = pictures(folder)
    expected = _picture(paths[0]).shape
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # decoders release the interpreter lock
        for start in starts:
            chosen = paths[start : start + batch_size]
            images = list(pool.map(_picture, chosen))
            for path, image in zip(chosen, images, strict=True):
                if image.shape != expected:
                    sizes = [f"{width}x{height}" for height, width, _ in (image.shape, expected)]
                    name, first = printable(path), printable(paths[0].name)
                    raise ValueError(f"{name}: {sizes[0]} pixels, but {first} has {sizes[1]}; resize them to one size")
            yield np.stack(images)


_picture = read_picture


def _check(shape: tuple[int, ...], dtype: np.dtype) -> None:
    if dtype != np.uint8 or len(shape) != 4 or shape[-1] != 3 or 0 in shape:
        kind = "pickled objects" if dtype.hasobject else f"{dtype}{list(shape)}"
        raise ValueError(f"expected images uint8[N, H, W, 3], got {kind}")


def _memory_map(source: Path) -> np.ndarray:
    try:
        images = np.lib.format.open_memmap(source, mode="r")  # maps no Python objects
        _check(images.shape, images.dtype)
    except Exception as error:  # numpy and zipfile raise nearly anything for damaged files
        raise ValueError(f"{source}: {' '.join(str(error).split())}") from error
    return images


@contextmanager
def _member(source: Path) -> Iterator[tuple[IO[bytes], tuple[int, ...]]]:
    """The stream of an npz's `arr_0`, past its header, and the array's shape."""
    try:
        with zipfile.ZipFile(source) as archive:
            if MEMBER not in archive.namelist():
                keys = ", ".join(name.removesuffix(".npy") for name in archive.namelist()[:6]) or "nothing"
                raise ValueError(f"no images: expected the key arr_0, found {keys}")
            check_member(archive, MEMBER)
            with archive.open(MEMBER) as stream:
                shape, fortran, dtype = read_header(stream)
                _check(shape, dtype)
                if fortran and math.prod(shape) > 1:
                    raise ValueError("arr_0 is in Fortran order; save numpy.ascontiguousarray of it")
                size = archive.getinfo(MEMBER).file_size - stream.tell()
                if size != math.prod(shape):
                    raise ValueError(f"arr_0 has {size} bytes, but its header says {math.prod(shape)}")
                yield stream, shape
    except Exception as error:  # numpy and zipfile raise nearly anything for damaged files
        # also for an encrypted file, or a compression that this Python does not support
        raise ValueError(f"{source}: {' '.join(str(error).split()) or 'ends too early'}") from error


def _from_npz(source: Path, batch_size: int) -> Iterator[np.ndarray]:
    with _member(source) as (stream, shape):
        for start in range(0, shape[0], batch_size):
            size = (min(batch_size, shape[0] - start), *shape[1:])
            yield np.frombuffer(stream.read(math.prod(size)), np.uint8).reshape(size)
