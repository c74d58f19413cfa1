"""The order of training samples, and a loader that goes on in the middle of an epoch."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler


class EpochSampler(DistributedSampler):
    """A permutation that is a pure function of (seed, epoch), from any batch of the epoch on.

    It yields (epoch, index), so that a sample knows its epoch in every worker process. Being a DistributedSampler, it
    is left in place by Lightning on several devices, each of which takes every num_replicas-th sample.

    Args:
        dataset: only its length is used.
        batch_size: samples in a batch.
        seed: of the permutations, >= 0.
        num_replicas: number of devices.
        rank: the one this sampler is for.
        batches_done: tells how many batches of the epoch the trainer has finished.
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
        """Where the trainer stands, and what the order depends on."""
        return {"epoch": self.epoch, "batches_done": self.batches_done(), **self._identity()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Makes the epoch of the state go on after its last finished batch; other epochs are whole.

        Args:
            state: of `state_dict`.

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
    """Batches that stay the same whoever takes them, and however many are done already.

    A network in float32 gives an image other last bits in other company. So image i is always computed at place
    i % size of group i // size; the last group is filled up by its last image.

    Args:
        count: images in all.
        size: images of a group.
        groups: numbers of the groups that are wanted.
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
    """A DataLoader over an EpochSampler that Lightning saves in, and restores from, its checkpoints.

    Lightning calls `state_dict` and `load_state_dict` of any loader that has both. len() is that of the whole epoch.
    """

    def __iter__(self) -> Iterator[Any]:
        """Starts the workers with the first batch, not before.

        Lightning makes its first iterator before it tells the sampler the epoch; workers started then would be asked
        for samples of epoch 0.
        """
        yield from super().__iter__()

    def state_dict(self) -> dict[str, int]:
        """The state of the sampler; empty where Lightning has replaced it (overfit_batches)."""
        return self.sampler.state_dict() if isinstance(self.sampler, EpochSampler) else {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Hands the state to the sampler.

        Args:
            state: of `state_dict`.
        """
        if isinstance(self.sampler, EpochSampler) and state:
            self.sampler.load_state_dict(state)
