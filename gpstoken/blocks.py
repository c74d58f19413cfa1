"""The residual block and the group norm that the stem of `refine` and the `decoder` share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-6


class TiledGroupNorm(nn.GroupNorm):
    """Group norm whose statistics belong to tiles and are interpolated between them (paper?, release: decoder norms).

    An image decoded from merged tiles keeps the statistics that each tile had alone: mean and deviation are taken per
    tile and group, then brought to full size bicubically. `form` says what one divides by: "released" (std + eps, the
    form the public code evaluates) or "plain" (sqrt(var + eps), torch's own, which the released weights were probably
    trained with; with one tile it is `F.group_norm` itself, faster and lighter). They differ by 1e-5 where the
    deviation is about 1 and by 43 % at a deviation of 1e-3.
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
        if tiles == (1, 1) and self.form == "plain":
            return super().forward(x)
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
        if statistic.shape[-2:] != (1, 1):
            statistic = F.interpolate(statistic, size=tuple(size), mode="bicubic", align_corners=False)
        return statistic[:, :, None]


class ResidualBlock(nn.Module):
    """norm, swish, conv 3x3, twice, added to the input (through a 1x1 convolution where the width changes)."""

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
        hidden = self.conv1(F.silu(self.norm1(x, tiles)))
        hidden = self.conv2(F.silu(self.norm2(hidden, tiles)))
        return self.shortcut(x) + hidden


def fold_tiles(image: Tensor, tiles: tuple[int, int]) -> Tensor:
    """[B, C, rows * h, columns * w] to [B * rows * columns, C, h, w], tiles row-major within each image."""
    rows, columns = tiles
    cells = image.unflatten(-1, (columns, -1)).unflatten(-3, (rows, -1))
    return cells.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def unfold_tiles(tiles_of_image: Tensor, tiles: tuple[int, int]) -> Tensor:
    """The inverse of `fold_tiles`."""
    cells = tiles_of_image.unflatten(0, (-1, *tiles))
    return cells.permute(0, 3, 1, 4, 2, 5).flatten(-2).flatten(-3, -2)
