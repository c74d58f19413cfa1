"""The convolutional autoencoder of MaskGIT (Chang et al. 2022); TiTok and One-D-Piece decode to its codes, too."""

from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpstoken.baselines.codebook import CodebookTokenizer
from gpstoken.baselines.grid import BLOCKS, check_groups
from gpstoken.baselines.quantisers import NearestCodes
from gpstoken.limits import at_least, limits

EPSILON = 1e-6


class ConvolutionalTokenizer(CodebookTokenizer):
    """Base of the tokenizers of a few convolutions around a quantiser: MaskGIT's, and MaskBit's after it.

    Attributes:
        encoder: images in [0, 1] to latents, of `image_encoder`.
        decoder: entries of the codebook to images in [0, 1], of `pixel_decoder`.
        factor: pixels along a side of a grid cell.
    """

    encoder: nn.Sequential
    decoder: nn.Sequential

    def latents(self, image: Tensor) -> Tensor:
        """float[B, 3, H, W] in [-1, 1] to float[B, C, h, w]."""
        return self.encoder((image + 1) / 2)

    def image_of(self, entries: Tensor) -> Tensor:
        """float[B, C, h, w] to float[B, 3, H, W], about [-1, 1] and not clamped."""
        return 2 * self.decoder(entries.to(self.last_layer.dtype)) - 1

    @property
    def last_layer(self) -> Tensor:
        """Weight of the decoder's last convolution."""
        return self.decoder[-1].weight

    def networks(self) -> list[nn.Module]:
        """Encoder, quantiser and decoder."""
        return list(self.children())


