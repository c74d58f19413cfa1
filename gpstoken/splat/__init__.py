"""Tokens to feature map: a sum of two-dimensional Gaussians, each with a feature vector (paper Eq. 2 and 3)."""

import math
from functools import cache
from importlib import import_module

import torch
from torch import Tensor

from gpstoken.gaussians import Gaussians
from gpstoken.splat import operators, reference, tiled

__all__ = ["splat"]

BACKENDS = ("auto", "reference", "tiled", "cpu", "triton")
PACKAGES = {"cpu": "numba", "triton": "triton"}


def splat(
    gaussians: Gaussians,
    features: Tensor,
    size: tuple[int, int],
    support_factor: float = 3.0,
    backend: str = "auto",
) -> Tensor:
    """Renders tokens to a feature map, F(p) = sum_n w_n(p) f_n (paper Eq. 2 and 3).

    Pixel i of n sits at 2i / (n - 1) - 1. A Gaussian has peak 1 and contributes where |dx| <= s sigma_x and
    |dy| <= s sigma_y; the sum is not normalised. The computation is in float32 at least, under autocast too: with
    bfloat16 geometry it would be wrong by percents.

    It is differentiable in mu, sigma, rho and features, with the cut-off taken as constant. Each backend has its own
    gradients. All other derivatives of torch (forward mode by `torch.autograd.forward_ad` or `torch.func.jvp`, second
    and higher derivatives, the other transforms of `torch.func`) are available on every backend, too; "cpu" and
    "triton" use the reference for them, with its time and memory. Only `torch.func.vmap` does not work with "tiled".

    Args:
        gaussians: N Gaussians for each of B images: mu [B, N, 2], sigma [B, N, 2] > 0, |rho| < 1 on the canvas [-1, 1].
            Values are not checked. With an infinite sigma the weight does not fall off along that axis; a NaN, or a
            sigma of 0 with a pixel exactly on the centre, gives NaN in the map.
        features: [B, N, C], floating point.
        size: (h, w) of the map in pixels, each >= 1.
        support_factor: half size s of the support box in standard deviations, > 0 (3 in the release, 5 in the paper).
        backend: "reference" sums over all Gaussians at every pixel; "tiled" only over those that touch an 8 x 8 tile;
            "cpu" (numba) and "triton" (for GPUs, float32) visit only the pixels of each Gaussian's box; "auto" chooses
            the backend that was fastest in measurements. All backends agree up to rounding.

    Returns:
        Feature map [B, C, h, w], in the widest dtype of float32, the geometry and the features.

    Raises:
        ValueError: if features do not match the Gaussians, size or support_factor is not positive, or the backend is
            unknown or does not support this device or dtype.
        ImportError: if the package of the requested backend is missing.
    """
    if backend not in BACKENDS:
        raise ValueError(f"splat: backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if features.ndim != 3 or features.shape[:2] != gaussians.rho.shape:
        expected = ", ".join(str(length) for length in gaussians.rho.shape)
        raise ValueError(f"splat: features must be [{expected}, C] like the Gaussians, got {list(features.shape)}")
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"splat: size must be (h, w) with both >= 1, got {size}")
    if not 0 < support_factor < math.inf:
        raise ValueError(f"splat: support_factor must be positive and finite, got {support_factor}")

    dtype = torch.float32
    for value in (gaussians.mu, gaussians.sigma, gaussians.rho, features):
        dtype = torch.promote_types(dtype, value.dtype)
    gaussians = Gaussians(gaussians.mu.to(dtype), gaussians.sigma.to(dtype), gaussians.rho.to(dtype))
    if backend == "auto":
        backend = _fastest(gaussians, size, support_factor)
    if backend in PACKAGES and not _at_hand(backend):
        raise ImportError(f"splat: backend {backend!r} needs {PACKAGES[backend]}, which is not installed")
    if features.numel() == 0:
        backend = "reference"  # without images, tokens or channels the map is zero
    render = {"reference": reference.splat, "tiled": tiled.splat}.get(backend) or operators.operator(backend, features)
    with torch.autocast(features.device.type, enabled=False):
        return render(gaussians, features.to(dtype), size, support_factor)


@cache
def _load(backend: str) -> bool:
    try:
        import_module(f"gpstoken.splat.{backend}")
    except ImportError:
        return False
    return True


@torch.compiler.assume_constant_result  # torch.compile cannot trace an import
def _at_hand(backend: str) -> bool:
    """Whether the package of a compiled backend is installed; if so, registers its operator."""
    return _load(backend)


def _fastest(gaussians: Gaussians, size: tuple[int, int], support_factor: float) -> str:
    """The backend that was fastest in measurements of forward and backward passes (`python -m benchmarks splat`).

    On a CPU it is always the compiled backend: where every Gaussian covers the whole of a small map, matrix products on
    one thread are at most a fifth faster, and detecting that case would cost every other call as much. Without numba,
    the choice depends on how much culling saves. Triton was never timed on a GPU, so it is never chosen automatically.
    """
    if gaussians.rho.device.type == "cpu" and _at_hand("cpu"):
        return "cpu"
    return "tiled" if _culling_pays(gaussians, size, support_factor) else "reference"


def _culling_pays(gaussians: Gaussians, size: tuple[int, int], support_factor: float) -> bool:
    """Whether the tiled backend is faster, forward and backward, judged by the number of weights that both evaluate.

    Measured on CPU cores with C 16 and 32: because of gathering and scattering a tiled weight costs as much as about
    2.2 dense weights, and sorting Gaussians into tiles as much as 100,000 dense weights. So the tiled backend is used
    for sparse maps, but not for small maps or maps that every Gaussian covers.
    """
    sorting, dense = 100_000, gaussians.rho.numel() * size[0] * size[1]
    if dense <= sorting:
        return False
    return dense > sorting + 2.2 * tiled.TILE**2 * tiled.count_pairs(gaussians, size, support_factor)
