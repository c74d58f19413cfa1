"""The identity as a tokenizer, for generators of pixels: an image is its own latent."""

from torch import Tensor

from gpstoken.base import Code, Tokenizer


class Pixels(Tokenizer):
    """Three numbers for every pixel; there are no weights, so there is nothing to train."""

    def __init__(self) -> None:
        """Makes the tokenizer."""
        super().__init__()
        self.config = {}

    def encode(self, image: Tensor) -> Tensor:
        """float[B, 3, H, W] in [-1, 1], unchanged."""
        return image

    def decode(self, tokens: Tensor) -> Tensor:
        """float[B, 3, H, W], unchanged.

        Raises:
            ValueError: for latents of another shape.
        """
        if tokens.dim() != 4 or tokens.shape[1] != 3:
            raise ValueError(f"latent: expected float[B, 3, H, W], got {list(tokens.shape)}")
        return tokens

    def code(self, size: tuple[int, int], num_tokens: int | None = None) -> Code:
        """A token a pixel.

        Raises:
            ValueError: for any `num_tokens` but None.
        """
        if num_tokens is not None:
            raise ValueError(
                f"num_tokens: Pixels has one token for every pixel, cannot make {num_tokens}; leave it out"
            )
        return Code(size[0] * size[1], tuple(size), 3, None)

    @property
    def last_layer(self) -> Tensor:
        """There is none.

        Raises:
            ValueError: always.
        """
        raise ValueError("Pixels: has no weights to train")
