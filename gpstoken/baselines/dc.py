"""The deep compression autoencoder DC-AE (Chen et al. 2025), the paper's DCAE."""

from itertools import pairwise

from diffusers import AutoencoderDC
from torch import Tensor

from gpstoken.baselines.grid import GridTokenizer
from gpstoken.limits import at_least, each, limits


class DCAutoencoder(GridTokenizer):
    """An image to a grid of latents with 1/32 of its side lengths, and back.

    Levels of residual blocks are followed by levels of linear attention; every layer that changes the resolution has a
    shortcut without weights, from space to channels or back. The defaults are dc-ae-f32c32-in-1.0: 32 channels,
    323.36 M parameters. There is no loss term on the latent.

    Attributes:
        factor: pixels along a side of a grid cell.
    """

    @limits(
        latent_channels=at_least(1),
        block_out_channels=each(at_least(1)),
        encoder_layers=each(at_least(0, 1000)),
        decoder_layers=each(at_least(0, 1000)),
        attention_levels=at_least(0),
        attention_head_dim=at_least(1),
    )
    def __init__(
        self,
        latent_channels: int = 32,
        block_out_channels: tuple[int, ...] = (128, 256, 512, 512, 1024, 1024),
        encoder_layers: tuple[int, ...] = (0, 4, 8, 2, 2, 2),
        decoder_layers: tuple[int, ...] = (0, 5, 10, 2, 2, 2),
        attention_levels: int = 3,
        attention_head_dim: int = 32,
    ) -> None:
        """Makes an untrained autoencoder.

        Args:
            latent_channels: channels of the grid; divide the last width.
            block_out_channels: width of each level, finest first; each divides four times the width of the level
                before (a 2x2 square); each level but the last halves the side lengths.
            encoder_layers: blocks per level; if the finest level has 0, it is only the first convolution, at half
                the side lengths.
            decoder_layers: the same for the decoder.
            attention_levels: number of the coarsest levels that use attention, with RMS norms and SiLU in the decoder;
                the other levels of the decoder have batch norms and ReLU.
            attention_head_dim: channels of an attention head; divides the widths of the attention levels.

        Raises:
            ValueError: for lists of different lengths, or widths that are not divisible as stated.
        """
        super().__init__()
        widths = tuple(block_out_channels)
        levels = len(widths)
        if not len(encoder_layers) == len(decoder_layers) == levels or attention_levels > levels:
            raise ValueError(f"block_out_channels: {levels} levels need as many layers, and no more attention_levels")
        if widths[-1] % latent_channels:
            raise ValueError(f"latent_channels: {latent_channels} does not divide the last width, {widths[-1]}")
        # A finest level without blocks has no shortcut and no module of its own.
        for finer, coarser in list(pairwise(widths))[0 if encoder_layers[0] else 1 :]:
            if 4 * finer % coarser:
                raise ValueError(f"block_out_channels: {coarser} does not divide four times its neighbour, {finer}")
        plain = levels - attention_levels
        if odd := [width for width in widths[plain:] if width % attention_head_dim]:
            raise ValueError(f"block_out_channels: attention_head_dim={attention_head_dim} does not divide {odd[0]}")
        self.config = {
            "latent_channels": latent_channels,
            "block_out_channels": widths,
            "encoder_layers": tuple(encoder_layers),
            "decoder_layers": tuple(decoder_layers),
            "attention_levels": attention_levels,
            "attention_head_dim": attention_head_dim,
        }
        self.factor, self.channels = 2 ** (levels - 1), latent_channels
        kinds = ("ResBlock",) * plain + ("EfficientViTBlock",) * attention_levels
        self.autoencoder = AutoencoderDC(
            latent_channels=latent_channels,
            attention_head_dim=attention_head_dim,
            encoder_block_types=kinds,
            decoder_block_types=kinds,
            encoder_block_out_channels=widths,
            decoder_block_out_channels=widths,
            encoder_layers_per_block=tuple(encoder_layers),
            decoder_layers_per_block=tuple(decoder_layers),
            encoder_qkv_multiscales=((),) * levels,
            decoder_qkv_multiscales=((),) * levels,
            decoder_norm_types=("batch_norm",) * plain + ("rms_norm",) * attention_levels,
            decoder_act_fns=("relu",) * plain + ("silu",) * attention_levels,
        )

    @property
    def last_layer(self) -> Tensor:
        """Weight of the decoder's last convolution."""
        last = self.autoencoder.decoder.conv_out
        return getattr(last, "conv", last).weight

    def encode(self, image: Tensor) -> Tensor:
        """float[B, 3, H, W] in [-1, 1] to float[B, C, H / factor, W / factor].

        Raises:
            ValueError: for sides that are not multiples of `factor`.
        """
        self.code((image.shape[-2], image.shape[-1]))
        return self.autoencoder.encode(image).latent
