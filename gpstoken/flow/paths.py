"""Paths between noise and data, x_t = alpha(t) x1 + sigma(t) x0 (SiT, arXiv 2401.08740, section 2.3)."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

# The variance-preserving path is the diffusion of Song et al. (arXiv 2011.13456), reversed in time, with beta from MIN
# to MAX.
BETA_MIN, BETA_MAX = 0.1, 20.0


class Coefficients(NamedTuple):
    """alpha, sigma and their derivatives by t, each of the shape of t."""

    alpha: Tensor
    sigma: Tensor
    d_alpha: Tensor
    d_sigma: Tensor


def linear(t: Tensor) -> Coefficients:
    """Straight lines: alpha = t, sigma = 1 - t."""
    return Coefficients(t, 1 - t, torch.ones_like(t), -torch.ones_like(t))


def gvp(t: Tensor) -> Coefficients:
    """A quarter circle, which preserves the variance: alpha = sin(pi t / 2), sigma = cos(pi t / 2)."""
    quarter = math.pi / 2
    alpha, sigma = torch.sin(quarter * t), torch.cos(quarter * t)
    return Coefficients(alpha, sigma, quarter * sigma, -quarter * alpha)


def vp(t: Tensor) -> Coefficients:
    """The variance-preserving diffusion: log alpha = -(1 - t)^2 (BETA_MAX - BETA_MIN) / 4 - (1 - t) BETA_MIN / 2.

    sigma = sqrt(1 - alpha^2), computed with expm1: near t = 1 the difference would lose all digits in float32.
    d_sigma is infinite at t = 1.
    """
    rest, spread = 1 - t, BETA_MAX - BETA_MIN
    log_alpha = -0.25 * rest**2 * spread - 0.5 * rest * BETA_MIN
    alpha, sigma = torch.exp(log_alpha), torch.sqrt(-torch.expm1(2 * log_alpha))
    d_alpha = alpha * (0.5 * rest * spread + 0.5 * BETA_MIN)
    return Coefficients(alpha, sigma, d_alpha, -alpha * d_alpha / sigma)


PATHS: dict[str, Callable[[Tensor], Coefficients]] = {"linear": linear, "gvp": gvp, "vp": vp}


def coefficients(path: str, t: float | Tensor, dimensions: int = 0) -> Coefficients:
    """The path's coefficients at t, shaped to multiply states.

    Args:
        path: "linear", "gvp" or "vp".
        t: one time for all, or float[B], a time for each sample.
        dimensions: number of dimensions of the states [B, ...]; 0 keeps the shape of t.

    Returns:
        Scalars in float64 (which do not change the dtype of what they multiply), or [B, 1, ...] of the dtype of t.

    Raises:
        ValueError: if the path is unknown.
    """
    if path not in PATHS:
        raise ValueError(f"flow: path must be one of {', '.join(PATHS)}, got {path!r}")
    t = t if isinstance(t, Tensor) else torch.tensor(t, dtype=torch.float64)
    return PATHS[path](t.reshape(-1, *[1] * (dimensions - 1)) if t.ndim and dimensions else t)


def interpolate(data: Tensor, noise: Tensor, t: float | Tensor, path: str = "linear") -> tuple[Tensor, Tensor]:
    """The state at t of the path from each noise to its data, and the velocity there.

    Args:
        data: x1, float[B, ...].
        noise: x0, of the same shape, standard normal.
        t: in [0, 1], one time for all, or float[B]; "vp" has no velocity at t = 1.
        path: "linear", "gvp" or "vp".

    Returns:
        x_t = alpha x1 + sigma x0 and dx_t/dt = alpha' x1 + sigma' x0, both [B, ...].

    Raises:
        ValueError: if data and noise differ in shape, or the path is unknown.
    """
    if data.shape != noise.shape:
        raise ValueError(f"flow: data {list(data.shape)} and noise {list(noise.shape)} must have the same shape")
    alpha, sigma, d_alpha, d_sigma = coefficients(path, t, data.ndim)
    return alpha * data + sigma * noise, d_alpha * data + d_sigma * noise