class MaskGITAutoencoder(ConvolutionalTokenizer):
    """An image to a grid of indices of a learned codebook, and back, by convolutions alone.

    The defaults are those of the ImageNet model with 1024 codes: a grid with 1/16 of the side lengths, 54.51 M
    parameters.
    """

    @limits(
        codebook_size=at_least(1),
        latent_channels=at_least(1),
        **{name: BLOCKS[name] for name in ("block_out_channels", "layers_per_block", "norm_num_groups")},
    )
    def __init__(
        self,
        codebook_size: int = 1024,
        latent_channels: int = 256,
        block_out_channels: tuple[int, ...] = (128, 128, 256, 256, 512),
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
    ) -> None:
        """Makes an untrained autoencoder.

        Args:
            codebook_size: entries of the codebook.
            latent_channels: numbers per codebook entry.
            block_out_channels: width of each level, finest first; each level but the last halves the side lengths.
            layers_per_block: residual blocks per level, and once more at the coarsest end of encoder and decoder.
            norm_num_groups: groups of every group norm.

        Raises:
            ValueError: if the groups do not divide a width.
        """
        super().__init__()
        widths = tuple(block_out_channels)
        check_groups(widths, norm_num_groups)
        self.config = {
            "codebook_size": codebook_size,
            "latent_channels": latent_channels,
            "block_out_channels": widths,
            "layers_per_block": layers_per_block,
            "norm_num_groups": norm_num_groups,
        }
        self.factor, self.codebook_size = 2 ** (len(widths) - 1), codebook_size
        self.encoder = image_encoder(widths, latent_channels, layers_per_block, norm_num_groups)
        self.quantiser = NearestCodes(codebook_size, latent_channels, commitment=0.25, codebook=1.0)
        self.decoder = pixel_decoder(widths, latent_channels, layers_per_block, norm_num_groups)

    def own_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict of the weights as TiTok and MaskBit publish them, converted from JAX."""
        levels, blocks = len(self.config["block_out_channels"]), self.config["layers_per_block"]
        codebook = tensors.get("quantize.embedding.weight")
        named = {} if codebook is None else self.codebook_of(codebook)
        for name, tensor in tensors.items():
            if name != "quantize.embedding.weight":
                named[own_name(name, levels, blocks)] = tensor
        return named


class ResidualBlock(nn.Module):
    """Norm, swish, conv 3x3, twice, added to the input; all convolutions without biases.

    Where the width changes, the shortcut is a 1x1 convolution: in MAGVIT-v2 of the block's input, in MaskGIT of its
    output, so that there is no path around the block; published weights have these forms.
    """

    def __init__(self, in_channels: int, out_channels: int, groups: int, around: bool = False) -> None:
        """Makes the block; `groups` is the number of groups of its norms, `around` a shortcut of the input."""
        super().__init__()
        self.around = around
        self.norm1 = nn.GroupNorm(groups, in_channels, EPSILON)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(groups, out_channels, EPSILON)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        given = in_channels if around else out_channels
        widens = in_channels != out_channels
        self.shortcut = nn.Conv2d(given, out_channels, 1, bias=False) if widens else None

    def forward(self, x: Tensor) -> Tensor:
        """float[B, in_channels, H, W] to float[B, out_channels, H, W]."""
        hidden = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return hidden + (x if self.shortcut is None else self.shortcut(x if self.around else hidden))


def own_name(name: str, levels: int, blocks: int, block: str = "block", shrinking: bool = False) -> str:
    """The name of a tensor that is published as "decoder.up.0.block.1.conv2.weight"; unknown names are kept.

    Args:
        name: its published name, which begins with "encoder." or "decoder.".
        levels: number of levels.
        blocks: residual blocks per level.
        block: what the published names call a residual block of a level.
        shrinking: whether convolutions halve the side lengths, as in MaskBit.
    """
    half = name.partition(".")[0]
    places = _places(levels, blocks, block, shrinking).get(half, [])
    for number, place in enumerate(places):
        if name.startswith(f"{half}.{place}."):
            return f"{half}.{number}." + name.removeprefix(f"{half}.{place}.").replace("nin_shortcut", "shortcut")
    return name


def _places(levels: int, blocks: int, name: str, shrinking: bool) -> dict[str, list[str]]:
    """Published names of the layers of both halves, in the order of their sequences; levels count from the finest."""
    middle = [f"mid.res_blocks.{block}" if shrinking else f"mid.{block}" for block in range(blocks)]
    end = ["norm_out", "", "conv_out"]
    encoder, decoder = ["conv_in"], ["conv_in", *middle]
    for level in range(levels):
        encoder += [f"down.{level - 1}.down_conv" if shrinking else ""] if level else []
        encoder += [f"down.{level}.{name}.{block}" for block in range(blocks)]
    for level in reversed(range(levels)):
        decoder += [f"up.{level}.{name}.{block}" for block in range(blocks)]
        decoder += ["", f"up.{level}.upsample_conv"] if level else []
    return {"encoder": [*encoder, *middle, *end], "decoder": [*decoder, *end]}


def image_encoder(
    widths: tuple[int, ...], latent_channels: int, blocks: int, groups: int, shrinking: bool = False
) -> nn.Sequential:
    """The encoder: images float[B, 3, H, W] in [0, 1] to float[B, latent_channels, h, w].

    Args:
        widths: width of each level, finest first.
        latent_channels: channels of the result.
        blocks: residual blocks per level, and once more at the coarsest end.
        groups: groups of every group norm.
        shrinking: halve the side lengths by convolutions (MaskBit) instead of means.
    """
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, padding=1, bias=False)]
    for number, (before, width) in enumerate(pairwise((widths[0], *widths))):
        if number:
            layers.append(nn.Conv2d(before, before, 3, stride=2, padding=1) if shrinking else nn.AvgPool2d(2))
        layers += residual_blocks(before, width, blocks, groups)
    layers += residual_blocks(widths[-1], widths[-1], blocks, groups)
    head = nn.Conv2d(widths[-1], latent_channels, 1)
    return nn.Sequential(*layers, nn.GroupNorm(groups, widths[-1], EPSILON), nn.SiLU(), head)


def pixel_decoder(widths: tuple[int, ...], latent_channels: int, blocks: int, groups: int) -> nn.Sequential:
    """The decoder: entries float[B, latent_channels, h, w] to images float[B, 3, H, W], about [0, 1].

    Args:
        widths: width of each level, finest first.
        latent_channels: numbers per codebook entry.
        blocks: residual blocks per level, and once more at the coarsest end.
        groups: groups of every group norm.
    """
    widths = widths[::-1]
    layers: list[nn.Module] = [nn.Conv2d(latent_channels, widths[0], 3, padding=1)]
    layers += residual_blocks(widths[0], widths[0], blocks, groups)
    for number, (before, width) in enumerate(pairwise((widths[0], *widths))):
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(before, before, 3, padding=1)] if number else []
        layers += residual_blocks(before, width, blocks, groups)
    head = nn.Conv2d(widths[-1], 3, 3, padding=1)
    # Images of an untrained decoder are nearly grey: from black ones, the mean alone takes a hundred steps.
    with torch.no_grad():
        head.weight.mul_(0.2)
        head.bias.fill_(0.5)
    return nn.Sequential(*layers, nn.GroupNorm(groups, widths[-1], EPSILON), nn.SiLU(), head)


def residual_blocks(before: int, width: int, count: int, groups: int, around: bool = False) -> list[nn.Module]:
    """Residual blocks in a row, of which the first changes the width from `before`; see `ResidualBlock`."""
    return [ResidualBlock(before if number == 0 else width, width, groups, around) for number in range(count)]
