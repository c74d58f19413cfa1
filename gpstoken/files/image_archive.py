"""The npz format for evaluating generators: images `arr_0`, labels `arr_1` (ADM, Dhariwal and Nichol 2021)."""

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np


def write_archive(path: Path, shape: tuple[int, ...], images: Iterable[np.ndarray], labels: Sequence[int]) -> None:
    """Writes an npz without compression or dates, so that equal images give equal files; memory holds one piece.

    Args:
        path: the file.
        shape: (N, H, W, 3) of all images.
        images: the images in order, in pieces uint8[..., H, W, 3].
        labels: N classes; they are read after the last image and may be filled in until then.
    """
    with zipfile.ZipFile(path, "w") as archive:
        _add(archive, "arr_0", shape, np.uint8, images)
        _add(archive, "arr_1", shape[:1], np.int64, [np.array(labels, np.int64)])


def _add(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], kind: type, arrays: Iterable[np.ndarray]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": shape}
    # A ZipInfo has a fixed date; a plain name would get today's.
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for array in arrays:
            stream.write(array.tobytes())
