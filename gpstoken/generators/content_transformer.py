"""The networks of D2iT's second stage (Jia et al. 2025): a DiT with one token a region, and RefineNet for fine codes.

A reimplementation from the paper's description; no weights exist.
"""

import math

import torch
from torch import Tensor, nn

from gpstoken.baselines.grain_codes import FINE, coarse_first
from gpstoken.limits import at_least, between, each, limits
from gpstoken.sit_blocks import Block, FinalLayer, TimeEmbedding, sine_cosine_positions


class RefineNet(nn.Module):
    """DiT blocks on the fine codes alone: from the token of a region to the values of its four codes."""

    def __init__(
        self, channels: int, shape: tuple[int, int], token_width: int, width: int, depth: int, heads: int, values: int
    ) -> None:
        """Makes the network; see `ContentTransformer`."""
        super().__init__()
        self.token_embedder, self.condition_embedder = nn.Linear(token_width, width), nn.Linear(token_width, width)
        self.code_embedder = nn.Linear(channels, width)
        rows, columns = shape
        grid = sine_cosine_positions((2 * rows, 2 * columns), width)[0].unflatten(0, (rows, 2, columns, 2))
        self.pos_embed = nn.Parameter(grid.transpose(1, 2).flatten(2, 3).flatten(0, 1).clone())  # [regions, 4, width]
        self.blocks = nn.ModuleList(Block(width, heads, qk_norm=False) for _ in range(depth))
        self.final_layer = FinalLayer(width, values)

    def forward(self, tokens: Tensor, codes: Tensor, regions: Tensor, condition: Tensor) -> Tensor:
        """The values of the fine codes.

        Args:
            tokens: float[B, K, token_width], of the fine regions.
            codes: float[B, K, 4, C].
            regions: long[B, K], their numbers.
            condition: float[B, token_width].

        Returns:
            float[B, 4 K, values].
        """
        hidden = self.token_embedder(tokens)[:, :, None] + self.code_embedder(codes) + self.pos_embed[regions]
        hidden, condition = hidden.flatten(1, 2), self.condition_embedder(condition)
        for block in self.blocks:
            hidden = block(hidden, condition)
        return self.final_layer(hidden, condition)


