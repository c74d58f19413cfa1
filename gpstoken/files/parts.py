"""The intermediate files of an evaluation: small files of finished images, so that a killed evaluation can resume."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gpstoken.files.arrays import read_arrays
from gpstoken.files.reasons import reason
from gpstoken.files.writing import replacing


class Parts:
    """Columns of evaluated images, in files of some hundred images each.

    Every column has one entry per image; the column "index" holds the number of the image. Each file is written as a
    whole or not at all, so after a kill exactly the images in the files are done. The processes of an evaluation share
    the folder.

    Args:
        folder: folder of the files; its name must be unique to this evaluation.
    """

    def __init__(self, folder: Path) -> None:
        """Opens the folder, which need not exist."""
        self.folder = folder

    def write(self, columns: dict[str, np.ndarray]) -> None:
        """Adds one file of images: columns as arrays[n, ...], including the column "index"."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # Names sort in the order of writing; the suffix distinguishes processes, also those of an earlier call.
        name = f"{len(self.files()):06d}-{os.getpid()}-{uuid.uuid4().hex[:8]}.npz"
        with replacing(self.folder / name) as part, part.open("wb") as file:
            np.savez(file, **columns)

    def files(self) -> list[Path]:
        """The files, in the same order on every process."""
        return sorted(self.folder.glob("[0-9]*.npz"))

    def done(self) -> set[int]:
        """Indices of the images that are done.

        Raises:
            ValueError: if an image occurs twice, because two evaluations have written into one folder.
        """
        indices = [int(index) for columns in self.read(["index"]) for index in columns["index"]]
        if len(indices) != len(set(indices)):
            raise ValueError(f"{self.folder}: two evaluations have run at once; delete the folder and start again")
        return set(indices)

    def columns(self) -> list[str]:
        """Names of all columns, in the order in which they were written; empty before the first file."""
        return next((list(_read(path)) for path in self.files()), [])

    def read(self, names: list[str]) -> Iterator[dict[str, np.ndarray]]:
        """The columns `names`, file by file."""
        for path in self.files():
            columns = _read(path, names)
            if len(columns) != len(set(names)):
                raise ValueError(f"{path}: lacks one of {', '.join(names)}; delete {self.folder} and start again")
            yield {name: columns[name] for name in names}

    def sorted(self, names: list[str]) -> dict[str, np.ndarray]:
        """The columns `names` of all images, by index."""
        pieces = list(self.read(["index", *names]))
        order = np.argsort(np.concatenate([piece["index"] for piece in pieces]))
        return {name: np.concatenate([piece[name] for piece in pieces])[order] for name in ["index", *names]}

    def column(self, name: str) -> np.ndarray:
        """One column of all images, by index."""
        return self.sorted([name])[name]


def _read(path: Path, names: list[str] | None = None) -> dict[str, np.ndarray]:
    """The columns of one file: all of them, or those of `names` that it has.

    Raises:
        ValueError: for a damaged file.
    """
    try:
        return read_arrays(path, names)
    except Exception as error:  # numpy and zipfile raise nearly anything for damaged files
        raise ValueError(f"{path}: damaged ({reason(error)}); delete {path.parent} and start again") from error
