"""Pictures as samples of the batch contract: random views to train on, fixed ones to evaluate on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from datamodules.images import adm_centre_crop, read_rgb, to_tensor

View = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Photos:
    """The pictures of one split.

    Attributes:
        sources: name of the photograph behind each picture; several views of one photo share it.
        labels: class number of each picture.
        pictures: uint8[H, W, 3] arrays, or paths to read when wanted.
    """

    sources: Sequence[str]
    labels: Sequence[int]
    pictures: Sequence[np.ndarray | Path]

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.pictures)

    def read(self, i: int) -> np.ndarray:
        """Picture i, uint8[H, W, 3].

        Raises:
            ValueError: if its file cannot be read.
        """
        picture = self.pictures[i]
        return read_rgb(picture) if isinstance(picture, Path) else picture


class TrainingSamples(Dataset):
    """Random views: a sample is a pure function of (seed, epoch, index), and shows photo index % len(photos).

    Args:
        photos: what to look at.
        image_size: side of the views in pixels.
        seed: of crop, scale and mirroring.
        length: samples an epoch.
        view: (picture, image_size, generator) to uint8[image_size, image_size, 3].
    """

    def __init__(self, photos: Photos, image_size: int, seed: int, length: int, view: View) -> None:
        """See the class."""
        self.photos = photos
        self.image_size = image_size
        self.seed = seed
        self.length = length
        self.view = view

    def __len__(self) -> int:
        """Samples an epoch."""
        return self.length

    def __getitem__(self, key: tuple[int, int] | int) -> dict[str, Any]:
        """One sample of the batch contract; a plain index (Lightning's overfit_batches asks so) means epoch 0."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        generator = np.random.default_rng((self.seed, epoch, index))
        i = index % len(self.photos)
        picture = self.view(self.photos.read(i), self.image_size, generator)
        return {"image": to_tensor(picture), "label": self.photos.labels[i], "index": index}


class EvaluationSamples(Dataset):
    """The centre square of every picture, in order.

    Args:
        photos: what to look at.
        image_size: side of the squares in pixels.
    """

    def __init__(self, photos: Photos, image_size: int) -> None:
        """See the class."""
        self.photos = photos
        self.image_size = image_size

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.photos)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One sample of the batch contract."""
        picture = adm_centre_crop(self.photos.read(index), self.image_size)
        return {"image": to_tensor(picture), "label": self.photos.labels[index], "index": index}
