"""The convolutional autoencoder with a codebook: the VQGAN of taming transformers, the paper's VQVAE-f16."""

from collections.abc import Mapping

from diffusers import VQModel
from torch import Tensor, nn

from gpstoken.baselines.codebook import CodebookTokenizer
from gpstoken.baselines.grid import BLOCKS, GridTokenizer, latent_diffusion_blocks
from gpstoken.baselines.quantisers import NearestCodes
from gpstoken.limits import at_least, limits


class VQAutoencoder(CodebookTokenizer, GridTokenizer):
    """An image to a grid of indices of a learned codebook, and back (Esser et al. 2021, section 3.1).

    The defaults are those of the ImageNet model with 1024 codes: a grid with 1/16 of the side lengths, 72.14 M
    parameters. The loss contains mean (sg[e] - z)^2 + beta mean (e - sg[z])^2 for latents z, their entries e and
    beta = 0.25: the published model was trained with beta on the codebook's term, whereas its paper puts beta on the
    encoder's.

    Attributes:
        factor: pixels along a side of a grid cell.
    """

    @limits(codebook_size=at_least(1), latent_channels=at_least(1), **BLOCKS)
    def __init__(
        self,
        codebook_size: int = 1024,
        latent_channels: int = 256,
        block_out_channels: tuple[int, ...] = (128, 128, 256, 256, 512),
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
        attention_levels: int = 1,
    ) -> None:
        """Makes an untrained autoencoder.

        Args:
            codebook_size: entries of the codebook.
            latent_channels: numbers per codebook entry.
            block_out_channels: width of each level, finest first; each level but the last halves the side lengths.
            layers_per_block: residual blocks per level of the encoder; the decoder has one more.
            norm_num_groups: groups of every group norm.
            attention_levels: number of the coarsest levels that have attention after each residual block.

        Raises:
            ValueError: if the groups do not divide a width, or attention_levels exceeds the number of levels.
        """
        super().__init__()
        widths = tuple(block_out_channels)
        blocks = latent_diffusion_blocks(widths, layers_per_block, norm_num_groups, attention_levels)
        self.config = {
            "codebook_size": codebook_size,
            "latent_channels": latent_channels,
            "block_out_channels": widths,
            "layers_per_block": layers_per_block,
            "norm_num_groups": norm_num_groups,
            "attention_levels": attention_levels,
        }
        self.factor, self.codebook_size = 2 ** (len(widths) - 1), codebook_size
        self.autoencoder = VQModel(
            latent_channels=latent_channels, num_vq_embeddings=1, vq_embed_dim=latent_channels, **blocks
        )
        self.autoencoder.quantize = nn.Identity()  # the library's codebook has no revival of dead entries
        self.quantiser = NearestCodes(codebook_size, latent_channels, commitment=1.0, codebook=0.25)

    def own_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict of weights under the names of taming or diffusers."""
        named = super().own_names(tensors)
        entries = named.pop("autoencoder.quantize.embedding.weight", None)
        return named if entries is None else named | self.codebook_of(entries)

    def latents(self, image: Tensor) -> Tensor:
        """float[B, 3, H, W] in [-1, 1] to float[B, latent_channels, h, w]."""
        return self.autoencoder.encode(image).latents

    def image_of(self, entries: Tensor) -> Tensor:
        """float[B, latent_channels, h, w] to float[B, 3, H, W], about [-1, 1] and not clamped."""
        return self.autoencoder.decode(entries, force_not_quantize=True).sample
