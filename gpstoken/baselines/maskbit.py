"""The convolutional autoencoder of MaskBit (Weber et al. 2024), whose tokens are the signs of its latent."""

from collections.abc import Mapping

from torch import Tensor

from gpstoken.baselines.grid import BLOCKS, check_groups
from gpstoken.baselines.maskgit import ConvolutionalTokenizer, image_encoder, own_name, pixel_decoder
from gpstoken.baselines.quantisers import Bits
from gpstoken.limits import at_least, limits

TABLES = ("quantize.bits_to_indices", "quantize.codebook")


class MaskBitAutoencoder(ConvolutionalTokenizer):
    """An image to a grid of a few bits per cell, and back, by convolutions alone.

    It has the layers of MaskGIT's autoencoder, but convolutions halve the side lengths, and lookup-free quantisation
    replaces the codebook. The defaults are the model with 16 bits: a grid with 1/16 of the side lengths, 54.50 M
    parameters. The published training lets the weight of the entropies fall over its first 2,000 steps and has a
    perceptual loss on the logits of a ResNet-50; here the weight is constant, and LPIPS is the perceptual loss.
    """

    @limits(
        bits=at_least(1, 20),
        **{name: BLOCKS[name] for name in ("block_out_channels", "layers_per_block", "norm_num_groups")},
    )
    def __init__(
        self,
        bits: int = 16,
        block_out_channels: tuple[int, ...] = (128, 128, 256, 256, 512),
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
    ) -> None:
        """Makes an untrained autoencoder.

        Args:
            bits: bits of a grid cell; a token is an index of 2 ** bits.
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
            "bits": bits,
            "block_out_channels": widths,
            "layers_per_block": layers_per_block,
            "norm_num_groups": norm_num_groups,
        }
        self.factor, self.codebook_size = 2 ** (len(widths) - 1), 2**bits
        self.encoder = image_encoder(widths, bits, layers_per_block, norm_num_groups, shrinking=True)
        self.quantiser = Bits(bits)
        self.decoder = pixel_decoder(widths, bits, layers_per_block, norm_num_groups)

    def own_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict of the published weights, without the tables of the quantiser, which follow from the bits."""
        levels, blocks = len(self.config["block_out_channels"]), self.config["layers_per_block"]
        kept = {name: tensor for name, tensor in tensors.items() if name not in TABLES}
        return {own_name(name, levels, blocks, "res_blocks", True): tensor for name, tensor in kept.items()}