class ContentTransformer(nn.Module):
    """D2iT's Dynamic Content Transformer: the noise in the codes of an image, given their grain map.

    Routing makes one token of a region, from its one code or from its four. A DiT transforms these tokens. What it says
    of a coarse region is the prediction for its code; the tokens of the fine regions go on to RefineNet, which predicts
    for each of their codes. Position embeddings are learned, and begin as DiT's fixed ones.

    The defaults are DiT-XL with as many blocks of DiT-S's width in RefineNet as come nearest to the published 687 M
    parameters, 687.33 M; how the paper divides them is not known. A reimplementation from the paper's description; no
    weights exist.

    Attributes:
        layout_channels: none; the network takes a grain map in place of a layout.
        fine: number of fine regions.
        shape: (N,), the codes of one image in the order of `gpstoken.baselines.grain_codes.GrainTokens`.
        sample_shape: (N, C).
    """

    layout_channels = 0

    @limits(
        channels=at_least(1),
        map_shape=each(at_least(1), 2),
        fine_share=between(0, 1),
        width=at_least(1),
        depth=at_least(0, 1000),
        heads=at_least(1),
        refine_width=at_least(1),
        refine_depth=at_least(0, 1000),
        refine_heads=at_least(1),
        num_classes=at_least(1),
    )
    def __init__(
        self,
        channels: int = 4,
        map_shape: tuple[int, int] = (16, 16),
        fine_share: float = 0.5,
        width: int = 1152,
        depth: int = 28,
        heads: int = 16,
        refine_width: int = 384,
        refine_depth: int = 4,
        refine_heads: int = 6,
        num_classes: int = 1000,
    ) -> None:
        """Makes a network that predicts zero.

        Args:
            channels: numbers of a code.
            map_shape: (h, w) of the grain map.
            fine_share: share of the regions that are fine, rounded down to a number of regions, as in the tokenizer.
            width: channels of the DiT.
            depth: its blocks.
            heads: its attention heads.
            refine_width: channels of RefineNet.
            refine_depth: its blocks.
            refine_heads: its attention heads.
            num_classes: number of classes; the label `num_classes` means no class.

        Raises:
            ValueError: if a width is not a multiple of its heads and of 4.
        """
        super().__init__()
        map_shape = tuple(map_shape)
        self.config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        for name, channels_of, heads_of in (("width", width, heads), ("refine_width", refine_width, refine_heads)):
            if channels_of % heads_of or channels_of % 4:
                raise ValueError(f"{name}: {channels_of} is not a multiple of heads {heads_of} and of 4")
        regions = math.prod(map_shape)
        self.num_classes, self.channels, self.map_shape = num_classes, channels, map_shape
        self.fine = int(fine_share * regions)
        self.shape = (regions + (FINE - 1) * self.fine,)
        self.sample_shape = (*self.shape, channels)
        self.coarse_embedder, self.fine_embedder = nn.Linear(channels, width), nn.Linear(FINE * channels, width)
        self.t_embedder = TimeEmbedding(width)
        self.y_embedder = nn.Embedding(num_classes + 1, width)
        self.pos_embed = nn.Parameter(sine_cosine_positions(map_shape, width)[0])  # [regions, width]
        self.blocks = nn.ModuleList(Block(width, heads, qk_norm=False) for _ in range(depth))
        self.final_layer = FinalLayer(width, 2 * channels)
        self.refine = RefineNet(channels, map_shape, width, refine_width, refine_depth, refine_heads, 2 * channels)
        self._initialise()

    def _initialise(self) -> None:
        """DiT's initialisation: every block starts as the identity, the outputs as zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for embedding in (self.y_embedder, self.t_embedder.mlp[0], self.t_embedder.mlp[2]):
            nn.init.normal_(embedding.weight, std=0.02)
        for part in (self, self.refine):
            for layer in (*part.blocks, part.final_layer):
                nn.init.zeros_(layer.adaLN_modulation[1].weight)
            nn.init.zeros_(part.final_layer.linear.weight)

    def forward(self, x: Tensor, t: Tensor, label: Tensor, grain: Tensor) -> Tensor:
        """Predicts the noise and the variance of a step (`gpstoken.generators.ddpm`).

        Args:
            x: float[B, N, C], noised codes.
            t: [B], times 0 (data) to 999 (noise).
            label: long[B] in [0, num_classes]; num_classes for no class.
            grain: float[B, h, w, 1] with `fine` ones each, 1 for a fine region.

        Returns:
            float[B, N, 2 C].

        Raises:
            ValueError: for tensors of another shape.
        """
        if x.shape[1:] != self.sample_shape:
            raise ValueError(f"x: expected samples of shape {self.sample_shape}, got {tuple(x.shape[1:])}")
        if grain.shape != (len(x), *self.map_shape, 1):
            raise ValueError(f"grain: expected {(len(x), *self.map_shape, 1)}, got {tuple(grain.shape)}")
        order = coarse_first(grain[..., 0])
        first = order.shape[1] - self.fine
        parts = x[:, first:].unflatten(1, (self.fine, FINE))
        hidden = torch.cat([self.coarse_embedder(x[:, :first]), self.fine_embedder(parts.flatten(2))], dim=1)
        # A transformer does not know the order of its tokens: each has the position of its region.
        hidden = hidden + self.pos_embed[order]
        condition = self.t_embedder(t) + self.y_embedder(label)
        for block in self.blocks:
            hidden = block(hidden, condition)
        whole = self.final_layer(hidden[:, :first], condition)
        return torch.cat([whole, self.refine(hidden[:, first:], parts, order[:, first:], condition)], dim=1)
