"""The deep compression autoencoder DC-AE (Chen et al. 2025), the paper's DCAE."""

from itertools import pairwise

from diffusers import AutoencoderDC
from torch import Tensor

from gpstoken.baselines.grid import GridTokenizer
from gpstoken.limits import at_least, each, limits


class DCAutoencoder(GridTokenizer):
    """An image to a grid of latents a thirty-second of its sides, and back.

    Levels of residual blocks, then levels of linear attention; what changes the sides has a shortcut without weights,
    from space to channels or back. The defaults are dc-ae-f32c32-in-1.0: 32 channels, 323.36 M parameters. The latent
    has no loss of its own.

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
            block_out_channels: width of each level, finest first, dividing four times that of the level before (of a
                2x2 square); each level but the last halves the sides.
            encoder_layers: blocks of each level; a finest level of 0 is but the first convolution, at half the sides.
            decoder_layers: the same of the decoder.
            attention_levels: so many of the coarsest levels are of attention, with RMS norms and SiLU in the decoder;
                the decoder's others have batch norms and ReLU.
            attention_head_dim: channels of an attention head; divides the widths of those levels.

        Raises:
            ValueError: for lists of different lengths, or widths that do not divide as they must.
        """
        super().__init__()
        widths = tuple(block_out_channels)
        levels = len(widths)
        if not len(encoder_layers) == len(decoder_layers) == levels or attention_levels > levels:
            raise ValueError(f"block_out_channels: has {levels} levels, the layers and attention_levels need as many")
        if widths[-1] % latent_channels:
            raise ValueError(f"latent_channels: {latent_channels} does not divide the last width, {widths[-1]}")
        # A finest level without blocks has no shortcut, nor a part of its own.
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
