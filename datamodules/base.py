"""What every data set shares: splits, crops, the batch contract and loaders that resume bit for bit.

The contract with `gpstoken` is one batch dict:
`{"image": float[B, 3, H, W] in [-1, 1], "label": long[B], "index": long[B]}`, index = stable position in the split.
"""

import hashlib
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from datamodules.images import adm_centre_crop, mirrored_centre
from datamodules.samples import EvaluationSamples, Photos, TrainingSamples, View
from datamodules.sampling import EpochSampler, ResumableLoader

STAGES = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}


class ImageDataModule(LightningDataModule, ABC):
    """A data set: a subclass says which pictures a split has, and all else is here.

    Args:
        image_size: side of the images in pixels.
        batch_size: images in a batch (per device). Training drops the last, incomplete batch of an epoch.
        num_workers: processes that prepare samples; they never change what the samples are.
        seed: of the order and the views of training samples, >= 0.
        epoch_length: training samples an epoch; None: `views_per_photo` for each photo. Training views are random, so
            that an epoch is a convention; a sample's index is its number within the epoch.

    Raises:
        ValueError: for a size below 1 or a negative number.
    """

    views_per_photo: ClassVar[int] = 1
    training_view: ClassVar[View] = staticmethod(mirrored_centre)

    def __init__(
        self,
        image_size: int = 64,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
        epoch_length: int | None = None,
    ) -> None:
        """See the class."""
        super().__init__()
        limits = {"image_size": (image_size, 1), "batch_size": (batch_size, 1), "num_workers": (num_workers, 0)}
        limits |= {"seed": (seed, 0), "epoch_length": (1 if epoch_length is None else epoch_length, 1)}
        for name, (value, lowest) in limits.items():
            if value < lowest:
                raise ValueError(f"{type(self).__name__}: {name} must be at least {lowest}, got {value}")
        self.image_size = image_size
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.epoch_length = epoch_length
        self._datasets: dict[str, TrainingSamples | EvaluationSamples] = {}

    @abstractmethod
    def photos(self, split: str) -> Photos:
        """The pictures of a split; none where it has none.

        Args:
            split: "train", "val" or "test".

        Raises:
            ValueError: if the data is missing; the message says how to get it.
        """

    def setup(self, stage: str) -> None:
        """Loads the splits of a stage (fit, validate, test, predict), so that missing data is an error at the start."""
        for split in STAGES[stage]:
            self.dataset(split)

    def dataset(self, split: str) -> TrainingSamples | EvaluationSamples:
        """The samples of a split, loaded once.

        Args:
            split: "train", "val" or "test".

        Raises:
            ValueError: if "train" or "test" is empty, or an epoch is shorter than a batch. An empty "val" only means
                that nothing is validated.
        """
        if split not in self._datasets:
            photos = self.photos(split)
            if not photos and split != "val":
                raise ValueError(f"{type(self).__name__}: the split {split!r} has no picture")
            if split == "train":
                length = self.epoch_length or self.views_per_photo * len(photos)
                if length < self.batch_size:
                    raise ValueError(
                        f"{type(self).__name__}: an epoch of {length} is below batch_size {self.batch_size}"
                    )
                view = type(self).training_view
                self._datasets[split] = TrainingSamples(photos, self.image_size, self.seed, length, view)
            else:
                self._datasets[split] = EvaluationSamples(photos, self.image_size)
        return self._datasets[split]

    def sources(self, split: str) -> list[str]:
        """Name of the photograph behind each index of a split: samples of one photo are not independent."""
        dataset = self.dataset(split)
        return [dataset.photos.sources[i % len(dataset.photos)] for i in range(len(dataset))]

    def fingerprint(self, split: str) -> str:
        """Hexadecimal sha256 over the prepared pixels of a split: the photos of "train", the views of the others."""
        dataset = self.dataset(split)
        digest = hashlib.sha256()
        for i in range(len(dataset.photos)):
            picture = dataset.photos.read(i)
            if split != "train":
                picture = adm_centre_crop(picture, self.image_size)
            digest.update(repr(picture.shape).encode())
            digest.update(np.ascontiguousarray(picture))
        return digest.hexdigest()

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled batches; a restarted trainer gets exactly those that it has not finished."""
        trainer = self.trainer
        place = {"num_replicas": trainer.world_size, "rank": trainer.global_rank} if trainer else {}
        sampler = EpochSampler(
            self.dataset("train"), self.batch_size, self.seed, **place, batches_done=self._batches_done
        )
        return ResumableLoader(self.dataset("train"), sampler=sampler, drop_last=True, **self._loading())

    def val_dataloader(self) -> DataLoader | list:
        """The views of "val" in order; an empty list, which Lightning takes for no validation, where there are none."""
        dataset = self.dataset("val")
        return DataLoader(dataset, **self._loading()) if len(dataset) else []

    def test_dataloader(self) -> DataLoader:
        """The views of "test" in order."""
        return DataLoader(self.dataset("test"), **self._loading())

    def predict_dataloader(self) -> DataLoader:
        """The same as `test_dataloader`."""
        return self.test_dataloader()

    def _loading(self) -> dict[str, Any]:
        # A generator of its own: DataLoader would draw its workers' seeds from the global one, and so would change the
        # model's random numbers with the number of epochs begun.
        own = torch.Generator().manual_seed(self.seed)
        pinned = torch.cuda.is_available()
        return {"batch_size": self.batch_size, "num_workers": self.num_workers, "pin_memory": pinned, "generator": own}

    def _batches_done(self) -> int:
        # `processed`, not `completed`: callbacks that save after a batch run before Lightning counts it as completed.
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.processed if self.trainer else 0
