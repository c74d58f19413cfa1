"""The residual block and the group norm that the stem of `refine` and the `decoder` share."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

EPSILON = 1e-6


class TiledGroupNorm(nn.GroupNorm):
    """Group norm with statistics per tile, interpolated between tiles (release: decoder norms).

    An image decoded from merged tiles keeps the statistics that each tile had alone: mean and standard deviation are
    computed per tile and group, then resized to full size bicubically. `form` selects the divisor: "released" (std +
    eps, the form that the public code evaluates) or "plain" (sqrt(var + eps), torch's own, with which the released
    weights were probably trained; with one tile it is `F.group_norm` itself, faster and with less memory). The two
    forms differ by 1e-5 where the standard deviation is about 1 and by 43 % where it is 1e-3.
    """

    def __init__(self, groups: int, channels: int, form: str = "plain") -> None:
        """Makes the norm.

        Args:
            groups: number of groups; must divide `channels`.
            channels: number of channels.
            form: "released" or "plain".

        Raises:
            ValueError: for an unknown form or a number of groups that does not divide.
        """
        if form not in ("released", "plain"):
            raise ValueError(f"norm: expected 'released' or 'plain', got {form!r}")
        if channels % groups:
            raise ValueError(f"norm_groups: {groups} groups do not divide {channels} channels")
        super().__init__(groups, channels, eps=EPSILON)
        self.form = form

    def forward(self, x: Tensor, tiles: tuple[int, int] = (1, 1)) -> Tensor:
        """Normalises float[B, C, rows * h, columns * w] with the statistics of rows x columns tiles."""
        if tiles != (1, 1):
            return self.interpolated(x, tiles)
        return super().forward(x) if self.form == "plain" else self._at_once(x)

    def _at_once(self, x: Tensor) -> Tensor:
        """The released form for one tile: the factors per channel are computed before the one pass over the map."""
        shape, wide = (len(x), self.num_groups, -1), torch.promote_types(x.dtype, torch.float32)
        if torch.is_grad_enabled():
            variance, mean = torch.var_mean(x.reshape(shape).to(wide), -1, correction=0)
            deviation = variance.sqrt()
        else:  # torch's own norm is faster, but passes no gradient through the statistics
            counts = len(x), x.shape[1], x.shape[2:].numel(), self.num_groups
            _, mean, inverse = torch.native_group_norm(x.to(wide), None, None, *counts, 0.0)
            deviation = 1 / inverse
        group_size = x.shape[1] // self.num_groups
        mean, scale = (
            value.repeat_interleave(group_size, 1)[..., None, None] for value in (mean, deviation + self.eps)
        )
        gain = self.weight[:, None, None] / scale
        # The mean is subtracted first: a shift by mean * gain would lose the digits of a nearly constant group.
        return torch.addcmul(self.bias[:, None, None].to(wide), x - mean, gain).to(x.dtype)

    def interpolated(self, x: Tensor, tiles: tuple[int, int] = (1, 1)) -> Tensor:
        """Like `forward`, but with full-size statistics for one tile too, as in the release; slow for one tile."""
        rows, columns = tiles
        cells = x.unflatten(1, (self.num_groups, -1)).unflatten(-1, (columns, -1)).unflatten(-3, (rows, -1))
        # [B, groups, channels, rows, h, columns, w]: statistics over channels, h and w
        variance, mean = torch.var_mean(
            cells.float() if x.dtype != torch.float64 else cells, dim=(2, 4, 6), correction=0
        )
        scale = variance.sqrt() + self.eps if self.form == "released" else (variance + self.eps).sqrt()
        mean, scale = (self._resize(statistic, x.shape[-2:]) for statistic in (mean, scale))
        normal = ((x.unflatten(1, (self.num_groups, -1)) - mean) / scale).flatten(1, 2).to(x.dtype)
        return normal * self.weight[:, None, None] + self.bias[:, None, None]

    @staticmethod
    def _resize(statistic: Tensor, size: torch.Size) -> Tensor:
        """[B, groups, rows, columns] to something that broadcasts over [B, groups, channels, H, W]."""
        return F.interpolate(statistic, size=tuple(size), mode="bicubic", align_corners=False)[:, :, None]


def swish(x: Tensor) -> Tensor:
    """The activation x sigmoid(x), computed in place where no gradient is needed."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


class ResidualBlock(nn.Module):
    """Norm, swish, conv 3x3, twice, added to the input (through a 1x1 convolution where the width changes)."""

    def __init__(self, in_channels: int, out_channels: int, groups: int, norm: str = "plain") -> None:
        """Makes the block; see `TiledGroupNorm` for `groups` and `norm`."""
        super().__init__()
        self.norm1 = TiledGroupNorm(groups, in_channels, norm)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = TiledGroupNorm(groups, out_channels, norm)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, tiles: tuple[int, int] = (1, 1)) -> Tensor:
        """float[B, in_channels, H, W] to float[B, out_channels, H, W]."""
        hidden = self.conv1(swish(self.norm1(x, tiles)))
        hidden = self.conv2(swish(self.norm2(hidden, tiles)))
        return self.shortcut(x) + hidden


def recomputed(block: nn.Module, *inputs: Any, when: bool) -> Tensor:
    """block(*inputs); if `when`, only the inputs are kept and the backward pass computes the block again."""
    if when and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False)
    return block(*inputs)


def fold_tiles(image: Tensor, tiles: tuple[int, int]) -> Tensor:
    """[B, C, rows * h, columns * w] to [B * rows * columns, C, h, w], tiles row-major within each image."""
    rows, columns = tiles
    cells = image.unflatten(-1, (columns, -1)).unflatten(-3, (rows, -1))
    return cells.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def unfold_tiles(tiles_of_image: Tensor, tiles: tuple[int, int]) -> Tensor:
    """The inverse of `fold_tiles`."""
    cells = tiles_of_image.unflatten(0, (-1, *tiles))
    return cells.permute(0, 3, 1, 4, 2, 5).flatten(-2).flatten(-3, -2)
