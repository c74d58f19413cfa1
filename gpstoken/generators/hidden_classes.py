"""The base of generators that hide some classes in training, so that samples can be guided without a classifier."""

import torch
from torch import Tensor

from gpstoken.base import Generator


class HiddenClasses(Generator):
    """A generator for which the label `num_classes` means no class (classifier-free guidance, Ho and Salimans 2022).

    Attributes:
        class_dropout: share of samples whose class is hidden in training.
    """

    class_dropout: float

    def partly_hidden(self, label: Tensor, chance: torch.Generator) -> Tensor:
        """Labels long[B], of which some mean no class in training."""
        drop = self.class_dropout if self.training else 0.0
        hidden = torch.rand(len(label), generator=chance, device=label.device) < drop
        return torch.where(hidden, self.num_classes, label)
