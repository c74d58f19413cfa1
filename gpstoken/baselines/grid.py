"""The common bases of tokenizers whose tokens are a grid over the image, and of those with a library's autoencoder."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from gpstoken.base import Code, Tokenizer
from gpstoken.baselines.ldm_names import to_diffusers
from gpstoken.limits import Limit, at_least, each

# Tensors of a published file that do not belong to the autoencoder: its losses, and VAVAE's alignment with DINOv2.
DROPPED = ("loss.", "foundation_model.", "linear_proj.")
# Limits of the arguments of `latent_diffusion_blocks`, which the constructors of these tokenizers share.
BLOCKS: dict[str, Limit] = {
    "block_out_channels": each(at_least(1)),
    "layers_per_block": at_least(1, 1000),
    "norm_num_groups": at_least(1),
    "attention_levels": at_least(0),
}


class TokenGrid(Tokenizer):
    """Base of the tokenizers with one token for every `factor` x `factor` pixels.

    Attributes:
        factor: pixels along a side of a grid cell.
        channels: numbers per token; 1 where a token is an index.
        codebook_size: number of codebook entries; None without a codebook.
    """

    factor: int
    channels: int
    codebook_size: int | None = None

    def code(self, size: tuple[int, int], num_tokens: int | None = None) -> Code:
        """The grid of an image of `size` (H, W).

        Raises:
            ValueError: for sides that are not multiples of `factor`, or any `num_tokens` but None.
        """
        height, width = size
        if height % self.factor or width % self.factor or not height * width:
            raise ValueError(f"image: sides must be multiples of {self.factor} pixels, got {height}x{width}")
        cell = f"one token for every {self.factor}x{self.factor} pixels"
        if num_tokens is not None:
            raise ValueError(f"num_tokens: {type(self).__name__} has {cell}, cannot make {num_tokens}; leave it out")
        shape = (height // self.factor, width // self.factor)
        return Code(shape[0] * shape[1], shape, self.channels, self.codebook_size)


class GridTokenizer(TokenGrid):
    """Base of the convolutional tokenizers.

    Attributes:
        autoencoder: the library's network; only its submodules are called.
    """

    autoencoder: nn.Module

    @property
    def last_layer(self) -> Tensor:
        """Weight of the decoder's last convolution."""
        return self.autoencoder.decoder.conv_out.weight

    def decode(self, tokens: Tensor) -> Tensor:
        """Latents float[B, C, h, w] to float[B, 3, factor h, factor w], about [-1, 1] and not clamped.

        Raises:
            ValueError: for latents of another shape.
        """
        if tokens.dim() != 4 or tokens.shape[1] != self.channels:
            raise ValueError(f"latent: expected float[B, {self.channels}, h, w], got {list(tokens.shape)}")
        return self.autoencoder.decode(tokens).sample

    def own_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict of weights under the names of latent diffusion, taming or diffusers."""
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(DROPPED)}
        return {f"autoencoder.{name}": tensor for name, tensor in to_diffusers(kept).items()}

    def networks(self) -> list[nn.Module]:
        """The submodules of the library's autoencoder, which is never called as a whole."""
        return list(self.autoencoder.children())


def check_groups(widths: tuple[int, ...], norm_num_groups: int) -> None:
    """Checks that the number of norm groups divides every width.

    Raises:
        ValueError: naming the first width that it does not divide.
    """
    if odd := [width for width in widths if width % norm_num_groups]:
        raise ValueError(f"block_out_channels: norm_num_groups={norm_num_groups} does not divide {odd[0]}")


def latent_diffusion_blocks(
    widths: tuple[int, ...], layers_per_block: int, norm_num_groups: int, attention_levels: int
) -> dict[str, Any]:
    """The library's arguments for the encoder and decoder of latent diffusion (and of VQGAN before it).

    Args:
        widths: channels of each level, finest first; each level but the last halves the side lengths.
        layers_per_block: residual blocks per level of the encoder; the decoder has one more.
        norm_num_groups: groups of every group norm.
        attention_levels: number of the coarsest levels that have attention after each residual block.

    Raises:
        ValueError: if the groups do not divide a width, or attention_levels exceeds the number of levels.
    """
    check_groups(widths, norm_num_groups)
    plain = len(widths) - attention_levels
    if plain < 0:
        raise ValueError(f"attention_levels: expected 0 to {len(widths)}, got {attention_levels}")
    return {
        "block_out_channels": widths,
        "layers_per_block": layers_per_block,
        "norm_num_groups": norm_num_groups,
        "down_block_types": ("DownEncoderBlock2D",) * plain + ("AttnDownEncoderBlock2D",) * attention_levels,
        "up_block_types": ("AttnUpDecoderBlock2D",) * attention_levels + ("UpDecoderBlock2D",) * plain,
    }
