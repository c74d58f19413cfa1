"""Linear maps of patches: the floor of every tokenizer, because no network is needed to reach it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpstoken.baselines.grid import TokenGrid
from gpstoken.limits import at_least, limits


class LinearPatches(TokenGrid):
    """A square of pixels to `channels` numbers by an affine map, and back by another one.

    Trained by gradient descent it is a linear autoencoder. Its best maps are known: those of `set_components` with the
    principal components of the patches (Baldi and Hornik 1989), which `gpstoken.training.PrincipalComponents` finds.
    """

    @limits(patch=at_least(1), channels=at_least(1))
    def __init__(self, patch: int = 32, channels: int = 42) -> None:
        """Makes an untrained tokenizer; the defaults have as many numbers as GPSToken-M128 for an image of 256 px.

        Args:
            patch: side of a patch in pixels.
            channels: numbers per token, at most the 3 patch² of a patch.

        Raises:
            ValueError: for more numbers than a patch has.
        """
        super().__init__()
        numbers = 3 * patch**2
        if channels > numbers:
            raise ValueError(f"channels: a patch of {patch}x{patch} pixels has only {numbers} numbers, got {channels}")
        self.config = {"patch": patch, "channels": channels}
        self.factor, self.channels = patch, channels
        self.encoder, self.decoder = nn.Conv2d(numbers, channels, 1), nn.Conv2d(channels, numbers, 1)

    def patches(self, image: Tensor) -> Tensor:
        """float[B, 3, H, W] to the numbers of every patch, float[B, 3 patch², H / patch, W / patch].

        Raises:
            ValueError: for sides that are not multiples of `patch`.
        """
        self.code((image.shape[-2], image.shape[-1]))
        return F.pixel_unshuffle(image, self.factor)

    def encode(self, image: Tensor) -> Tensor:
        """float[B, 3, H, W] in [-1, 1] to float[B, channels, H / patch, W / patch].

        Raises:
            ValueError: for sides that are not multiples of `patch`.
        """
        return self.encoder(self.patches(image))

    def decode(self, tokens: Tensor) -> Tensor:
        """float[B, channels, h, w] to float[B, 3, patch h, patch w], not clamped.

        Raises:
            ValueError: for tokens of another shape.
        """
        if tokens.dim() != 4 or tokens.shape[1] != self.channels:
            raise ValueError(f"tokens: expected float[B, {self.channels}, h, w], got {list(tokens.shape)}")
        return F.pixel_shuffle(self.decoder(tokens), self.factor)

    @torch.no_grad()
    def set_components(self, mean: Tensor, components: Tensor) -> None:
        """Sets both maps to the projection on the span of orthonormal components around a mean.

        Args:
            mean: float[3 patch²].
            components: float[channels, 3 patch²], orthonormal rows.
        """
        self.encoder.weight.copy_(components[..., None, None])
        self.encoder.bias.copy_(-components @ mean)
        self.decoder.weight.copy_(components.T[..., None, None])
        self.decoder.bias.copy_(mean)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the map back."""
        return self.decoder.weight
