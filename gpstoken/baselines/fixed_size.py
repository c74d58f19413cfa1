"""The common base of the tokenizers that were made for images of one size."""

import math

from gpstoken.base import Code, Tokenizer
from gpstoken.limits import at_least


class FixedSizeTokenizer(Tokenizer):
    """Base of the tokenizers that take square images of one size, and make the same number of tokens of each.

    Attributes:
        image_size: side of an image in pixels.
        shape: arrangement of the tokens, (N,) or (h, w).
        channels: numbers per token; 1 where a token is an index.
        codebook_size: number of codebook entries; None without a codebook.
        prefixes: whether the first tokens alone can be made and decoded.
    """

    image_size: int
    shape: tuple[int, ...]
    channels: int = 1
    codebook_size: int | None = None
    prefixes: bool = False

    def code(self, size: tuple[int, int], num_tokens: int | None = None) -> Code:
        """The tokens of an image of `size` (H, W), or the first `num_tokens` of them.

        Raises:
            ValueError: for another size than `image_size`, or a number of tokens that cannot be had.
        """
        kind, side, count = f"this {type(self).__name__}", self.image_size, math.prod(self.shape)
        if tuple(size) != (side, side):
            raise ValueError(f"image: {kind} was made for {side}x{side} pixels, got {size[0]}x{size[1]}")
        if num_tokens is None:
            return Code(count, self.shape, self.channels, self.codebook_size)
        if not self.prefixes:
            raise ValueError(f"num_tokens: {kind} has {count} tokens an image, cannot make {num_tokens}; leave it out")
        at_least(1, count).check("num_tokens", num_tokens)
        return Code(num_tokens, (num_tokens,), self.channels, self.codebook_size)
