"""The common base of the convolutional tokenizers with a learned codebook, whose tokens are indices of its entries."""

from abc import abstractmethod

import torch
from torch import Tensor

from gpstoken.baselines.grid import TokenGrid
from gpstoken.baselines.quantisers import NearestCodes, Terms


class CodebookTokenizer(TokenGrid):
    """Base of the tokenizers whose grid cells are indices of the nearest codebook entries (VQ-VAE, 2017).

    Attributes:
        quantiser: the codebook.
    """

    channels = 1
    quantiser: NearestCodes

    @abstractmethod
    def latents(self, image: Tensor) -> Tensor:
        """float[B, 3, H, W] in [-1, 1] to the latents before quantisation, float[B, C, h, w]."""

    @abstractmethod
    def image_of(self, entries: Tensor) -> Tensor:
        """Entries of the codebook float[B, C, h, w] to float[B, 3, H, W], about [-1, 1] and not clamped."""

    def quantise(self, image: Tensor) -> tuple[Tensor, Tensor, Terms]:
        """The nearest entries of the codebook.

        Args:
            image: float[B, 3, H, W] in [-1, 1].

        Returns:
            (entries float[B, C, h, w], with the straight-through gradient to the encoder; indices long[B, h, w]; terms
            of the loss).

        Raises:
            ValueError: for sides that are not multiples of `factor`.
        """
        shape = self.code((image.shape[-2], image.shape[-1])).shape
        found = self.quantiser(self.latents(image).flatten(2).mT)
        return found.entries.mT.unflatten(2, shape), found.indices.unflatten(1, shape), found.terms

    def encode(self, image: Tensor) -> Tensor:
        """float[B, 3, H, W] in [-1, 1] to indices long[B, H / factor, W / factor] in [0, codebook_size)."""
        return self.quantise(image)[1]

    def decode(self, tokens: Tensor) -> Tensor:
        """Indices long[B, h, w] to float[B, 3, factor h, factor w], about [-1, 1] and not clamped.

        Raises:
            ValueError: for anything but indices of that shape.
        """
        if tokens.dim() != 3 or tokens.dtype != torch.long:
            raise ValueError(f"indices: expected long[B, h, w], got {tokens.dtype} {list(tokens.shape)}")
        return self.image_of(self.quantiser.entries_of(tokens).movedim(-1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructs float[B, 3, H, W]; in training with the straight-through gradient."""
        if not self.training:
            return super().forward(image)
        entries, _, self.terms = self.quantise(image)
        return self.image_of(entries)

    def codebook_of(self, entries: Tensor) -> dict[str, Tensor]:
        """The part of the state dict that holds the published entries float[codebook_size, C]."""
        return {f"quantiser.{name}": tensor for name, tensor in self.quantiser.state_of(entries).items()}
