"""What every tokenizer of the suite is."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import Tensor, nn


class Code(NamedTuple):
    """The rate of a tokenizer: what the tokens of one image are.

    Attributes:
        tokens: how many.
        shape: how they lie, as tables print it: (128,) or (32, 32).
        channels: numbers a token; 1 where a token is an index.
        codebook_size: k where a token is an index of log2(k) bits; None where it is real numbers.
    """

    tokens: int
    shape: tuple[int, ...]
    channels: int
    codebook_size: int | None


class Tokenizer(nn.Module, ABC):
    """What every tokenizer of the suite offers, ours and the others': images to tokens and back.

    Attributes:
        config: the constructor's arguments as plain data; a checkpoint carries them to rebuild the tokenizer.
    """

    config: dict[str, Any]

    @abstractmethod
    def encode(self, image: Tensor) -> Any:
        """float[B, 3, H, W] in [-1, 1] to tokens; indices long[B, ...] where `code` names a codebook."""

    @abstractmethod
    def decode(self, tokens: Any) -> Tensor:
        """Tokens to float[B, 3, H, W], about [-1, 1]."""

    @abstractmethod
    def code(self, size: tuple[int, int], num_tokens: int | None = None) -> Code:
        """The tokens that `encode` makes of one image.

        Args:
            size: (H, W) of the image.
            num_tokens: asked for instead of the tokenizer's own number.

        Raises:
            ValueError: for sides that do not fit, or a number that cannot be chosen.
        """

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructs float[B, 3, H, W]."""
        return self.decode(self.encode(image))

    def latent_terms(self, image: Tensor) -> dict[str, tuple[Tensor, float]]:
        """What the latent of the last forward in training adds to the loss; nothing, unless a class says more.

        Args:
            image: float[B, 3, H, W] of that forward.

        Returns:
            {name: (value float[], weight)}: the loss gets weight * value beside the mean squared error, the log the
            value.
        """
        return {}

    def networks(self) -> Iterable[nn.Module]:
        """The modules that `forward` calls, which torch.compile compiles one by one."""
        return self.children()

    @property
    @abstractmethod
    def last_layer(self) -> Tensor:
        """The weight at which the adversarial loss is balanced against the reconstruction (adaptive weight)."""
