"""(image, initial Gaussians) to (refined Gaussians, features): convolutional stem, RoIAlign, transformer."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from gpstoken.blocks import ResidualBlock, recomputed
from gpstoken.gaussians import Gaussians, offset


class RegionBlock(nn.Module):
    """A pre-norm transformer block that first adds a learned pooling of the region's own pixels."""

    def __init__(self, width: int, heads: int, cells: int) -> None:
        """Makes the block for tokens of `width` channels and regions of `cells` RoI cells."""
        super().__init__()
        self.pool = nn.Linear(cells, 1)
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor, pooled: Tensor) -> Tensor:
        """tokens[B, N, width] and the pixels pooled by `pool`, [B, N, width], to tokens[B, N, width]."""
        tokens = tokens + pooled
        normal = self.norm1(tokens)
        tokens = tokens + self.attention(normal, normal, normal, need_weights=False)[0]
        return tokens + self.mlp(self.norm2(tokens))


class Refine(nn.Module):
    """Refines Gaussians and gives each its texture feature (paper section 3, spatially-adaptive refinement).

    It is permutation equivariant over tokens: only the Gaussian itself encodes the position of a token.
    """

    def __init__(
        self,
        feature_channels: int,
        width: int = 512,
        depth: int = 30,
        heads: int = 8,
        roi_size: int = 8,
        stem_channels: int = 128,
        norm_groups: int = 32,
        fused: bool = True,
        recompute: bool = False,
    ) -> None:
        """Makes the network.

        Args:
            feature_channels: C, channels of a token's texture feature.
            width: channels of the transformer.
            depth: number of transformer blocks.
            heads: attention heads.
            roi_size: cells along a side of a pooled region.
            stem_channels: channels of the full-resolution stem.
            norm_groups: groups of the stem's norms; must divide `stem_channels`.
            fused: pool the regions for all blocks at once, see `pool_at_once`; False: block by block, as released.
            recompute: discard the activations of the stem; the backward pass computes them again.
        """
        super().__init__()
        self.roi_size, self.fused, self.recompute = roi_size, fused, recompute
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem_channels, 3, padding=1),
            ResidualBlock(stem_channels, stem_channels, norm_groups),
            ResidualBlock(stem_channels, stem_channels, norm_groups),
        )
        # The release has a time projection in both stem blocks that is never called. It is kept so that the release's
        # files load strictly and sizes agree with the paper, and frozen so that DDP needs no find_unused_parameters.
        self.unused_time_projections = nn.ModuleList(nn.Linear(512, stem_channels) for _ in range(2))
        self.unused_time_projections.requires_grad_(False)
        self.project = nn.Conv2d(stem_channels, width, 1)
        self.query = nn.Parameter(0.02 * torch.randn(1, width))
        self.embed = nn.Sequential(nn.Linear(5, width), nn.GELU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(RegionBlock(width, heads, roi_size**2) for _ in range(depth))
        self.to_offset = nn.Linear(width, 5)
        nn.init.zeros_(self.to_offset.weight)
        nn.init.zeros_(self.to_offset.bias)
        self.to_features = nn.Linear(width, feature_channels)

    def forward(self, image: Tensor, layout: Gaussians, boxes: Tensor) -> tuple[Gaussians, Tensor]:
        """Refines `layout` by the image's content in `boxes`.

        Args:
            image: float[B, 3, H, W] in [-1, 1].
            layout: N initial Gaussians per image.
            boxes: float[B, N, 4], (x0, y0, x1, y1) in pixel indices, the last one inclusive.

        Returns:
            (refined Gaussians in at least float32, features[B, N, C]).
        """
        cells = self.align(recomputed(self.stem, image, when=self.recompute), boxes)
        geometry = layout.to_tensor().to(image.dtype)
        tokens = self.query + self.embed(geometry)
        for block, pooled in zip(self.blocks, (self.pool_at_once if self.fused else self.pool)(cells), strict=True):
            tokens = block(tokens, pooled)
        # Geometry in bfloat16 would be off by a pixel, so the offset is converted to float32.
        delta = self.to_offset(tokens)
        delta = delta.float() if delta.dtype in (torch.bfloat16, torch.float16) else delta
        return offset(layout, delta), self.to_features(tokens)

    def align(self, stem: Tensor, boxes: Tensor) -> Tensor:
        """RoIAlign of stem[B, S, H, W] over boxes[B, N, 4]: float[B, N, S, roi_size ** 2]."""
        rois = list(boxes.to(stem.dtype).unbind(0))
        cells = roi_align(stem, rois, self.roi_size, spatial_scale=1.0, sampling_ratio=-1, aligned=True)
        return cells.flatten(2).unflatten(0, boxes.shape[:2])

    def pool(self, cells: Tensor) -> Iterator[Tensor]:
        """Projects cells[B, N, S, R], then sums them with the weights of each block: depth times [B, N, width]."""
        square = cells.flatten(0, 1).unflatten(-1, (self.roi_size, -1))
        pixels = self.project(square).flatten(2).unflatten(0, cells.shape[:2])
        for block in self.blocks:
            yield block.pool(pixels).squeeze(-1)

    def pool_at_once(self, cells: Tensor) -> tuple[Tensor, ...]:
        """The same sums in the other order: first over cells for all blocks, in S channels, then one projection.

        A block's sum w over cells and the projection P over channels are both linear: w (P c + p) + b = P (w c) +
        (sum w) p + b. With the paper's sizes (R 64, S 128, width 512, 30 blocks) it is a twelfth of the work.
        """
        if not self.blocks:
            return ()
        weight = torch.cat([block.pool.weight for block in self.blocks])  # [depth, R]
        bias = torch.cat([block.pool.bias for block in self.blocks])
        constant = weight.sum(1, keepdim=True) * self.project.bias + bias[:, None]
        mixed = (weight.to(cells.dtype) @ cells.flatten(0, 2).T).unflatten(1, (-1, cells.shape[2]))  # [depth, B * N, S]
        project = self.project.weight.flatten(1).T.expand(len(mixed), -1, -1)
        return torch.baddbmm(constant[:, None], mixed, project).unflatten(1, cells.shape[:2]).unbind(0)
