"""START HERE. image -> partition -> Gaussians -> refine -> splat -> decode."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
import yaml
from torch import Tensor

from gpstoken.base import Code, Tokenizer
from gpstoken.blocks import fold_tiles, unfold_tiles
from gpstoken.canvas import Canvas, check_image
from gpstoken.decoder import Decoder
from gpstoken.files import checkpoints
from gpstoken.gaussians import Gaussians, merge_tiles, split_regions, split_tiles
from gpstoken.limits import limits
from gpstoken.partition import partition
from gpstoken.refine import Refine
from gpstoken.splat import splat
from gpstoken.tokenizer_limits import LIMITS, check_together
from gpstoken.tokens import Tokens

PRESETS: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("presets.yaml").read_text())


class GPSToken(Tokenizer):
    """Gaussian-parameterized spatially-adaptive tokenizer.

    The defaults are GPSToken-M128 with torch's own group norm. `presets.yaml` states where paper and release differ.
    """

    differences: ClassVar = {"residual": ("geometry", "layout")}

    @limits(**LIMITS)
    def __init__(
        self,
        num_tokens: int = 128,
        feature_channels: int = 16,
        image_size: int = 256,
        grid_size: int = 64,
        width: int = 512,
        depth: int = 30,
        heads: int = 8,
        roi_size: int = 8,
        stem_channels: int = 128,
        decoder_channels: int = 128,
        decoder_multipliers: tuple[int, ...] = (1, 2, 4),
        decoder_blocks: int = 3,
        norm_groups: int = 32,
        norm: str = "plain",
        lambda_: float = 2.5,
        min_region_size: int = 8,
        sigma_rule: str = "released",
        support_factor: float = 3.0,
        refine_geometry: bool = True,
        tile_decoding: str = "merged",
        partition_backend: str = "auto",
        splat_backend: str = "auto",
        fused: bool = True,
        recompute: bool = False,
    ) -> None:
        """Makes an untrained tokenizer.

        Args:
            num_tokens: N, number of tokens of one tile (an image of `image_size`).
            feature_channels: C, channels of a texture feature.
            image_size: side of a tile in pixels; larger multiples of it are tiled, other sizes are encoded as a whole.
            grid_size: side of the rendered feature map of one tile.
            width: channels of the refining transformer.
            depth: number of its blocks.
            heads: number of its attention heads.
            roi_size: cells along a side of a pooled region.
            stem_channels: channels of the full-resolution stem.
            decoder_channels: decoder width at full resolution.
            decoder_multipliers: decoder width of each level over `decoder_channels`, finest first.
            decoder_blocks: residual blocks per level.
            norm_groups: groups of every group norm.
            norm: form of the decoder's norms, "plain" or "released" (see `TiledGroupNorm`).
            lambda_: exponent of the entropy in the partition (paper 2.5).
            min_region_size: s_min in pixels (release 8, discussion 4).
            sigma_rule: initial sigma, "released" (a third of the region) or "paper" (a sixth).
            support_factor: s, half width of a Gaussian's support in sigmas (release 3, paper 5).
            refine_geometry: False keeps the initial Gaussians (the paper's Refine ablation) and learns only features.
            tile_decoding: "merged" decodes the tiles of a large image together, "separate" one by one (released L256).
            partition_backend: see `partition`.
            splat_backend: see `splat`.
            fused: use exact, faster rewrites (`Refine.pool_at_once`, `Upsample`); False: step by step, as released.
            recompute: activation checkpointing of the residual blocks, which saves memory and costs time in training.

        Raises:
            ValueError: for a value outside the limits of `tokenizer_limits`, or values that do not match.
        """
        super().__init__()
        config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self.config = config | {"decoder_multipliers": tuple(decoder_multipliers)}
        check_together(self.config)
        self.num_tokens, self.image_size, self.grid_size = num_tokens, image_size, grid_size
        self.lambda_, self.min_region_size, self.sigma_rule = lambda_, min_region_size, sigma_rule
        self.support_factor, self.refine_geometry = support_factor, refine_geometry
        self.partition_backend, self.splat_backend, self.tile_decoding = partition_backend, splat_backend, tile_decoding
        self.canvas = Canvas(image_size, grid_size, 2 * min_region_size)  # the least side that the partition accepts
        networks = {"norm_groups": norm_groups, "fused": fused, "recompute": recompute}
        self.refine = Refine(feature_channels, width, depth, heads, roi_size, stem_channels, **networks)
        levels = (decoder_channels, tuple(decoder_multipliers), decoder_blocks)
        self.decoder = Decoder(feature_channels, *levels, norm=norm, **networks)

    @classmethod
    def from_preset(cls, preset: str, **overrides: Any) -> "GPSToken":
        """Builds an untrained tokenizer of the paper: "gpstoken_s64", "gpstoken_m128" or "gpstoken_l256".

        Raises:
            ValueError: for an unknown preset.
        """
        if preset not in PRESETS:
            raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {preset!r}")
        return cls(**{**PRESETS[preset], **overrides})

    @classmethod
    def from_pretrained(cls, name: str | Path = "small", preset: str | None = None, **overrides: Any) -> "GPSToken":
        """Loads "small", which is in the package, a file of `gpstoken export`, or with `preset` the paper's weights.

        Raises:
            ValueError: if the file is unreadable, or naming the first tensor that is missing, unknown or misshapen.
        """
        if preset is None:
            return cls.from_checkpoint(name, **overrides)
        tokenizer = cls.from_preset(preset, **overrides)
        tokenizer.load_state_dict(checkpoints.read_released(name, tokenizer.state_dict()))
        return tokenizer.eval()

    @classmethod
    def from_checkpoint(cls, path: str | Path, **overrides: Any) -> "GPSToken":
        """Loads a run's checkpoint, averaged (EMA) weights if there are any; see `from_pretrained` for errors."""
        config, weights = checkpoints.read_training(path, f"{cls.__module__}.{cls.__qualname__}")
        return checkpoints.build(path, cls, config, weights, lambda config: cls(**{**config, **overrides}))

    def own_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict of released weights."""
        return {checkpoints.rename_released(name): tensor for name, tensor in tensors.items()}

    @property
    def last_layer(self) -> Tensor:
        """Weight of the decoder's last convolution."""
        return self.decoder.conv_out.weight

    def code(self, size: tuple[int, int], num_tokens: int | None = None) -> Code:
        """The Gaussians of an image of `size` (H, W): `num_tokens`, by default in proportion to its canvas's area."""
        if num_tokens is None:
            height, width = self.canvas.size(size)
            num_tokens = max(1, round(self.num_tokens * height * width / self.image_size**2))
        return Code(num_tokens, (num_tokens,), 5 + self.config["feature_channels"], None)

    def encode(
        self, image: Tensor, num_tokens: int | None = None, bias: Tensor | None = None, regions: Tensor | None = None
    ) -> Tokens:
        """Tokenizes images; they need no preparation, and no argument is changed.

        Args:
            image: float[B, 3, H, W] in [-1, 1], of any size: an image that does not fit the grid is padded (`canvas`),
                and `decode` crops to its original size.
            num_tokens: number of tokens for the whole image; default: see `code`.
            bias: float[H, W] or [B, H, W], whose sum over a region is added to its complexity, to draw tokens there.
            regions: long[B, N, 4] half-open pixel boxes, a layout to use instead of the partition; for a tiled image in
                row-major tile order, with the same number in every tile.

        Returns:
            Tokens on the canvas of the whole image.

        Raises:
            ValueError: for another kind of image (its values are checked only if gradients are off), input that the
                partition rejects, or regions across tiles.
        """
        check_image(image, values=not torch.is_grad_enabled())
        size = (image.shape[-2], image.shape[-1])
        tiles = self.canvas.tiles(canvas := self.canvas.size(size))
        image, bias = self.canvas.pad(image, bias)
        layout, boxes = self._layout_of_tiles(image, num_tokens, bias, regions)
        gaussians, features = self.refine(fold_tiles(image, tiles), layout, boxes)
        gaussians = gaussians if self.refine_geometry else layout
        features = features.unflatten(0, (-1, tiles[0] * tiles[1])).flatten(1, 2)
        return Tokens(merge_tiles(gaussians, tiles), features, size, canvas if canvas != size else None)

    def pack(self, image: Tensor, num_tokens: int | None = None) -> dict[str, Tensor]:
        """{"geometry", "layout": float[B, N, 5] of sigma_x, sigma_y, rho, x, y, "features": float[B, N, C]}."""
        regions = self._regions(image, num_tokens)  # computed once for both
        tokens, layout = self.encode(image, regions=regions), self.layout(image, regions=regions)
        return {"geometry": tokens.gaussians.to_tensor(), "layout": layout.to_tensor(), "features": tokens.features}

    def unpack(self, parts: Mapping[str, Tensor]) -> Tokens:
        """Tokens from "geometry" and "features", which may be generated and are clamped; see `Gaussians.clamped`."""
        return Tokens(Gaussians.from_tensor(parts["geometry"]).clamped(), parts["features"])

    def layout(
        self, image: Tensor, num_tokens: int | None = None, bias: Tensor | None = None, regions: Tensor | None = None
    ) -> Gaussians:
        """The initial Gaussians of `encode` with the same arguments, on the canvas of the whole image."""
        image, bias = self.canvas.pad(image, bias)
        layout, _ = self._layout_of_tiles(image, num_tokens, bias, regions)
        return merge_tiles(layout, self.canvas.tiles((image.shape[-2], image.shape[-1])))

    def _layout_of_tiles(
        self, image: Tensor, num_tokens: int | None, bias: Tensor | None, regions: Tensor | None
    ) -> tuple[Gaussians, Tensor]:
        """Initial Gaussians [B * tiles, n] and their RoI boxes [B * tiles, n, 4], in coordinates of their tiles."""
        size = (image.shape[-2], image.shape[-1])
        tiles = self.canvas.tiles(size)
        tile_size = (size[0] // tiles[0], size[1] // tiles[1])
        regions = self._regions(image, num_tokens, bias) if regions is None else regions
        regions = split_regions(regions, tiles, tile_size)
        layout = Gaussians.from_regions(regions, tile_size, self.sigma_rule)
        # RoIAlign gets the last pixel, not the one after it, as in the release (half a pixel up and left, one short).
        return Gaussians.from_tensor(layout.to_tensor().to(image)), regions - regions.new_tensor([0, 0, 1, 1])

    def _regions(self, image: Tensor, num_tokens: int | None = None, bias: Tensor | None = None) -> Tensor:
        count, backend = self.code((image.shape[-2], image.shape[-1]), num_tokens).tokens, self.partition_backend
        return partition(image, count, self.lambda_, self.min_region_size, bias, backend, self.image_size)

    def render(self, tokens: Tokens, max_pixels: int | None = None) -> Tensor:
        """Tokens to the feature map float[B, C, rows * grid_size, columns * grid_size].

        Args:
            tokens: tokens of this tokenizer.
            max_pixels: the most pixels that an image may have; None: see `pixel_limit`.

        Raises:
            ValueError: for tokens of another tokenizer, or of an image with too many pixels.
        """
        channels = self.config["feature_channels"]
        if tokens.features.shape[-1] != channels:
            raise ValueError(f"tokens: expected {channels} feature channels, got {tokens.features.shape[-1]}")
        canvas = self.canvas.of_tokens(tokens.size, tokens.canvas, max_pixels)
        tiles, gaussians, features = self.canvas.tiles(canvas), tokens.gaussians, tokens.features
        grid = tuple(side * self.grid_size // self.image_size for side in canvas)
        separate = self.tile_decoding == "separate" and tiles != (1, 1)
        if separate:
            gaussians = split_tiles(gaussians, tiles)
            features = features.unflatten(1, (tiles[0] * tiles[1], -1)).flatten(0, 1)
            grid = (grid[0] // tiles[0], grid[1] // tiles[1])
        feature_map = splat(gaussians, features, grid, self.support_factor, self.splat_backend)
        return unfold_tiles(feature_map, tiles) if separate else feature_map

    def decode(self, tokens: Tokens, max_pixels: int | None = None) -> Tensor:
        """Decodes to float[B, 3, H, W] in the image's size, about [-1, 1] and not clamped; see `render` for errors."""
        tiles = self.canvas.tiles(self.canvas.of_tokens(tokens.size, tokens.canvas, max_pixels))
        if self.tile_decoding == "separate" and tiles != (1, 1):
            image = unfold_tiles(self.decoder(fold_tiles(self.render(tokens, max_pixels), tiles)), tiles)
        else:
            image = self.decoder(self.render(tokens, max_pixels), tiles)
        return image if tokens.canvas is None else image[..., : tokens.size[0], : tokens.size[1]]
