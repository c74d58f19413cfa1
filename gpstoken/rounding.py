"""Tokens in few bits: what an image costs when its tokens are stored."""

from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from gpstoken.base import Code
from gpstoken.gaussians import Gaussians
from gpstoken.tokens import Tokens

BITS = (8, 16)
Vectors = TypeVar("Vectors", bound=Tensor | Tokens | tuple)


def rounded(tokens: Vectors, bits: int) -> Vectors:
    """Tokens as they are after storage with so many bits for each number.

    16 bits are float16. 8 bits are 256 equal steps between the smallest and the largest number that a channel has in
    an image; these two are stored as float16 too, see `stored_bits`.

    Args:
        tokens: tokens of GPSToken, latents float[B, C, h, w] on a grid, vectors float[B, N, C], or a NamedTuple of
            float[B, N, C] and indices long[B, N], which stay as they are.
        bits: 8 or 16.

    Raises:
        ValueError: for another number of bits, or tokens that are indices.
    """
    if bits not in BITS:
        raise ValueError(f"token_bits: expected 8 or 16, got {bits}")
    if isinstance(tokens, Tokens):
        geometry, features = (_rounded(part, bits, (1,)) for part in (tokens.gaussians.to_tensor(), tokens.features))
        return replace(tokens, gaussians=Gaussians.from_tensor(geometry).clamped(), features=features)
    if isinstance(tokens, tuple):
        parts = {name: part for name, part in tokens._asdict().items() if part.is_floating_point()}
        return tokens._replace(**{name: _rounded(part, bits, (1,)) for name, part in parts.items()})
    if not tokens.is_floating_point():
        raise ValueError("token_bits: these tokens are indices, whose bits are those of their codebook")
    channels_last = tokens.dim() == 3
    return _rounded(tokens, bits, (1,) if channels_last else tuple(range(2, tokens.dim())))


def stored_bits(code: Code, bits: int) -> int:
    """Bits of the tokens of one image: of their numbers and indices, and for 8 bits of the ranges of the channels."""
    index = code.codebook_size is not None
    numbers, index_bits = code.channels - index, (code.codebook_size - 1).bit_length() if index else 0
    return code.tokens * (numbers * bits + index_bits) + (2 * 16 * numbers if bits == 8 else 0)


def _rounded(numbers: Tensor, bits: int, places: tuple[int, ...]) -> Tensor:
    """Rounds numbers whose channels have a common range along the dimensions `places`."""
    if bits == 16:
        return numbers.half().to(numbers.dtype)
    low, high = (each(numbers, dim=places, keepdim=True).half().to(numbers.dtype) for each in (torch.amin, torch.amax))
    step = (high - low).clamp_min(torch.finfo(torch.float32).tiny) / 255
    return low + step * ((numbers - low) / step).round().clamp(0, 255)
