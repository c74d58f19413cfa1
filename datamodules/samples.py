"""Pictures as samples of the batch contract: random views for training (`prepared` has the views for evaluation)."""

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from datamodules.crops import to_tensor
from datamodules.reading import Member, read_rgb

View = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Photos:
    """The pictures of one split.

    Attributes:
        sources: name of the photograph behind each picture; several views of one photo share it.
        labels: class number of each picture.
        pictures: uint8[H, W, 3] arrays, paths or members of other files; the latter two are read when needed.

    Raises:
        ValueError: if the three have different lengths.
    """

    sources: Sequence[str]
    labels: Sequence[int]
    pictures: Sequence[np.ndarray | Path | Member]

    def __post_init__(self) -> None:
        """See the class."""
        counts = len(self.sources), len(self.labels), len(self.pictures)
        if len(set(counts)) > 1:
            raise ValueError("Photos: {} sources, {} labels and {} pictures".format(*counts))

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.pictures)

    def read(self, i: int) -> np.ndarray:
        """Picture i, uint8[H, W, 3].

        Raises:
            ValueError: if its file cannot be read.
        """
        picture = self.pictures[i]
        return picture if isinstance(picture, np.ndarray) else read_rgb(picture)


class TrainingSamples(Dataset):
    """Random views: a sample is a pure function of (seed, epoch, index), and shows photo index % len(photos).

    Args:
        photos: the photographs to show.
        image_size: side of the views in pixels.
        seed: determines crop, scale and mirroring.
        length: samples per epoch.
        view: (picture, image_size, generator) to uint8[image_size, image_size, 3].
        skip: whether an unreadable picture is reported once (by each process) and replaced by the next readable one;
            otherwise it is a ValueError.
    """

    def __init__(self, photos: Photos, image_size: int, seed: int, length: int, view: View, skip: bool = False) -> None:
        """See the class."""
        self.photos = photos
        self.image_size = image_size
        self.seed = seed
        self.length = length
        self.view = view
        self.skip = skip
        self._unreadable: set[int] = set()

    def __len__(self) -> int:
        """Samples per epoch."""
        return self.length

    def __getitem__(self, key: tuple[int, int] | int) -> dict[str, Any]:
        """One sample of the batch contract; a plain index, as from Lightning's overfit_batches, means epoch 0."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        generator = np.random.default_rng((self.seed, epoch, index))
        i, picture = self._read(index % len(self.photos))
        view = self.view(picture, self.image_size, generator)
        return {"image": to_tensor(view), "label": self.photos.labels[i], "index": index}

    def _read(self, first: int) -> tuple[int, np.ndarray]:
        for i in itertools.chain(range(first, len(self.photos)), range(first)):
            if i in self._unreadable:
                continue
            try:
                return i, self.photos.read(i)
            except ValueError as error:
                if not self.skip:
                    raise
                self._unreadable.add(i)
                print(f"skipped: {error}", file=sys.stderr)
        raise ValueError(f"none of the {len(self.photos)} training pictures can be read")
