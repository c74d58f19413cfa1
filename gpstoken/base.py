"""What every tokenizer of the suite is."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class Tokenizer(nn.Module, ABC):
    """What every tokenizer of the suite offers, ours and the others': images to tokens and back.

    Attributes:
        config: the constructor's arguments as plain data; a checkpoint carries them to rebuild the tokenizer.
    """

    config: dict[str, Any]

    @abstractmethod
    def encode(self, image: Tensor) -> Any:
        """float[B, 3, H, W] in [-1, 1] to tokens."""

    @abstractmethod
    def decode(self, tokens: Any) -> Tensor:
        """Tokens to float[B, 3, H, W], about [-1, 1]."""

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructs float[B, 3, H, W]."""
        return self.decode(self.encode(image))

    @property
    @abstractmethod
    def last_layer(self) -> Tensor:
        """The weight at which the adversarial loss is balanced against the reconstruction (adaptive weight)."""
