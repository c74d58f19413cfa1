"""The common base of the convolutional tokenizers with a learned codebook, whose tokens are indices of its entries."""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from gpstoken.baselines.grid import GridTokenizer


class CodebookTokenizer(GridTokenizer):
    """Base of the tokenizers whose grid cells are indices of the nearest codebook entries (VQ-VAE, 2017).

    Attributes:
        quantize: diffusers' `VectorQuantizer`, whose `embedding` is the codebook.
        codebook_loss: float[], the loss of the last forward pass in training; see `latent_terms`.
    """

    channels = 1
    quantize: nn.Module
    codebook_loss: Tensor | None = None

    @abstractmethod
    def latents(self, image: Tensor) -> Tensor:
        """float[B, 3, H, W] in [-1, 1] to the latents before quantisation, float[B, C, h, w]."""

    @abstractmethod
    def image_of(self, entries: Tensor) -> Tensor:
        """Entries of the codebook float[B, C, h, w] to float[B, 3, H, W], about [-1, 1] and not clamped."""

    def quantise(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The nearest entries of the codebook.

        Args:
            image: float[B, 3, H, W] in [-1, 1].

        Returns:
            (entries float[B, C, h, w], with the straight-through gradient to the encoder; the codebook and commitment
            loss float[]; indices long[B, h, w]).

        Raises:
            ValueError: for sides that are not multiples of `factor`.
        """
        shape = self.code((image.shape[-2], image.shape[-1])).shape
        # The library computes the distances in float32 under any autocast precision.
        entries, loss, (_, _, indices) = self.quantize(self.latents(image))
        return entries, loss, indices.unflatten(0, (-1, *shape))

    def encode(self, image: Tensor) -> Tensor:
        """float[B, 3, H, W] in [-1, 1] to indices long[B, H / factor, W / factor] in [0, codebook_size)."""
        return self.quantise(image)[2]

    def decode(self, tokens: Tensor) -> Tensor:
        """Indices long[B, h, w] to float[B, 3, factor h, factor w], about [-1, 1] and not clamped.

        Raises:
            ValueError: for anything but indices of that shape.
        """
        if tokens.dim() != 3 or tokens.dtype != torch.long:
            raise ValueError(f"indices: expected long[B, h, w], got {tokens.dtype} {list(tokens.shape)}")
        return self.image_of(self.quantize.embedding(tokens).movedim(-1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructs float[B, 3, H, W]; in training with the straight-through gradient."""
        if not self.training:
            return super().forward(image)
        entries, self.codebook_loss, _ = self.quantise(image)
        return self.image_of(entries)

    def latent_terms(self, image: Tensor) -> dict[str, tuple[Tensor, float]]:
        """The codebook and commitment loss of the last forward pass in training, with weight 1, as in taming."""
        return {"codebook": (self.codebook_loss, 1.0)}
