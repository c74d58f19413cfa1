"""The Gaussians of GaussianToken: a position, two scales and a rotation each; how they are bounded and drawn."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gpstoken.gaussians import Gaussians
from gpstoken.splat import splat

GEOMETRY = (2, 2, 1)  # numbers of a position, a scale and a rotation
SMALLEST_SCALE = 0.1  # cells of the map
# Standard deviations at which a Gaussian is cut off: beyond, its weight is below exp(-18) = 1.5e-8 of its peak, which
# is less than the rounding of float32. The system itself draws Gaussians whole.
SUPPORT = 6.0


class GaussianTokens(NamedTuple):
    """N Gaussians for each of B images, each with an entry of the codebook.

    Attributes:
        geometry: float[B, N, 5]: position (x, y), of which -1 and 1 are the edges of the image; standard deviations
            along the two axes of the Gaussian, in cells of the map; rotation of the first axis from x towards y, in
            [0, pi].
        indices: long[B, N] in [0, codebook_size).
    """

    geometry: Tensor
    indices: Tensor


def bounded(anchors: Tensor, largest_scale: Tensor) -> Tensor:
    """Unbounded numbers float[B, N, 5] to the geometry of `GaussianTokens`, by a sigmoid each.

    Positions become [-1, 1], scales `SMALLEST_SCALE` to `largest_scale`, rotations [0, pi].
    """
    # In half precision positions would be wrong by a tenth of a cell.
    share = anchors.to(torch.promote_types(anchors.dtype, torch.float32)).sigmoid()
    position, scale, rotation = share.split(GEOMETRY, -1)
    scale = SMALLEST_SCALE + (largest_scale - SMALLEST_SCALE) * scale
    return torch.cat([2 * position - 1, scale, math.pi * rotation], -1)


def clamped(geometry: Tensor, largest_scale: float) -> Tensor:
    """Geometry float[B, N, 5] clamped to the ranges of `bounded`."""
    position, scale, rotation = geometry.split(GEOMETRY, -1)
    scale = scale.clamp(SMALLEST_SCALE, largest_scale)
    return torch.cat([position.clamp(-1, 1), scale, rotation.clamp(0, math.pi)], -1)


def drawn(geometry: Tensor, entries: Tensor, side: int, backend: str) -> Tensor:
    """The sum of all Gaussians of height 1, weighted by their entries.

    Args:
        geometry: float[B, N, 5], see `GaussianTokens`.
        entries: float[B, N, C].
        side: cells along a side of the map.
        backend: see `gpstoken.splat`.

    Returns:
        float[B, C, side, side].
    """
    return splat(rotated(geometry, side), entries, (side, side), SUPPORT, backend)


def rotated(geometry: Tensor, side: int) -> Gaussians:
    """Gaussians with a scale along each of their axes and a rotation, as ones with deviations along x and y and a rho.

    With scales a and b and rotation t, the covariance R(t) diag(a^2, b^2) R(t)^T has the entries

        xx = a^2 cos^2 t + b^2 sin^2 t,   yy = a^2 sin^2 t + b^2 cos^2 t,   xy = (a^2 - b^2) sin t cos t,

    so that sigma_x = sqrt(xx), sigma_y = sqrt(yy) and rho = xy / (sigma_x sigma_y).

    Args:
        geometry: float[B, N, 5], see `GaussianTokens`.
        side: cells along a side of the map; on its canvas -1 and 1 are the centres of the outermost cells.

    Returns:
        N Gaussians for each of B images.
    """
    position, scale, rotation = geometry.split(GEOMETRY, -1)
    cos, sin = rotation.squeeze(-1).cos(), rotation.squeeze(-1).sin()
    a, b = scale.square().unbind(-1)
    sigma = torch.stack([a * cos**2 + b * sin**2, a * sin**2 + b * cos**2], -1).sqrt()
    rho = (a - b) * sin * cos / sigma.prod(-1)
    gaps = max(side - 1, 1)
    return Gaussians(position * side / gaps, sigma * 2 / gaps, rho)
