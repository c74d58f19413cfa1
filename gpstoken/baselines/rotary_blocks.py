"""Blocks of vision transformers with learned rotations as positions, and with norms that the tokens modulate."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Attention, Block
from torch import Tensor, nn

ROTARY_BASE = 100.0  # theta of the wavelengths at the start


class RotaryAttention(Attention):
    """timm's attention with queries and keys of patches rotated by learned angles (mixed RoPE, Heo et al. 2024).

    Each pair of channels turns by f_x x + f_y y in the cell (x, y) of the grid; other positions do not turn.
    """

    def __init__(self, width: int, heads: int, grid: int, first: int) -> None:
        """Makes the layer.

        Args:
            width: channels; four times the heads divide it.
            heads: attention heads.
            grid: patches along a side of the image.
            first: number of positions before the patches.
        """
        super().__init__(width, num_heads=heads, qkv_bias=True)
        self.first = first
        rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
        self.register_buffer("cells", torch.stack((columns, rows)).flatten(1).float(), persistent=False)
        self.frequencies = nn.Parameter(first_frequencies(heads, width // heads))

    def forward(self, x: Tensor) -> Tensor:
        """float[B, first + grid² + N, width] to the same shape."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        frequencies = self.frequencies.unflatten(1, (self.num_heads, 1, -1))
        angles = (frequencies * self.cells[:, None, :, None]).sum(0)  # [heads, grid², channels / 2]
        angles = F.pad(angles, (0, 0, self.first, x.shape[1] - self.first - angles.shape[1]))
        cosine, sine = angles.cos(), angles.sin()
        query, key = (rotated(part, cosine, sine).to(value.dtype) for part in (query, key))
        hidden = F.scaled_dot_product_attention(query, key, value)
        return self.proj(hidden.transpose(1, 2).flatten(2))


def rotated(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turns each pair of neighbouring channels of float[..., C] by angles whose cosines are float[..., C / 2]."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1).flatten(-2)


def first_frequencies(heads: int, channels: int) -> Tensor:
    """Frequencies float[2, heads * channels / 2] along x and y: two perpendicular axes a head, turned at random."""
    size = ROTARY_BASE ** -(torch.arange(0, channels, 4) / channels)
    turn = 2 * math.pi * torch.rand(heads, 1)
    first, second = torch.stack((turn.cos(), turn.sin())) * size, torch.stack((-turn.sin(), turn.cos())) * size
    return torch.cat((first, second), dim=-1).flatten(1)


class RotaryBlock(Block):
    """timm's block with `RotaryAttention`."""

    def __init__(self, width: int, heads: int, grid: int, first: int, **options: Any) -> None:
        """Makes the block; see `RotaryAttention`, and timm for the options."""
        super().__init__(width, heads, **options)
        self.attn = RotaryAttention(width, heads, grid, first)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, L, width] to the same shape."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class ModulatedBlock(RotaryBlock):
    """A block whose norms are shifted and scaled by the tokens, at the positions of the tokens alone (MoVQ)."""

    def __init__(self, channels: int, width: int, *sizes: int, **options: Any) -> None:
        """Makes the block; `channels` are those of a token."""
        super().__init__(width, *sizes, **options)
        self.modulation = modulation(channels, 4 * width)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """float[B, L, width], the last N positions being those of `tokens` float[B, N, C], to the same shape."""
        shift1, scale1, shift2, scale2 = self.modulation(tokens).chunk(4, dim=-1)
        x = x + self.attn(modulated(self.norm1(x), shift1, scale1))
        return x + self.mlp(modulated(self.norm2(x), shift2, scale2))


def modulation(channels: int, numbers: int) -> nn.Sequential:
    """A swish and a linear map."""
    return nn.Sequential(nn.SiLU(), nn.Linear(channels, numbers))


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Shifts and scales the last N of float[B, L, width] by float[B, N, width]."""
    patches, latents = x.tensor_split((x.shape[1] - shift.shape[1],), dim=1)
    return torch.cat((patches, latents * (1 + scale) + shift), dim=1)
