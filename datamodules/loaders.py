"""Loaders over the samples of a split, which resume bit for bit and share samples among devices."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch.utils.data import DataLoader, Dataset

from datamodules.sampling import EpochSampler, ResumableLoader


class SampleLoaders(LightningDataModule, ABC):
    """The loaders of data modules whose `dataset(split)` gives samples; the modules set the attributes.

    Attributes:
        batch_size: samples in a batch (per device). Training drops the last, incomplete batch of an epoch.
        num_workers: processes that prepare samples.
        seed: determines the order of the training samples.
    """

    batch_size: int
    num_workers: int
    seed: int

    @abstractmethod
    def dataset(self, split: str) -> Dataset:
        """The samples of a split."""

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled batches; a restarted trainer gets exactly those that it has not finished."""
        trainer, samples = self.trainer, self.dataset("train")
        place = {"num_replicas": trainer.world_size, "rank": trainer.global_rank} if trainer else {}
        sampler = EpochSampler(samples, self.batch_size, self.seed, **place, batches_done=self._batches_done)
        return ResumableLoader(samples, sampler=sampler, drop_last=True, **self._loading())

    def in_order(self, samples: Dataset, called: str) -> DataLoader:
        """All samples in order, each on exactly one of the trainer's devices.

        Args:
            samples: the samples of a split, or some of them.
            called: what an error message calls them, such as "images of test".

        Raises:
            ValueError: if there are fewer samples than devices: a device without a batch would keep the others waiting.
        """
        count, sampler = len(samples), None
        if self.trainer and self.trainer.world_size > 1 and count:
            devices, rank = self.trainer.world_size, self.trainer.global_rank
            if count < devices:
                raise ValueError(f"{type(self).__name__}: {count} {called} for {devices} devices; use {count}")
            sampler = UnrepeatedDistributedSampler(samples, num_replicas=devices, rank=rank, shuffle=False)
        return DataLoader(samples, sampler=sampler, **self._loading())

    def _loading(self) -> dict[str, Any]:
        # The loader gets its own generator: from the global one DataLoader would draw its workers' seeds, and the
        # model's random numbers would depend on how many epochs have begun.
        rng = torch.Generator().manual_seed(self.seed)
        pinned = torch.cuda.is_available()
        return {"batch_size": self.batch_size, "num_workers": self.num_workers, "pin_memory": pinned, "generator": rng}

    def _batches_done(self) -> int:
        # `processed`, not `completed`: callbacks that save after a batch run before Lightning counts it as completed.
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.processed if self.trainer else 0
