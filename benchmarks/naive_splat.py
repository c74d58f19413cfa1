"""The renderer written straight from the formula: the baseline of `benchmarks.splat`."""

import torch
from torch import Tensor

from gpstoken.gaussians import Gaussians
from gpstoken.splat.reference import pixel_positions


def naive_splat(gaussians: Gaussians, features: Tensor, size: tuple[int, int], support_factor: float) -> Tensor:
    """Computes every intermediate as a tensor of tokens x pixels; arguments and result as of `gpstoken.splat`.

    Args:
        gaussians: mu [B, N, 2], sigma [B, N, 2], rho [B, N].
        features: [B, N, C].
        size: height and width (h, w) of the map.
        support_factor: half size of the support box in standard deviations.

    Returns:
        Feature map [B, C, h, w].
    """
    height, width = size
    lines = (pixel_positions(count, dtype=features.dtype, device=features.device) for count in (height, width))
    y, x = torch.meshgrid(*lines, indexing="ij")
    mu_x, mu_y = gaussians.mu[..., None, None].unbind(2)
    sigma_x, sigma_y = gaussians.sigma[..., None, None].unbind(2)
    rho = gaussians.rho[..., None, None]
    dx = x - mu_x
    dy = y - mu_y
    u = dx / sigma_x
    v = dy / sigma_y
    weight = torch.exp(-(u**2 - 2 * rho * u * v + v**2) / (2 * (1 - rho**2)))
    inside = (dx.abs() <= support_factor * sigma_x) & (dy.abs() <= support_factor * sigma_y)
    return torch.einsum("bnhw,bnc->bchw", weight * inside, features)
