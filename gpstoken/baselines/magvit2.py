"""The convolutional encoder and decoder of MAGVIT-v2 (Yu et al. 2024, "Language Model Beats Diffusion"), for images.

Their modules have the names of latent diffusion: level 0 of `down` and of `up` is the finest.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from gpstoken.baselines.maskgit import EPSILON, residual_blocks


class AdaptiveNorm(nn.Module):
    """Group norm whose gains and biases are linear functions of the decoder's input, pooled over the map.

    The gains follow from the standard deviations of its channels, the biases from their means.
    """

    def __init__(self, channels: int, latent_channels: int, groups: int) -> None:
        """Makes the norm of `channels` channels under the control of `latent_channels`."""
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, EPSILON, affine=False)
        self.gain, self.bias = nn.Linear(latent_channels, channels), nn.Linear(latent_channels, channels)
        nn.init.ones_(self.gain.bias)

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        """Normalises float[B, channels, H, W] under float[B, latent_channels, h, w]."""
        cells = latent.flatten(2)
        # The small number keeps the gradient of the root finite where a channel is constant.
        deviation = (cells.var(-1, correction=0) + EPSILON).sqrt()
        gain, bias = self.gain(deviation), self.bias(cells.mean(-1))
        return self.norm(x) * gain[..., None, None] + bias[..., None, None]


class Encoder(nn.Module):
    """An image to a map with 1 / 2^n of the side lengths, by strided convolutions between n + 1 levels."""

    def __init__(self, widths: tuple[int, ...], channels: int, blocks: int, groups: int) -> None:
        """Makes the encoder.

        Args:
            widths: width of each level, finest first.
            channels: channels of the result.
            blocks: residual blocks per level, and once more at the end.
            groups: groups of every group norm.
        """
        super().__init__()
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.down = nn.ModuleList()
        for i, width in enumerate(widths):
            level = nn.ModuleDict({"block": _around(widths[max(i - 1, 0)], width, blocks, groups)})
            if i < len(widths) - 1:
                level["downsample"] = nn.Conv2d(width, width, 3, stride=2, padding=1)
            self.down.append(level)
        self.mid = _around(widths[-1], widths[-1], blocks, groups)
        self.norm_out = nn.GroupNorm(groups, widths[-1], EPSILON)
        self.conv_out = nn.Conv2d(widths[-1], channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """float[B, 3, H, W] to float[B, channels, H / 2^n, W / 2^n]."""
        x = self.conv_in(image)
        for level in self.down:
            x = level["block"](x)
            x = level["downsample"](x) if "downsample" in level else x
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """The mirror of `Encoder`.

    A level begins with an `AdaptiveNorm`, and ends with a convolution that makes four channels of one, which become
    four pixels.
    """

    def __init__(self, widths: tuple[int, ...], channels: int, blocks: int, groups: int) -> None:
        """Makes the decoder of maps of `channels` channels; see `Encoder`."""
        super().__init__()
        self.conv_in = nn.Conv2d(channels, widths[-1], 3, padding=1)
        self.mid = _around(widths[-1], widths[-1], blocks, groups)
        self.up = nn.ModuleList()
        for i, width in enumerate(widths):
            before = widths[min(i + 1, len(widths) - 1)]
            level = nn.ModuleDict({"norm": AdaptiveNorm(before, channels, groups)})
            level["block"] = _around(before, width, blocks, groups)
            if i:
                level["upsample"] = nn.Conv2d(width, 4 * width, 3, padding=1)
            self.up.append(level)
        self.norm_out = nn.GroupNorm(groups, widths[0], EPSILON)
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        """float[B, channels, h, w] to float[B, 3, 2^n h, 2^n w]."""
        x = self.mid(self.conv_in(latent))
        for level in reversed(self.up):
            x = level["block"](level["norm"](x, latent))
            x = F.pixel_shuffle(level["upsample"](x), 2) if "upsample" in level else x
        return self.conv_out(F.silu(self.norm_out(x)))


def _around(before: int, width: int, count: int, groups: int) -> nn.Sequential:
    return nn.Sequential(*residual_blocks(before, width, count, groups, around=True))
