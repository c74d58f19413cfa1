"""D2iT's DVAE (Jia et al. 2025): an autoencoder with four codes for a busy square of an image, and one for a flat one.

A reimplementation from the paper's description; no weights exist.
"""

from collections.abc import Mapping

import torch
from diffusers.models.autoencoders.vae import Decoder, DiagonalGaussianDistribution
from diffusers.models.downsampling import Downsample2D
from diffusers.models.unets.unet_2d_blocks import DownEncoderBlock2D, UNetMidBlock2D
from torch import Tensor, nn

from gpstoken.base import Code, Tokenizer
from gpstoken.baselines.grain_codes import FINE, GrainTokens, gathered, placed
from gpstoken.baselines.grey_entropy import entropy, grey_of, regions_of
from gpstoken.baselines.grid import BLOCKS, check_groups
from gpstoken.limits import at_least, between, limits, number

DIGITS = 9  # of an entropy in bits; what is equal up to rounding is a tie


class Outlet(nn.Module):
    """What ends an encoder of latent diffusion: middle blocks, and the moments of the posterior."""

    def __init__(self, width: int, moments: int, norm_num_groups: int) -> None:
        """Makes the layers."""
        super().__init__()
        self.mid_block = UNetMidBlock2D(
            width, None, resnet_eps=1e-6, resnet_groups=norm_num_groups, attention_head_dim=width
        )
        self.conv_norm_out = nn.GroupNorm(norm_num_groups, width, eps=1e-6)
        self.conv_out = nn.Conv2d(width, moments, 3, padding=1)
        self.quant_conv = nn.Conv2d(moments, moments, 1)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, width, h, w] to float[B, moments, h, w]."""
        x = nn.functional.silu(self.conv_norm_out(self.mid_block(x)))
        return self.quant_conv(self.conv_out(x))


class HierarchicalEncoder(nn.Module):
    """The encoder of latent diffusion, with an outlet at its penultimate level and one at its last."""

    def __init__(self, widths: tuple[int, ...], layers_per_block: int, norm_num_groups: int, moments: int) -> None:
        """Makes the layers; each level halves the sides of the one before."""
        super().__init__()
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        layers = {"num_layers": layers_per_block, "resnet_groups": norm_num_groups, "downsample_padding": 0}
        self.down_blocks = nn.ModuleList(
            DownEncoderBlock2D(widths[max(level - 1, 0)], width, add_downsample=level < len(widths) - 2, **layers)
            for level, width in enumerate(widths)
        )
        self.downsample = Downsample2D(widths[-2], use_conv=True, padding=0, name="op")
        self.fine, self.coarse = (Outlet(width, moments, norm_num_groups) for width in widths[-2:])

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """float[B, 3, H, W] to the fine moments float[B, M, 2h, 2w] and the coarse ones float[B, M, h, w]."""
        x = self.conv_in(image)
        for level in self.down_blocks[:-1]:
            x = level(x)
        return self.fine(x), self.coarse(self.down_blocks[-1](self.downsample(x)))


class DynamicGrainAutoencoder(Tokenizer):
    """An image to the codes of its regions, four of a fine and one of a coarse region, and back: D2iT's DVAE.

    In each image the regions of the highest entropy of grey values are fine. The encoder and the decoder are those of
    latent diffusion; a coarse code is copied to the four cells of its region before it is decoded. The defaults are 640
    codes of 256 x 256 pixels, 128 regions with four codes and 128 with one. The widths are those of latent diffusion's
    f8 autoencoder with one more level; the paper's description leaves them open.

    A reimplementation from the paper's description; no weights exist.

    Attributes:
        factor: pixels along a side of a region.
        divergence: float[B], KL(posterior || N(0, 1)) of each image of the last forward pass in training, summed over
            its codes.
    """

    @limits(
        latent_channels=at_least(1),
        fine_share=between(0, 1),
        kl_weight=number(0),
        **{name: limit for name, limit in BLOCKS.items() if name != "attention_levels"},
    )
    def __init__(
        self,
        latent_channels: int = 4,
        block_out_channels: tuple[int, ...] = (128, 256, 512, 512, 512),
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
        fine_share: float = 0.5,
        kl_weight: float = 1e-6,
    ) -> None:
        """Makes an untrained autoencoder.

        Args:
            latent_channels: numbers of a code.
            block_out_channels: width of each level, finest first; each level but the last halves the side lengths. The
                last two have an outlet.
            layers_per_block: residual blocks per level of the encoder; the decoder has one more.
            norm_num_groups: groups of every group norm.
            fine_share: share of the regions that are fine, rounded down to a number of regions.
            kl_weight: weight of the divergence in a loss where both terms are sums, as in `KLAutoencoder`.

        Raises:
            ValueError: if the groups do not divide a width, or there are fewer than two levels.
        """
        super().__init__()
        widths = tuple(block_out_channels)
        self.config = {name: value for name, value in locals().items() if name not in ("self", "__class__", "widths")}
        self.config["block_out_channels"] = widths
        check_groups(widths, norm_num_groups)
        if len(widths) < 2:
            raise ValueError(f"block_out_channels: expected two levels or more, got {len(widths)}")
        self.factor, self.fine_share = 2 ** (len(widths) - 1), fine_share
        self.encoder = HierarchicalEncoder(widths, layers_per_block, norm_num_groups, 2 * latent_channels)
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)
        self.decoder = Decoder(
            latent_channels,
            3,
            ("UpDecoderBlock2D",) * (len(widths) - 1),
            widths[:-1],
            layers_per_block,
            norm_num_groups,
        )
        self.divergence: Tensor | None = None

    def code(self, size: tuple[int, int], num_tokens: int | None = None) -> Code:
        """The codes of an image; a bit for each region is not counted.

        Raises:
            ValueError: for sides that are not multiples of `factor`, or any `num_tokens` but None.
        """
        height, width = size
        if height % self.factor or width % self.factor or not height * width:
            raise ValueError(f"image: sides must be multiples of {self.factor} pixels, got {height}x{width}")
        regions = height * width // self.factor**2
        count = regions + (FINE - 1) * self.fine(regions)
        if num_tokens is not None:
            kind = type(self).__name__
            raise ValueError(f"num_tokens: {kind} has {count} tokens an image, cannot make {num_tokens}; leave it out")
        return Code(count, (count,), self.config["latent_channels"], None)

    def fine(self, regions: int) -> int:
        """The number of fine ones of some regions."""
        return int(self.fine_share * regions)

    @torch.no_grad()
    def grain(self, image: Tensor) -> Tensor:
        """The regions of the highest entropy of grey values, float[B, h, w]; of equal ones the first are fine."""
        bits = entropy(regions_of(grey_of(image), self.factor))
        ranks = bits.flatten(1).round(decimals=DIGITS).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return (ranks < self.fine(ranks.shape[1])).unflatten(1, bits.shape[1:]).to(image.dtype)

    def posterior(self, image: Tensor) -> tuple[DiagonalGaussianDistribution, Tensor]:
        """Mean and variance of the codes of float[B, 3, H, W], each float32[B, C, N, 1], and the grain map.

        Raises:
            ValueError: for sides that are not multiples of `factor`.
        """
        self.code((image.shape[-2], image.shape[-1]))
        grain = self.grain(image)
        moments = gathered(*self.encoder(image), grain, self.fine(grain[0].numel()))
        # In half precision the sum of a thousand squares would keep only two digits.
        return DiagonalGaussianDistribution(moments.float().transpose(1, 2)[..., None]), grain

    def encode(self, image: Tensor) -> GrainTokens:
        """float[B, 3, H, W] in [-1, 1] to the posterior's mean and the grain map.

        Raises:
            ValueError: for sides that are not multiples of `factor`.
        """
        posterior, grain = self.posterior(image)
        return GrainTokens(posterior.mean[..., 0].transpose(1, 2), grain)

    def decode(self, tokens: GrainTokens) -> Tensor:
        """Tokens to float[B, 3, factor h, factor w], about [-1, 1] and not clamped.

        Raises:
            ValueError: for a number of codes that does not fit the regions.
        """
        return self.decoder(self.post_quant_conv(placed(tokens)))

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructs float[B, 3, H, W] from the posterior's mean, or in training from a sample of the posterior."""
        if not self.training:
            return super().forward(image)
        posterior, grain = self.posterior(image)
        self.divergence = posterior.kl()
        return self.decode(GrainTokens(posterior.sample()[..., 0].transpose(1, 2), grain))

    def latent_terms(self, image: Tensor) -> dict[str, tuple[Tensor, float]]:
        """The mean divergence per image, weighted as that of `KLAutoencoder`."""
        return {"kl": (self.divergence.mean(), self.config["kl_weight"] / image[0].numel())}

    def pack(self, image: Tensor, num_tokens: int | None = None) -> dict[str, Tensor]:
        """{"tokens": float[B, N, C], "grain": float[B, h, w, 1]}; see `GrainTokens`."""
        self.code((image.shape[-2], image.shape[-1]), num_tokens)
        codes, grain = self.encode(image)
        return {"tokens": codes, "grain": grain[..., None]}

    def unpack(self, parts: Mapping[str, Tensor]) -> GrainTokens:
        """The inverse of `pack`."""
        return GrainTokens(parts["tokens"], parts["grain"][..., 0])

    @property
    def last_layer(self) -> Tensor:
        """Weight of the decoder's last convolution."""
        return self.decoder.conv_out.weight
