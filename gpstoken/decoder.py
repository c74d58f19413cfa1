"""Feature map to image: the decoder of a latent-diffusion autoencoder, with support for tiles."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpstoken.blocks import EPSILON, ResidualBlock, TiledGroupNorm, fold_tiles, recomputed, swish, unfold_tiles


class SpatialAttention(nn.Module):
    """Single-head attention over the positions of each tile, with a residual."""

    def __init__(self, channels: int, groups: int) -> None:
        """Makes the block; `groups`, the groups of its norm, must divide `channels`."""
        super().__init__()
        # The release tiles this norm by cutting the map, not by interpolating statistics, and divides by
        # sqrt(var + eps) whatever its other norms do: the golden vectors distinguish the two.
        self.norm = nn.GroupNorm(groups, channels, eps=EPSILON)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, tiles: tuple[int, int] = (1, 1)) -> Tensor:
        """float[B, C, rows * h, columns * w] to the same shape; tiles do not see each other."""
        normal = self.norm(fold_tiles(x, tiles))
        # Contiguous, because otherwise torch finds no fused attention and builds the matrix of all pairs of positions.
        query, key, value = (
            layer(normal).flatten(2).transpose(1, 2)[:, None].contiguous()
            for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)[:, 0].transpose(1, 2).reshape(normal.shape)
        return x + unfold_tiles(self.out(mixed), tiles)


class Upsample(nn.Conv2d):
    """Nearest-neighbour upsampling x2, then a 3x3 convolution; if `fused`, both as one transposed convolution.

    Several of the nine products of an output pixel involve the same input pixel: the fused form sums their weights
    beforehand, which leaves four products.
    """

    def __init__(self, channels: int, fused: bool) -> None:
        """Makes the layer."""
        super().__init__(channels, channels, 3, padding=1)
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        """float[B, channels, h, w] to float[B, channels, 2 h, 2 w]."""
        if not self.fused:
            return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        kernel = self.weight.transpose(0, 1)
        for axis in (2, 3):
            # Output 2 i sees inputs i - 1, i, i through a kernel of three, output 2 i + 1 sees i, i, i + 1.
            first, second, third = kernel.unbind(axis)
            kernel = torch.stack([third, second + third, first + second, first], axis)
        return F.conv_transpose2d(x, kernel.contiguous(), self.bias, stride=2, padding=1)


class Level(nn.Module):
    """The residual blocks of one resolution, then x2 up (nearest + conv 3x3) unless it is the last."""

    def __init__(
        self, in_channels: int, channels: int, blocks: int, upsample: bool, groups: int, norm: str, fused: bool
    ) -> None:
        """Makes the level."""
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(in_channels if index == 0 else channels, channels, groups, norm) for index in range(blocks)
        )
        self.upsample = Upsample(channels, fused) if upsample else None

    def forward(self, x: Tensor, tiles: tuple[int, int] = (1, 1), recompute: bool = False) -> Tensor:
        """float[B, in_channels, h, w] to float[B, channels, 2 h, 2 w], or h x w on the last level."""
        for block in self.blocks:
            x = recomputed(block, x, tiles, when=recompute)
        return x if self.upsample is None else self.upsample(x)


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
        fused: bool = True,
        recompute: bool = False,
    ) -> None:
        """Makes the decoder.

        Args:
            feature_channels: C, channels of the feature map.
            channels: width at full resolution.
            multipliers: width of each level over `channels`, finest first; the image has 2 ** (levels - 1) times the
                map's side lengths.
            residual_blocks: residual blocks per level.
            norm_groups: groups of every norm; must divide every width.
            norm: "released" or "plain", see `TiledGroupNorm`.
            fused: see `Upsample`.
            recompute: discard activations inside residual blocks; the backward pass computes them again.
        """
        super().__init__()
        self.recompute = recompute
        widths = [channels * multiplier for multiplier in multipliers]
        self.conv_in = nn.Conv2d(feature_channels, widths[-1], 3, padding=1)
        self.middle1 = ResidualBlock(widths[-1], widths[-1], norm_groups, norm)
        self.attention = SpatialAttention(widths[-1], norm_groups)
        self.middle2 = ResidualBlock(widths[-1], widths[-1], norm_groups, norm)
        self.levels = nn.ModuleList(
            Level(coarser, width, residual_blocks, index > 0, norm_groups, norm, fused)
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
        # Channels last, because otherwise the transposed convolutions convert the layout back and forth.
        x = self.conv_in(feature_map.contiguous(memory_format=torch.channels_last))
        x = self.middle2(self.attention(self.middle1(x, tiles), tiles), tiles)
        for level in reversed(self.levels):
            x = level(x, tiles, self.recompute)
        # The last norm takes the image as one tile, as in the release: with statistics per tile the seams would show.
        return self.conv_out(swish(self.norm_out(x)))
