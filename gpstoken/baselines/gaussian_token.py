"""GaussianToken (Dong et al. 2025, "An Effective Image Tokenizer with 2D Gaussian Splatting")."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gpstoken.baselines.fixed_size import FixedSizeTokenizer
from gpstoken.baselines.gaussian_embedding import GaussianEmbedding
from gpstoken.baselines.grid import check_groups
from gpstoken.baselines.magvit2 import Decoder, Encoder
from gpstoken.baselines.quantisers import NearestCodes
from gpstoken.baselines.rotated_gaussians import GEOMETRY, SMALLEST_SCALE, GaussianTokens, bounded, clamped, drawn
from gpstoken.limits import at_least, between, each, limits, number, one_of
from gpstoken.splat import BACKENDS

COMMITMENT = 1.0  # the default of the library that the published quantiser derives from
# Names of the published checkpoint -> ours, in this order
NAMES = {
    "img_encoder.": "encoder.",
    "img_decoder.": "decoder.",
    "quantize._codebook.": "quantiser.layer._codebook.",
    ".nin_shortcut.": ".shortcut.",
    ".downsample.conv.": ".downsample.",
    ".upsample.conv.": ".upsample.",
}
DROPPED = ("loss.", "model_ema.")


class GaussianToken(FixedSizeTokenizer):
    """An image to Gaussians with an index each, drawn on a map that a convolutional decoder turns into an image.

    The defaults are those of the ImageNet model with 256 Gaussians and 1024 codes, 112.79 M parameters. The published
    checkpoint holds another 0.32 M that are never used. Left open by our source, and chosen so that parameters and
    multiply-adds agree: adaptive group norms and channel shuffles in the decoder, the widths of the small MLPs, and an
    anchor encoder per round. Left open too, and our choice: images in [-1, 1] and the pace of the annealing. The
    published weights of the losses are not known to us, so the trainer's own are used.

    In training the largest scale of a Gaussian is annealed: the buffer `largest_scale` starts at the first value of
    `scale_range`, and every forward pass in training moves it by a share 1 - `range_decay` of what is left to the
    second. Evaluation uses it as it is.

    Attributes:
        largest_scale: float[], see above.
    """

    channels = sum(GEOMETRY) + 1

    @limits(
        image_size=at_least(1),
        num_tokens=at_least(1),
        codebook_size=at_least(1),
        block_out_channels=each(at_least(1)),
        layers_per_block=at_least(1, 1000),
        norm_num_groups=at_least(1),
        width=at_least(4),
        heads=at_least(1),
        points=at_least(1),
        map_layers=at_least(0, 1000),
        rounds=at_least(1, 1000),
        query_layers=at_least(1, 1000),
        latent_channels=at_least(1),
        scale_range=each(number(SMALLEST_SCALE), 2),
        range_decay=between(0, 1),
        least_use=number(0),
        splat_backend=one_of(*BACKENDS),
    )
    def __init__(
        self,
        image_size: int = 256,
        num_tokens: int = 256,
        codebook_size: int = 1024,
        block_out_channels: tuple[int, ...] = (128, 256, 256, 512),
        layers_per_block: int = 4,
        norm_num_groups: int = 32,
        width: int = 64,
        heads: int = 4,
        points: int = 4,
        map_layers: int = 2,
        rounds: int = 3,
        query_layers: int = 2,
        latent_channels: int = 8,
        scale_range: tuple[float, float] = (4.0, 3.0),
        range_decay: float = 0.9999,
        least_use: float = 2.0,
        splat_backend: str = "auto",
    ) -> None:
        """Makes an untrained tokenizer.

        Args:
            image_size: side of the images in pixels.
            num_tokens: Gaussians of an image.
            codebook_size: entries of the codebook.
            block_out_channels: width of each level of the convolutions, finest first; each but the last halves the
                side lengths.
            layers_per_block: residual blocks per level, and once more at the coarsest end of encoder and decoder.
            norm_num_groups: groups of every group norm.
            width: channels of the encoder's map and of the Gaussians' features.
            heads: heads of all attention layers.
            points: points that a query of deformable attention reads per head.
            map_layers: layers in which the map reads itself.
            rounds: how often the Gaussians read the map and are refined.
            query_layers: attention layers of a round.
            latent_channels: numbers per codebook entry, and channels of the map that is decoded.
            scale_range: largest standard deviation of a Gaussian, in cells of the map, at first and in the end.
            range_decay: share of the way to the end that a training step leaves; our source does not state it.
            least_use: see `NearestCodes`.
            splat_backend: see `gpstoken.splat`.

        Raises:
            ValueError: if the groups do not divide a width, or the levels the image, or heads and positions the width.
        """
        super().__init__()
        widths, scale_range = tuple(block_out_channels), tuple(scale_range)
        self.config = {name: value for name, value in locals().items() if name not in ("self", "__class__", "widths")}
        self.config["block_out_channels"] = widths
        check_groups(widths, norm_num_groups)
        factor = 2 ** (len(widths) - 1)
        if image_size % factor:
            raise ValueError(f"image_size: expected a multiple of {factor} pixels, got {image_size}")
        if width % heads or width % 4 or width % norm_num_groups:
            raise ValueError(
                f"width: expected a multiple of 4, {heads} heads and {norm_num_groups} groups, got {width}"
            )
        self.image_size, self.shape, self.codebook_size = image_size, (num_tokens,), codebook_size
        self.side, self.splat_backend, self.range_decay = image_size // factor, splat_backend, range_decay
        self.encoder = Encoder(widths, width, layers_per_block, norm_num_groups)
        self.gs_embed = GaussianEmbedding(
            num_tokens, width, heads, points, map_layers, rounds, query_layers, latent_channels, norm_num_groups
        )
        self.quantiser = NearestCodes(
            codebook_size, latent_channels, commitment=COMMITMENT, codebook=0.0, decay=0.8, least_use=least_use
        )
        self.decoder = Decoder(widths, latent_channels, layers_per_block, norm_num_groups)
        first, self.last_scale = scale_range
        self.register_buffer("largest_scale", torch.tensor(float(first)))

    def gaussians(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """float[B, 3, H, W] in [-1, 1] to the geometry of `GaussianTokens` and features float[B, N, latent_channels].

        Raises:
            ValueError: for images of another size.
        """
        self.code((image.shape[-2], image.shape[-1]))
        anchors, features = self.gs_embed(self.encoder(image))
        # A later step changes the buffer before this one's gradient is computed.
        return bounded(anchors, self.largest_scale.clone()), features

    def image_of(self, geometry: Tensor, entries: Tensor) -> Tensor:
        """Geometry float[B, N, 5] and entries of the codebook float[B, N, latent_channels] to float[B, 3, H, W]."""
        return self.decoder(drawn(geometry, entries, self.side, self.splat_backend))

    def encode(self, image: Tensor) -> GaussianTokens:
        """float[B, 3, H, W] in [-1, 1] to tokens.

        Raises:
            ValueError: for images of another size.
        """
        geometry, features = self.gaussians(image)
        return GaussianTokens(geometry, self.quantiser(features).indices)

    def decode(self, tokens: GaussianTokens) -> Tensor:
        """Tokens to float[B, 3, H, W], about [-1, 1] and not clamped.

        Raises:
            ValueError: for anything but tokens of these shapes.
        """
        geometry, indices = tokens
        if indices.dtype != torch.long or indices.dim() != 2 or geometry.shape != (*indices.shape, 5):
            shapes = f"{list(geometry.shape)} and {indices.dtype} {list(indices.shape)}"
            raise ValueError(f"tokens: expected float[B, N, 5] and long[B, N], got {shapes}")
        return self.image_of(geometry, self.quantiser.entries_of(indices))

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructs float[B, 3, H, W]; in training with the straight-through gradient, and annealing the scale."""
        if not self.training:
            return super().forward(image)
        self.largest_scale.lerp_(self.largest_scale.new_tensor(self.last_scale), 1 - self.range_decay)
        geometry, features = self.gaussians(image)
        quantised = self.quantiser(features)
        self.terms = quantised.terms
        return self.image_of(geometry, quantised.entries)

    def pack(self, image: Tensor, num_tokens: int | None = None) -> dict[str, Tensor]:
        """{"geometry": float[B, N, 5], "codes": long[B, N]}; see `GaussianTokens`."""
        self.code((image.shape[-2], image.shape[-1]), num_tokens)
        geometry, indices = self.encode(image)
        return {"geometry": geometry, "codes": indices}

    def unpack(self, parts: Mapping[str, Tensor]) -> GaussianTokens:
        """Tokens from "geometry", which may be generated and is clamped to its ranges, and "codes"."""
        return GaussianTokens(clamped(parts["geometry"], float(self.largest_scale)), parts["codes"])

    def own_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Renames the tensors of a checkpoint of the authors' code.

        The convolutions have the names of latent diffusion and the codebook those of vector-quantize-pytorch. How the
        parts of the Gaussian embedding are called there, our source does not say: they keep their names.

        Args:
            tensors: the checkpoint's tensors by name; those of the loss and of the running average are dropped.

        Returns:
            The same tensors under the names of `state_dict`. The scale range, where it is missing, is that of a
            finished training.
        """
        own = {"largest_scale": torch.tensor(float(self.last_scale))}
        for name, tensor in tensors.items():
            for theirs, ours in NAMES.items():
                name = name.replace(theirs, ours)
            if not name.startswith(DROPPED):
                own[name] = tensor
        return own

    def networks(self) -> list[nn.Module]:
        """All but the quantiser, whose operations depend on values."""
        return [self.encoder, self.gs_embed, self.decoder]

    @property
    def last_layer(self) -> Tensor:
        """Weight of the decoder's last convolution."""
        return self.decoder.conv_out.weight
