"""The order of training samples, and a loader that goes on in the middle of an epoch."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler


class EpochSampler(DistributedSampler):
    """A permutation that is a pure function of (seed, epoch) and can start at any batch of the epoch.

    It yields (epoch, index), so that a sample knows its epoch in every worker process. Because it is a
    DistributedSampler, Lightning leaves it in place on several devices; each takes every num_replicas-th sample.

    Args:
        dataset: only its length is used.
        batch_size: samples in a batch.
        seed: determines the permutations, >= 0.
        num_replicas: number of devices.
        rank: number of the device that this sampler serves.
        batches_done: returns how many batches of the epoch the trainer has finished.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int,
        num_replicas: int = 1,
        rank: int = 0,
        batches_done: Callable[[], int] = lambda: 0,
    ) -> None:
        """See the class."""
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, seed=seed, drop_last=True)
        self.batch_size = batch_size
        self.batches_done = batches_done
        self.resumed = (0, 0)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yields (epoch, index) from the first sample that is not done."""
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.dataset))
        epoch, batches = self.resumed
        first = batches * self.batch_size if epoch == self.epoch else 0
        for index in order[self.rank :: self.num_replicas][: self.num_samples][first:]:
            yield self.epoch, int(index)

    def state_dict(self) -> dict[str, int]:
        """The trainer's position in the epoch, and everything that the order depends on."""
        return {"epoch": self.epoch, "batches_done": self.batches_done(), **self._identity()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continues the saved epoch after its last finished batch; other epochs are complete.

        Args:
            state: what `state_dict` returned.

        Raises:
            ValueError: if the state belongs to another order of samples.
        """
        for name, value in self._identity().items():
            if state[name] != value:
                raise ValueError(f"resume: the checkpoint was made with {name} {state[name]}, this run has {value}")
        self.resumed = (state["epoch"], state["batches_done"])

    def _identity(self) -> dict[str, int]:
        samples = len(self.dataset)  # type: ignore[arg-type]
        devices = self.num_replicas
        return {"seed": self.seed, "samples": samples, "batch_size": self.batch_size, "devices": devices}


class GroupSampler(Sampler[list[int]]):
    """Batches that stay the same whichever device takes them, and however many are already done.

    In float32 the last bits of a network's output for an image depend on the rest of the batch. So image i is always
    computed at place i % size of group i // size; the last group is padded with its last image.

    Args:
        count: number of images.
        size: images per group.
        groups: numbers of the groups to yield.
    """

    def __init__(self, count: int, size: int, groups: Sequence[int]) -> None:
        """See the class."""
        self.count, self.size, self.groups = count, size, groups

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.groups)

    def __iter__(self) -> Iterator[list[int]]:
        """Yields the indices of each group."""
        for group in self.groups:
            first = group * self.size
            yield [min(index, self.count - 1) for index in range(first, first + self.size)]


class ResumableLoader(DataLoader):
    """A DataLoader over an EpochSampler whose state Lightning saves in its checkpoints and restores from them.

    Lightning calls `state_dict` and `load_state_dict` of any loader that has both. len() counts the whole epoch.
    """

    def __iter__(self) -> Iterator[Any]:
        """Starts the workers with the first batch, not before.

        Lightning makes its first iterator before it tells the sampler the epoch; workers started then would be asked
        for samples of epoch 0.
        """
        yield from super().__iter__()

    def state_dict(self) -> dict[str, int]:
        """The state of the sampler; empty where Lightning has replaced the sampler (overfit_batches)."""
        return self.sampler.state_dict() if isinstance(self.sampler, EpochSampler) else {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Hands the state to the sampler.

        Args:
            state: what `state_dict` returned.
        """
        if isinstance(self.sampler, EpochSampler) and state:
            self.sampler.load_state_dict(state)
