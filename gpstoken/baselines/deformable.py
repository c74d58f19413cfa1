"""Deformable attention (Zhu et al. 2021, "Deformable DETR") on one feature map, by torch's bilinear sampling."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DeformableAttention(nn.Module):
    """Every query reads the map at a few points near its reference point, and weighs what it finds.

    Offsets from the reference point, in cells of the map, and weights, a softmax over the points of a head, are linear
    functions of the query. A point is read by bilinear interpolation; outside the map there are zeros.
    """

    def __init__(self, width: int, heads: int, points: int) -> None:
        """Makes the layer.

        Args:
            width: channels of queries and map.
            heads: attention heads.
            points: points that a query reads per head.
        """
        super().__init__()
        self.heads, self.points = heads, points
        self.sampling_offsets = nn.Linear(width, heads * points * 2)
        self.attention_weights = nn.Linear(width, heads * points)
        self.value_proj, self.output_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.look_around()

    @torch.no_grad()
    def look_around(self) -> None:
        """Sets the start of a training: each head looks into a direction of its own, its points lie a cell apart."""
        angle = torch.arange(self.heads) * (2 * math.pi / self.heads)
        direction = torch.stack([angle.cos(), angle.sin()], -1)
        direction = direction / direction.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.points + 1)[:, None]
        self.sampling_offsets.weight.zero_()
        self.sampling_offsets.bias.copy_((direction[:, None] * steps).flatten())
        self.attention_weights.weight.zero_()
        self.attention_weights.bias.zero_()

    def forward(self, query: Tensor, reference: Tensor, cells: Tensor, size: tuple[int, int]) -> Tensor:
        """Reads a map.

        Args:
            query: float[B, N, C].
            reference: float[B, N, 2], points (x, y) of which 0 and 1 are the edges of the map.
            cells: float[B, h w, C], the map row by row.
            size: (h, w).

        Returns:
            float[B, N, C].
        """
        height, width = size
        offsets = self.sampling_offsets(query).unflatten(-1, (self.heads, self.points, 2))
        weights = self.attention_weights(query).unflatten(-1, (self.heads, self.points)).softmax(-1)
        places = reference[:, :, None, None] + offsets / offsets.new_tensor([width, height])
        # Heads go into the batch: maps float[B heads, C / heads, h, w], places float[B heads, N, points, 2].
        maps = self.value_proj(cells).mT.unflatten(2, size).unflatten(1, (self.heads, -1)).flatten(0, 1)
        places = (2 * places - 1).transpose(1, 2).flatten(0, 1)
        found = F.grid_sample(maps, places.to(maps.dtype), align_corners=False)
        found = (found.unflatten(0, (-1, self.heads)) * weights.transpose(1, 2)[:, :, None]).sum(-1)
        return self.output_proj(found.flatten(1, 2).mT)


class FeedForward(nn.Sequential):
    """Linear, ReLU, linear."""

    def __init__(self, width: int, hidden: int) -> None:
        """Makes the layers, of `width`, `hidden` and `width` channels."""
        super().__init__(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))


class MapLayer(nn.Module):
    """A layer in which every cell of a map reads the map around itself: the encoder layer of Deformable DETR."""

    def __init__(self, width: int, heads: int, points: int, hidden: int) -> None:
        """Makes the layer; see `DeformableAttention`, and `hidden` channels between the two linear layers."""
        super().__init__()
        self.attention, self.norm1 = DeformableAttention(width, heads, points), nn.LayerNorm(width)
        self.feed_forward, self.norm2 = FeedForward(width, hidden), nn.LayerNorm(width)

    def forward(self, cells: Tensor, position: Tensor, reference: Tensor, size: tuple[int, int]) -> Tensor:
        """Refines a map.

        Args:
            cells: float[B, h w, C].
            position: float[h w, C], the position embedding, which is added to queries.
            reference: float[B, h w, 2], the centres of the cells.
            size: (h, w).

        Returns:
            float[B, h w, C].
        """
        cells = self.norm1(cells + self.attention(cells + position, reference, cells, size))
        return self.norm2(cells + self.feed_forward(cells))


class QueryLayer(nn.Module):
    """A layer in which queries read each other, then a map: the decoder layer of Deformable DETR."""

    def __init__(self, width: int, heads: int, points: int, hidden: int) -> None:
        """Makes the layer; see `MapLayer`."""
        super().__init__()
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm1 = nn.LayerNorm(width)
        self.attention, self.norm2 = DeformableAttention(width, heads, points), nn.LayerNorm(width)
        self.feed_forward, self.norm3 = FeedForward(width, hidden), nn.LayerNorm(width)

    def forward(
        self, queries: Tensor, position: Tensor, reference: Tensor, cells: Tensor, size: tuple[int, int]
    ) -> Tensor:
        """Refines queries.

        Args:
            queries: float[B, N, C].
            position: float[B, N, C], which is added wherever a query is compared.
            reference: float[B, N, 2], the points (x, y) around which queries read the map.
            cells: float[B, h w, C], the map.
            size: (h, w).

        Returns:
            float[B, N, C].
        """
        placed = queries + position
        read, _ = self.self_attention(placed, placed, queries, need_weights=False)
        queries = self.norm1(queries + read)
        queries = self.norm2(queries + self.attention(queries + position, reference, cells, size))
        return self.norm3(queries + self.feed_forward(queries))


def cell_centres(size: tuple[int, int], device: torch.device) -> Tensor:
    """Centres (x, y) of the cells of a map of `size` (h, w), row by row: float[h w, 2] in (0, 1)."""
    y, x = ((torch.arange(side, device=device) + 0.5) / side for side in size)
    return torch.cartesian_prod(y, x).flip(-1)
