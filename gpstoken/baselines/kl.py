"""The convolutional KL autoencoder of latent diffusion, whose latent grid the grid generator models."""

from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor

from gpstoken.base import Tokenizer


class KLAutoencoder(Tokenizer):
    """An image to a grid of latents with a diagonal Gaussian posterior, and back (Rombach et al. 2022, section 3.1).

    The defaults are Stable Diffusion's: a grid of an eighth of the sides with 4 channels, 83.65 M parameters. Latents
    come without that model's scaling factor: generators normalise them by the mean and deviation that their token cache
    has measured.

    Attributes:
        factor: pixels along a side of a grid cell.
        divergence: float[B], KL(posterior || N(0, 1)) of the images of the last forward in training, summed over the
            latent; what `KLTokenizerModule` adds to the loss.
    """

    def __init__(
        self,
        latent_channels: int = 4,
        block_out_channels: tuple[int, ...] = (128, 256, 512, 512),
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
    ) -> None:
        """Makes an untrained autoencoder.

        Args:
            latent_channels: channels of the grid.
            block_out_channels: width of each level, finest first; each level but the last halves the sides.
            layers_per_block: residual blocks a level of the encoder; the decoder has one more.
            norm_num_groups: groups of every group norm.

        Raises:
            ValueError: if the groups do not divide a width.
        """
        super().__init__()
        widths = tuple(block_out_channels)
        if odd := [width for width in widths if width % norm_num_groups]:
            raise ValueError(f"block_out_channels: norm_num_groups={norm_num_groups} does not divide {odd[0]}")
        self.config = {
            "latent_channels": latent_channels,
            "block_out_channels": widths,
            "layers_per_block": layers_per_block,
            "norm_num_groups": norm_num_groups,
        }
        self.factor = 2 ** (len(widths) - 1)
        self.autoencoder = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * len(widths),
            up_block_types=("UpDecoderBlock2D",) * len(widths),
            **self.config,
        )
        self.divergence: Tensor | None = None

    @property
    def last_layer(self) -> Tensor:
        """Weight of the decoder's last convolution."""
        return self.autoencoder.decoder.conv_out.weight

    def posterior(self, image: Tensor) -> DiagonalGaussianDistribution:
        """Mean and variance of the latent of float[B, 3, H, W], in float32.

        Raises:
            ValueError: for sides that are not multiples of `factor`.
        """
        height, width = image.shape[-2:]
        if height % self.factor or width % self.factor or not height * width:
            raise ValueError(f"image: sides must be multiples of {self.factor} pixels, got {height}x{width}")
        # Of half precision the sum of a thousand squares would keep two digits.
        return DiagonalGaussianDistribution(self.autoencoder.encode(image).latent_dist.parameters.float())

    def encode(self, image: Tensor) -> Tensor:
        """float[B, 3, H, W] in [-1, 1] to the posterior's mean float[B, C, H / factor, W / factor]."""
        return self.posterior(image).mean

    def decode(self, tokens: Tensor) -> Tensor:
        """Latents float[B, C, h, w] to float[B, 3, factor h, factor w], about [-1, 1] and not clamped.

        Raises:
            ValueError: for latents of another shape.
        """
        channels = self.config["latent_channels"]
        if tokens.dim() != 4 or tokens.shape[1] != channels:
            raise ValueError(f"latent: expected float[B, {channels}, h, w], got {list(tokens.shape)}")
        return self.autoencoder.decode(tokens).sample

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructs float[B, 3, H, W]: from the posterior's mean, in training from a sample of it."""
        if not self.training:
            return super().forward(image)
        posterior = self.posterior(image)
        self.divergence = posterior.kl()
        return self.decode(posterior.sample())
