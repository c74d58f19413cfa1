"""How GaussianToken makes Gaussians of a feature map: learned anchors that read the map, and are refined, in rounds."""

import torch
from timm.layers import build_sincos2d_pos_embed
from torch import Tensor, nn

from gpstoken.baselines.deformable import DeformableAttention, MapLayer, QueryLayer, cell_centres
from gpstoken.baselines.magvit2 import EPSILON
from gpstoken.baselines.rotated_gaussians import GEOMETRY


class GaussianEmbedding(nn.Module):
    """A feature map to Gaussians: their geometry, before its bounds, and a feature each.

    An anchor holds the position (x, y) whose sigmoid lies on the map, of which 0 and 1 are the edges; two scales; a
    rotation; and a feature.
    """

    def __init__(
        self,
        num_tokens: int,
        width: int,
        heads: int,
        points: int,
        map_layers: int,
        rounds: int,
        query_layers: int,
        latent_channels: int,
        groups: int,
    ) -> None:
        """Makes the network; the arguments are those of `GaussianToken`."""
        super().__init__()
        self.project = nn.Sequential(nn.Conv2d(width, width, 1), nn.GroupNorm(groups, width, EPSILON))
        self.map_layers = nn.ModuleList([MapLayer(width, heads, points, 4 * width) for _ in range(map_layers)])
        # Positions are uniform at first; the other numbers lie near the middle of their ranges.
        position = torch.rand(num_tokens, 2).logit(eps=1e-3)
        self.anchors = nn.Parameter(torch.cat([position, 0.1 * torch.randn(num_tokens, 3 + width)], -1))
        # Published weights hold this start of the queries, which is never trained.
        self.instance_feature = nn.Parameter(torch.zeros(num_tokens, width), requires_grad=False)
        self.rounds = nn.ModuleList([Round(width, heads, points, query_layers) for _ in range(rounds)])
        self.head = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, latent_channels))
        for module in self.modules():  # as in Deformable DETR
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, DeformableAttention):
                module.look_around()

    def forward(self, feature_map: Tensor) -> tuple[Tensor, Tensor]:
        """float[B, width, h, w] to the anchors' geometry float[B, N, 5] and features float[B, N, latent_channels]."""
        size = (feature_map.shape[-2], feature_map.shape[-1])
        cells = self.project(feature_map).flatten(2).mT
        position = build_sincos2d_pos_embed(list(size), cells.shape[-1], interleave_sin_cos=True, device=cells.device)
        centres = cell_centres(size, cells.device).expand(len(cells), -1, -1)
        for layer in self.map_layers:
            cells = layer(cells, position.to(cells.dtype), centres, size)
        anchors, queries = (each.repeat(len(cells), 1, 1) for each in (self.anchors, self.instance_feature))
        for each in self.rounds:
            anchors, queries = each(anchors, queries, cells, size)
        geometry, feature = anchors.tensor_split([sum(GEOMETRY)], -1)
        return geometry, self.head(feature)


class Round(nn.Module):
    """Queries read the map around their anchors, pass a feed-forward network, and give the anchors new numbers."""

    def __init__(self, width: int, heads: int, points: int, layers: int) -> None:
        """Makes the round; the arguments are those of `GaussianToken`."""
        super().__init__()
        self.parts = (*GEOMETRY, width)
        self.encoders = nn.ModuleList([_property_encoder(numbers, width) for numbers in self.parts])
        self.layers = nn.ModuleList([QueryLayer(width, heads, points, 4 * width) for _ in range(layers)])
        self.shortcut = nn.Linear(2 * width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(2 * width), nn.Linear(2 * width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)
        )
        self.refine = nn.Sequential(
            *(layer for _ in range(4) for layer in _hidden(width, width)), nn.Linear(width, sum(self.parts))
        )

    def forward(self, anchors: Tensor, queries: Tensor, cells: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Refines anchors.

        Args:
            anchors: float[B, N, 5 + width].
            queries: float[B, N, width].
            cells: float[B, h w, width], the map row by row.
            size: (h, w).

        Returns:
            New anchors and queries. The position moves; the other numbers are replaced.
        """
        parts = anchors.split(self.parts, -1)
        position = sum(encoder(part) for encoder, part in zip(self.encoders, parts, strict=True))
        read = queries
        for layer in self.layers:
            read = layer(read, position, parts[0].sigmoid(), cells, size)
        both = torch.cat([read, queries], -1)
        queries = self.shortcut(both) + self.feed_forward(both)
        moved, others = self.refine(queries).tensor_split([GEOMETRY[0]], -1)
        return torch.cat([parts[0] + moved, others], -1), queries


def _property_encoder(numbers: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(numbers, width), nn.ReLU(), nn.LayerNorm(width), *_hidden(width, width))


def _hidden(before: int, width: int) -> list[nn.Module]:
    return [nn.Linear(before, width), nn.ReLU(), nn.LayerNorm(width)]
