"""Feature map to image: the decoder of a latent-diffusion autoencoder, aware of tiles."""

import torch.nn.functional as F
from torch import Tensor, nn

from gpstoken.blocks import EPSILON, ResidualBlock, TiledGroupNorm, fold_tiles, unfold_tiles


class SpatialAttention(nn.Module):
    """Single-head attention over the positions of each tile, with a residual."""

    def __init__(self, channels: int, groups: int) -> None:
        """Makes the block; `groups` of its norm must divide `channels`."""
        super().__init__()
        # The release tiles this norm by cutting the map, not by interpolated statistics, and divides by
        # sqrt(var + eps) whatever its other norms do: the golden vectors tell the two apart.
        self.norm = nn.GroupNorm(groups, channels, eps=EPSILON)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, tiles: tuple[int, int] = (1, 1)) -> Tensor:
        """float[B, C, rows * h, columns * w] to the same shape; tiles do not see each other."""
        normal = self.norm(fold_tiles(x, tiles))
        query, key, value = (
            layer(normal).flatten(2).transpose(1, 2)[:, None] for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)[:, 0].transpose(1, 2).reshape(normal.shape)
        return x + unfold_tiles(self.out(mixed), tiles)


class Level(nn.Module):
    """The residual blocks of one resolution, then x2 up (nearest + conv 3x3) unless it is the last."""

    def __init__(self, in_channels: int, channels: int, blocks: int, upsample: bool, groups: int, norm: str) -> None:
        """Makes the level."""
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(in_channels if index == 0 else channels, channels, groups, norm) for index in range(blocks)
        )
        self.upsample = nn.Conv2d(channels, channels, 3, padding=1) if upsample else None

    def forward(self, x: Tensor, tiles: tuple[int, int] = (1, 1)) -> Tensor:
        """float[B, in_channels, h, w] to float[B, channels, 2 h, 2 w], or h x w on the last level."""
        for block in self.blocks:
            x = block(x, tiles)
        return x if self.upsample is None else self.upsample(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Decoder(nn.Module):
    """conv, (residual, attention, residual), levels from coarse to fine, norm, swish, conv. No output clamp."""

    def __init__(
        self,
        feature_channels: int,
        channels: int = 128,
        multipliers: tuple[int, ...] = (1, 2, 4),
        residual_blocks: int = 3,
        norm_groups: int = 32,
        norm: str = "plain",
    ) -> None:
        """Makes the decoder.

        Args:
            feature_channels: C, channels of the feature map.
            channels: width at full resolution.
            multipliers: width of each level over `channels`, finest first; the image is 2 ** (levels - 1) the map.
            residual_blocks: residual blocks a level.
            norm_groups: groups of every norm; must divide every width.
            norm: "released" or "plain", see `TiledGroupNorm`.
        """
        super().__init__()
        widths = [channels * multiplier for multiplier in multipliers]
        self.conv_in = nn.Conv2d(feature_channels, widths[-1], 3, padding=1)
        self.middle1 = ResidualBlock(widths[-1], widths[-1], norm_groups, norm)
        self.attention = SpatialAttention(widths[-1], norm_groups)
        self.middle2 = ResidualBlock(widths[-1], widths[-1], norm_groups, norm)
        self.levels = nn.ModuleList(
            Level(coarser, width, residual_blocks, index > 0, norm_groups, norm)
            for index, (width, coarser) in enumerate(zip(widths, [*widths[1:], widths[-1]], strict=True))
        )
        self.norm_out = TiledGroupNorm(norm_groups, widths[0], norm)
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, feature_map: Tensor, tiles: tuple[int, int] = (1, 1)) -> Tensor:
        """Decodes the map of an image made of rows x columns merged tiles.

        Args:
            feature_map: float[B, C, rows * h, columns * w].
            tiles: (rows, columns); norms keep each tile's statistics and attention stays within a tile.

        Returns:
            float[B, 3, rows * h * f, columns * w * f], about [-1, 1], f = 2 ** (levels - 1).
        """
        x = self.conv_in(feature_map)
        x = self.middle2(self.attention(self.middle1(x, tiles), tiles), tiles)
        for level in reversed(self.levels):
            x = level(x, tiles)
        # The last norm sees the image as one tile, as released: with tile statistics there the seams would show.
        return self.conv_out(F.silu(self.norm_out(x)))
