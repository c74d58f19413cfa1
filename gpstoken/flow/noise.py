"""Standard normal noise that belongs to a sample, not to the batch it is drawn in."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class SampleNoise:
    """The noise of some samples: noise(draw) is float32[len(indices), *shape].

    The numbers of a sample are a function of (seed, its index, draw): the first two are the key of numpy's Philox
    generator, a counter-based one (Salmon et al., SC 2011), and the draw a word of its counter. So they do not depend
    on the batch or on other draws, and any draw can be had at once. torch's own CPU generator is no use here: it takes
    32 bits of a seed. On a GPU the numbers are made on the CPU and copied, so they are the same there.

    Attributes:
        seed: 0 to 2^64 - 1.
        indices: of the samples, each 0 to 2^64 - 1.
        shape: of one sample.
        device: where to put the result.
    """

    seed: int
    indices: Sequence[int]
    shape: tuple[int, ...]
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        """Checks that the key fits its words.

        Raises:
            ValueError: if it does not.
        """
        for name, value in (("seed", self.seed), *(("index", index) for index in self.indices)):
            if not 0 <= value < 2**64:
                raise ValueError(f"noise: {name} must be from 0 to 2^64 - 1, got {value}")

    def __call__(self, draw: int) -> Tensor:
        """The noise of one draw, 0, 1, ...: standard normal float32[len(indices), *shape]."""
        values = np.empty((len(self.indices), *self.shape), np.float32)
        # The generator counts in the two low words; so this is where numpy's Philox(key=key).jumped(draw) begins.
        counter = np.array([0, 0, draw, 0], np.uint64)
        for index, row in zip(self.indices, values, strict=True):
            key = np.array([self.seed, int(index)], np.uint64)
            row[...] = np.random.Generator(np.random.Philox(counter=counter, key=key)).standard_normal(
                self.shape, np.float32
            )
        return torch.from_numpy(values).to(self.device)
