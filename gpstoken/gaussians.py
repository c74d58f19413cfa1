"""Regions of an image as 2-D Gaussians, the offsets that refine them, and the merging of tiles.

The canvas is [-1, 1] x [-1, 1], x to the right and y down; pixel i of n lies at 2 i / (n - 1) - 1 (corners included).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# The distance that geometry keeps from values where the formulas break (sigma = 0, |rho| = 1, logit of 0 or 1). It is
# the clamp of the released generator; float32 resolves 1 - 1e-5 with two digits to spare.
MARGIN = 1e-5


@dataclass(frozen=True, repr=False)
class Gaussians:
    """The geometry of B x N tokens, g = (mu, sigma, rho).

    Attributes:
        mu: float[B, N, 2], centres (x, y) on the canvas.
        sigma: float[B, N, 2], standard deviations (x, y) in canvas units, > 0.
        rho: float[B, N], correlation in (-1, 1).
    """

    mu: Tensor
    sigma: Tensor
    rho: Tensor

    def __post_init__(self) -> None:
        """Checks that the three shapes match.

        Raises:
            ValueError: if they do not.
        """
        lead = tuple(self.rho.shape)
        if len(lead) != 2 or tuple(self.mu.shape) != (*lead, 2) or tuple(self.sigma.shape) != (*lead, 2):
            raise ValueError(
                "Gaussians: expected mu[B, N, 2], sigma[B, N, 2], rho[B, N], "
                f"got {tuple(self.mu.shape)}, {tuple(self.sigma.shape)}, {lead}"
            )

    def __repr__(self) -> str:
        """One line with number, type and device, without the values."""
        batch, count = self.rho.shape
        return f"Gaussians({batch} x {count}, {str(self.mu.dtype).removeprefix('torch.')} on {self.mu.device})"

    def to(self, *arguments: Any, **options: Any) -> "Gaussians":
        """The same Gaussians on another device or in another floating dtype; arguments as for `torch.Tensor.to`."""
        return Gaussians(*(part.to(*arguments, **options) for part in (self.mu, self.sigma, self.rho)))

    @classmethod
    def from_regions(cls, regions: Tensor, size: tuple[int, int], sigma_rule: str = "released") -> "Gaussians":
        """Eq. (1): each region becomes an axis-aligned Gaussian at its centre.

        The paper and its release disagree on sigma. With w the width of a region in pixels and W the width of the
        image, "released" is (w - 1) / W * 2/3, about a third of the region; "paper" is w / (3 W), a sixth of the
        region. Both divide by W, although mu divides by W - 1, as in the release. Under "released" a side of one pixel
        counts as half a pixel, because sigma would be 0 otherwise.

        Args:
            regions: long[B, N, 4], half-open pixel boxes (x0, y0, x1, y1).
            size: (H, W) of the image in pixels.
            sigma_rule: "released" or "paper".

        Returns:
            Gaussians in float32, rho = 0.

        Raises:
            ValueError: for an unknown rule, a wrong shape, or a box that is empty or leaves the image.
        """
        height, width = size
        if regions.dim() != 3 or regions.shape[-1] != 4:
            raise ValueError(f"regions: expected long[B, N, 4], got shape {tuple(regions.shape)}")
        extent = torch.tensor([width, height], device=regions.device)
        start, stop = regions[..., :2], regions[..., 2:]
        # Compiled code cannot read values, so it does not check the boxes.
        if not torch.compiler.is_compiling() and bool(((start < 0) | (stop <= start) | (stop > extent)).any()):
            raise ValueError(f"regions: every box must be x0 < x1, y0 < y1 inside the {height}x{width} image")
        sides = (stop - start).float()
        if sigma_rule == "released":
            sigma = (sides - 1).clamp_min(0.5) / extent * (2 / 3)
        elif sigma_rule == "paper":
            sigma = sides / (3 * extent)
        else:
            raise ValueError(f"sigma_rule: expected 'released' or 'paper', got {sigma_rule!r}")
        last = (extent - 1).clamp_min(1)
        mu = (start + stop - 1).float() / last - 1
        return cls(mu, sigma, torch.zeros_like(mu[..., 0]))

    def to_tensor(self) -> Tensor:
        """Returns float[B, N, 5] in the released order (sigma_x, sigma_y, rho, x, y)."""
        return torch.cat([self.sigma, self.rho[..., None], self.mu], dim=-1)

    @classmethod
    def from_tensor(cls, geometry: Tensor) -> "Gaussians":
        """The inverse of `to_tensor`: float[B, N, 5] to Gaussians."""
        return cls(geometry[..., 3:5], geometry[..., 0:2], geometry[..., 2])

    def clamped(self) -> "Gaussians":
        """Clamps generated Gaussians as in the release: sigma in [1e-5, 1 - 1e-5], |rho| <= 1 - 1e-5, mu unchanged."""
        return Gaussians(self.mu, self.sigma.clamp(MARGIN, 1 - MARGIN), self.rho.clamp(MARGIN - 1, 1 - MARGIN))


def offset(gaussians: Gaussians, delta: Tensor) -> Gaussians:
    """Moves Gaussians by `delta` in unconstrained coordinates, so that they stay valid (refinement, paper section 3).

    sigma' = sigmoid(logit(sigma) + d); likewise for rho and mu on [-1, 1]. A zero delta returns the input up to
    rounding. The result is finite in float32 for any finite delta: sigma in [1e-5, 1 - 1e-5], |rho| <= 1 - 1e-5,
    |mu| <= 1.

    Args:
        gaussians: N Gaussians per image.
        delta: float[B, N, 5] in the order of `Gaussians.to_tensor`.

    Returns:
        The moved Gaussians.
    """
    geometry = gaussians.to_tensor().to(delta.dtype)
    probability = torch.cat([geometry[..., :2], (geometry[..., 2:] + 1) / 2], dim=-1)
    moved = torch.sigmoid(torch.logit(probability, eps=1e-6) + delta)
    sigma = moved[..., :2].clamp(MARGIN, 1 - MARGIN)
    signed = 2 * moved[..., 2:] - 1
    return Gaussians(signed[..., 1:], sigma, signed[..., 0].clamp(MARGIN - 1, 1 - MARGIN))


def merge_tiles(gaussians: Gaussians, tiles: tuple[int, int]) -> Gaussians:
    """Maps the Gaussians of the tiles of an image to the canvas of the whole image.

    sigma is divided by the number of tiles; mu_x of tile (row i, column j) becomes (2 j + mu_x + 1) / columns - 1, and
    mu_y likewise.

    Args:
        gaussians: [B * rows * columns, N], tiles row-major within each image.
        tiles: (rows, columns).

    Returns:
        Gaussians [B, rows * columns * N].
    """
    corner, scale = _tile_frames(gaussians, tiles)
    count = tiles[0] * tiles[1]
    mu = gaussians.mu.unflatten(0, (-1, count))
    sigma = gaussians.sigma.unflatten(0, (-1, count))
    mu = (corner + mu + 1) / scale - 1
    return Gaussians(
        mu.flatten(1, 2), (sigma / scale).flatten(1, 2), gaussians.rho.unflatten(0, (-1, count)).flatten(1)
    )


def split_tiles(gaussians: Gaussians, tiles: tuple[int, int]) -> Gaussians:
    """The inverse of `merge_tiles`: [B, rows * columns * N] to [B * rows * columns, N]."""
    corner, scale = _tile_frames(gaussians, tiles)
    count = tiles[0] * tiles[1]
    if gaussians.rho.shape[1] % count:
        raise ValueError(f"split_tiles: {gaussians.rho.shape[1]} tokens cannot be divided among {count} tiles")
    mu = (gaussians.mu.unflatten(1, (count, -1)) + 1) * scale - 1 - corner
    sigma = gaussians.sigma.unflatten(1, (count, -1)) * scale
    return Gaussians(mu.flatten(0, 1), sigma.flatten(0, 1), gaussians.rho.unflatten(1, (count, -1)).flatten(0, 1))


def split_regions(regions: Tensor, tiles: tuple[int, int], tile_size: tuple[int, int]) -> Tensor:
    """Maps long[B, rows * columns * n, 4] on the image to long[B * rows * columns, n, 4] on tiles of (H, W) pixels.

    Raises:
        ValueError: for another shape, or if the tiles do not divide the number of regions.
    """
    rows, columns = tiles
    if regions.dim() != 3 or regions.shape[-1] != 4 or regions.shape[1] % (rows * columns):
        raise ValueError(
            f"regions: expected long[B, N, 4] with N a multiple of {rows * columns} tiles, got {tuple(regions.shape)}"
        )
    index = torch.arange(rows * columns, device=regions.device)
    corner = torch.stack([index % columns * tile_size[1], index // columns * tile_size[0]], dim=-1)
    return (regions.unflatten(1, (rows * columns, -1)) - corner.repeat(1, 2)[:, None, :]).flatten(0, 1)


def _tile_frames(gaussians: Gaussians, tiles: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Twice the (column, row) of each tile as [rows * columns, 1, 2], and (columns, rows) as [2]."""
    rows, columns = tiles
    index = torch.arange(rows * columns, device=gaussians.mu.device)
    corner = 2 * torch.stack([index % columns, index // columns], dim=-1).to(gaussians.mu.dtype)
    return corner[:, None, :], torch.tensor([columns, rows], device=corner.device, dtype=corner.dtype)
