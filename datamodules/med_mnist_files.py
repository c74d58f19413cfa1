"""The npz files of MedMNIST: fetched by its package, read by numpy."""

import os
from pathlib import Path

import numpy as np

from gpstoken.files.arrays import read_arrays
from gpstoken.files.locks import temporary_folder


def read_split(path: Path, split: str, size: int) -> tuple[list[np.ndarray], list[int]]:
    """Pictures and labels of one split.

    Args:
        path: npz with `<split>_images`, uint8[N, size, size] or [N, size, size, 3], and `<split>_labels`, [N, K].
        split: "train", "val" or "test".
        size: side of the pictures in pixels.

    Returns:
        uint8[size, size, 3] each (grey pictures are views that repeat one channel), and the class of each; 0 for K > 1,
        where a picture may have several classes.

    Raises:
        ValueError: if the file cannot be read or holds anything else.
    """
    try:
        names = f"{split}_images", f"{split}_labels"
        arrays = read_arrays(path, names)
        if missing := [name for name in names if name not in arrays]:
            raise KeyError(f"{missing[0]} is not a file in the archive")
        images, labels = (arrays[name] for name in names)
    except Exception as error:  # zipfile, zlib and numpy each have errors of their own
        raise ValueError(f"{path}: no {split} split of MedMNIST can be read: {error}; fetch it again") from error
    expected = (len(images), size, size)
    if images.dtype != np.uint8 or images.shape not in (expected, (*expected, 3)):
        raise ValueError(
            f"{path}: {split}_images is {images.dtype}{list(images.shape)}, expected a 2-D set of {size} pixels, "
            f"uint8[N, {size}, {size}] or uint8[N, {size}, {size}, 3]"
        )
    if labels.ndim != 2 or len(labels) != len(images) or labels.dtype.kind not in "iu":
        raise ValueError(f"{path}: {split}_labels is {labels.dtype}{list(labels.shape)}, expected [{len(images)}, K]")
    if images.ndim == 3:
        images = np.broadcast_to(images[..., None], (*expected, 3))
    classes = labels[:, 0] if labels.shape[1] == 1 else np.zeros(len(labels), dtype=int)
    return list(images), classes.tolist()


def download(name: str, size: int, path: Path) -> None:
    """Fetches a file with the package `medmnist`, which checks its MD5.

    Args:
        name: name of the set.
        size: 28, 64, 128 or 224.
        path: where to keep the file; an interrupted download leaves nothing there.

    Raises:
        ValueError: if the package or the set is missing, or the download fails.
    """
    try:
        import medmnist
    except ImportError as error:
        raise ValueError("MedMNIST: download needs the package medmnist: pip install medmnist") from error
    if name not in medmnist.INFO:
        raise ValueError(f"MedMNIST: no set {name!r}; there are {', '.join(medmnist.INFO)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(path.parent, ".partial-") as partial:
        try:
            kind = getattr(medmnist, medmnist.INFO[name]["python_class"])
            kind(split="val", root=str(partial), size=size, download=True)
        except Exception as error:  # AssertionError for a size that the set lacks, else RuntimeError
            raise ValueError(f"MedMNIST: {name} of {size} pixels cannot be fetched: {error}") from error
        os.replace(partial / path.name, path)
