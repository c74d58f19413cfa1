"""Standard normal noise that depends on the sample, not on the batch in which it is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class SampleNoise:
    """The noise of a set of samples: noise(draw) is float32[len(indices), *shape].

    The numbers of a sample are a function of (seed, its index, draw): seed and index are the key of numpy's Philox, a
    counter-based generator (Salmon et al., SC 2011), and the draw is a word of its counter. So the numbers do not
    depend on the batch or on other draws, and any draw can be computed directly. torch's own CPU generator uses only 32
    bits of a seed. For a GPU the numbers are drawn on the CPU and copied, so they are the same on every device.

    Attributes:
        seed: 0 to 2^64 - 1.
        indices: numbers of the samples, each 0 to 2^64 - 1.
        shape: shape of one sample.
        device: device of the result.
    """

    seed: int
    indices: Sequence[int]
    shape: tuple[int, ...]
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        """Checks that seed and indices fit into 64 bits.

        Raises:
            ValueError: if one does not.
        """
        for name, value in (("seed", self.seed), *(("index", index) for index in self.indices)):
            if not 0 <= value < 2**64:
                raise ValueError(f"noise: {name} must be from 0 to 2^64 - 1, got {value}")

    def __call__(self, draw: int) -> Tensor:
        """The noise of one draw, 0, 1, ...: standard normal float32[len(indices), *shape]."""
        values = np.empty((len(self.indices), *self.shape), np.float32)
        # The generator counts in the two low words, so this is the start of numpy's Philox(key=key).jumped(draw).
        counter = np.array([0, 0, draw, 0], np.uint64)
        for index, row in zip(self.indices, values, strict=True):
            key = np.array([self.seed, int(index)], np.uint64)
            row[...] = np.random.Generator(np.random.Philox(counter=counter, key=key)).standard_normal(
                self.shape, np.float32
            )
        return torch.from_numpy(values).to(self.device)
