"""The convolutional KL autoencoder of latent diffusion: SDXL-VAE, VAVAE, and the grid generator's latents."""

from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor

from gpstoken.baselines.grid import BLOCKS, GridTokenizer, latent_diffusion_blocks
from gpstoken.limits import at_least, limits, number


class KLAutoencoder(GridTokenizer):
    """An image to a grid of latents with a diagonal Gaussian posterior, and back (Rombach et al. 2022, section 3.1).

    The defaults are those of Stable Diffusion and SDXL: a grid with 1/8 of the side lengths and 4 channels, 83.65 M
    parameters. Latents are not multiplied by those models' scaling factors: generators normalise them by the mean and
    standard deviation measured in their token cache.

    Attributes:
        factor: pixels along a side of a grid cell.
        divergence: float[B], KL(posterior || N(0, 1)) for each image of the last forward pass in training, summed over
            the latent.
    """

    @limits(latent_channels=at_least(1), kl_weight=number(0), **BLOCKS)
    def __init__(
        self,
        latent_channels: int = 4,
        block_out_channels: tuple[int, ...] = (128, 256, 512, 512),
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
        attention_levels: int = 0,
        kl_weight: float = 1e-6,
    ) -> None:
        """Makes an untrained autoencoder.

        Args:
            latent_channels: channels of the grid.
            block_out_channels: width of each level, finest first; each level but the last halves the side lengths.
            layers_per_block: residual blocks per level of the encoder; the decoder has one more.
            norm_num_groups: groups of every group norm.
            attention_levels: number of the coarsest levels that have attention after each residual block (VAVAE: 1);
                the coarsest resolution always has one attention layer in encoder and decoder.
            kl_weight: w, the weight of the divergence in a loss where both terms are sums; see `latent_terms`.

        Raises:
            ValueError: if the groups do not divide a width, or attention_levels exceeds the number of levels.
        """
        super().__init__()
        widths = tuple(block_out_channels)
        blocks = latent_diffusion_blocks(widths, layers_per_block, norm_num_groups, attention_levels)
        self.config = {
            "latent_channels": latent_channels,
            "block_out_channels": widths,
            "layers_per_block": layers_per_block,
            "norm_num_groups": norm_num_groups,
            "attention_levels": attention_levels,
            "kl_weight": kl_weight,
        }
        self.factor, self.channels = 2 ** (len(widths) - 1), latent_channels
        self.autoencoder = AutoencoderKL(latent_channels=latent_channels, **blocks)
        self.divergence: Tensor | None = None

    def posterior(self, image: Tensor) -> DiagonalGaussianDistribution:
        """Mean and variance of the latent of float[B, 3, H, W], in float32.

        Raises:
            ValueError: for sides that are not multiples of `factor`.
        """
        self.code((image.shape[-2], image.shape[-1]))
        # In half precision the sum of a thousand squares would keep only two digits.
        return DiagonalGaussianDistribution(self.autoencoder.encode(image).latent_dist.parameters.float())

    def encode(self, image: Tensor) -> Tensor:
        """float[B, 3, H, W] in [-1, 1] to the posterior's mean float[B, C, H / factor, W / factor]."""
        return self.posterior(image).mean

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructs float[B, 3, H, W] from the posterior's mean, or in training from a sample of the posterior."""
        if not self.training:
            return super().forward(image)
        posterior = self.posterior(image)
        self.divergence = posterior.kl()
        return self.decode(posterior.sample())

    def latent_terms(self, image: Tensor) -> dict[str, tuple[Tensor, float]]:
        """The mean divergence per image, with the weight w / (3 H W).

        Latent diffusion (Rombach et al. 2022, appendix G and its code) minimises, averaged over the images, the sum of
        |x - y| + LPIPS over the 3 H W numbers of an image plus w times the sum of the KL over its latent, w = 1e-6.
        Here the reconstruction loss is a mean over those numbers, so dividing the KL by 3 H W keeps its share of the
        loss. (Their reconstruction loss is L1; here, as in the other rows, it is L2.)
        """
        return {"kl": (self.divergence.mean(), self.config["kl_weight"] / image[0].numel())}
