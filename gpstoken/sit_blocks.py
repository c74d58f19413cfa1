"""The parts of transformers of the DiT kind: position and time embeddings, blocks and the last layer."""

import math

import torch
import torch.nn.functional as F
from timm.layers import Attention, Mlp
from torch import Tensor, nn

TIME_CHANNELS = 256  # channels of the sinusoid


def sinusoid(position: Tensor, channels: int, cosine_first: bool) -> Tensor:
    """float[...] to float[..., channels]: sines and cosines at channels / 2 wavelengths from 2 pi towards 20000 pi."""
    half = channels // 2
    exponent = torch.arange(half, dtype=position.dtype, device=position.device) / half
    angle = position[..., None] * torch.exp(-math.log(10000.0) * exponent)
    parts = (angle.cos(), angle.sin()) if cosine_first else (angle.sin(), angle.cos())
    return torch.cat(parts, dim=-1)


def sine_cosine_positions(shape: tuple[int, ...], width: int) -> Tensor:
    """DiT's position embeddings of a sequence (N,) or, row-major, a grid (h, w): float[1, N or h * w, width].

    For a grid the first half of the channels encodes the column, the second the row.
    """
    axes = [torch.arange(size, dtype=torch.float64) for size in shape]
    coordinates = torch.meshgrid(*axes, indexing="ij")[::-1]
    parts = [sinusoid(axis.flatten(), width // len(shape), cosine_first=False) for axis in coordinates]
    return torch.cat(parts, dim=-1)[None].float()


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm of float[B, N, width] whose shift and scale float[B, width] come from the condition (adaLN)."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale[:, None]) + shift[:, None]


class TimeEmbedding(nn.Module):
    """Embeds times in [0, 1], without rescaling, as float[B, width]."""

    def __init__(self, width: int) -> None:
        """Makes the embedding."""
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(TIME_CHANNELS, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        """float[B] to float[B, width]."""
        weight = self.mlp[0].weight
        # The sinusoid is computed in float32 at least, as in the official code, whatever the type of the weights.
        exact = t.to(torch.promote_types(weight.dtype, torch.float32))
        return self.mlp(sinusoid(exact, TIME_CHANNELS, cosine_first=True).to(weight.dtype))


class Block(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the condition (adaLN-zero; DiT, section 3.2)."""

    def __init__(self, width: int, heads: int, qk_norm: bool) -> None:
        """Makes the block."""
        super().__init__()
        self.attn = Attention(width, heads, qkv_bias=True, qk_norm=qk_norm, norm_layer=nn.LayerNorm)
        self.mlp = Mlp(width, 4 * width, act_layer=lambda: nn.GELU(approximate="tanh"))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """float[B, N, width] and the condition float[B, width] to float[B, N, width]."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(condition).chunk(6, dim=-1)
        x = x + gate1[:, None] * self.attn(modulate(x, shift1, scale1))
        return x + gate2[:, None] * self.mlp(modulate(x, shift2, scale2))


class FinalLayer(nn.Module):
    """Projects tokens to the values of a patch."""

    def __init__(self, width: int, values: int) -> None:
        """Makes the layer."""
        super().__init__()
        self.linear = nn.Linear(width, values)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """float[B, N, width] to float[B, N, values]."""
        return self.linear(modulate(x, *self.adaLN_modulation(condition).chunk(2, dim=-1)))
