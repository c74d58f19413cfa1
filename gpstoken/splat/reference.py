"""The renderer as in the paper: every Gaussian at every pixel, in plain differentiable torch.

It is slow and exact: it supports float64, passes `torch.autograd.gradcheck`, and is the oracle of the other backends.
"""

import torch
from torch import Tensor

from gpstoken.gaussians import Gaussians


def pixel_positions(count: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Canvas coordinates of the pixels of one side, corners included.

    Pixel i sits at 2i/(count - 1) - 1, evaluated in double and rounded once: arithmetic in float32, or `linspace`,
    differs in the last bit at many pixels, and one bit decides whether a pixel lies inside a support box.

    Args:
        count: number of pixels n >= 1; a single pixel sits at the centre, 0.
        dtype: floating dtype of the result.
        device: device of the result.

    Returns:
        Positions [count] in [-1, 1], ascending.
    """
    if count == 1:
        return torch.zeros(1, dtype=dtype, device=device)
    index = torch.arange(count, dtype=torch.float64, device=device)
    return (2 * index / (count - 1) - 1).to(dtype)


def inside_support(offset: Tensor, sigma: Tensor, support_factor: float) -> Tensor:
    """Whether offsets along one axis lie inside the support, |offset| <= support_factor * sigma, edge included.

    The test is "not outside", so that a NaN counts as inside and shows in the map instead of silently dropping a token.
    """
    return ~(offset.detach().abs() > support_factor * sigma.detach())


def gaussian_weight(
    dx: Tensor, dy: Tensor, sigma_x: Tensor, sigma_y: Tensor, rho: Tensor, support_factor: float
) -> Tensor:
    """Eq. (2): the weight of a Gaussian at a point, cut off outside a box.

    w = exp(-(u^2 - 2 rho u v + v^2) / (2 (1 - rho^2))), u = dx / sigma_x, v = dy / sigma_y, where |dx| <= s sigma_x and
    |dy| <= s sigma_y, else 0. The peak is 1. The cut-off is a constant for the gradient. All arguments broadcast.

    Args:
        dx: offsets of the points from the centres along x, in canvas units.
        dy: offsets along y.
        sigma_x: standard deviations along x, > 0.
        sigma_y: standard deviations along y, > 0.
        rho: correlations, in (-1, 1).
        support_factor: half size s of the box in standard deviations, > 0.

    Returns:
        Weights in [0, 1], in the broadcast shape.
    """
    u, v = dx / sigma_x, dy / sigma_y
    # (u^2 - 2 rho u v + v^2) / (1 - rho^2) = u^2 + (v - rho u)^2 / (1 - rho^2): a sum of squares keeps its digits as
    # |rho| approaches 1, and so does (1 - rho)(1 + rho). Scaling u and v instead of their difference is less work: on a
    # grid of points they are rows and columns, while their difference is the whole grid.
    scale = ((1 - rho) * (1 + rho) * 2).rsqrt()
    exponent = -(u * u) / 2 - (scale * v - scale * rho * u).square()
    inside = inside_support(dx, sigma_x, support_factor) & inside_support(dy, sigma_y, support_factor)
    # Masked before exp, not after, because far pixels would give subnormal weights, which are slow on a CPU.
    return torch.where(inside, exponent, -torch.inf).exp()


class FullPrecisionProduct(torch.autograd.Function):
    """Batched matrix product whose gradient is not affected by autocast.

    A training step that calls backward within autocast, as Lightning's manual optimisation does, would otherwise
    compute the gradient of the weights, and so of the geometry, from products in bfloat16.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(left: Tensor, right: Tensor) -> Tensor:
        """Returns left [B, I, K] @ right [B, K, J]."""
        return left @ right

    @staticmethod
    def setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Saves both factors."""
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the gradients of left and right."""
        left, right = ctx.saved_tensors
        with torch.autocast(gradient.device.type, enabled=False):
            return gradient @ right.mT, left.mT @ gradient


class ForwardProduct(FullPrecisionProduct):
    """`FullPrecisionProduct` with a forward-mode derivative, which torch.compile cannot trace."""

    @staticmethod
    def jvp(ctx: torch.autograd.function.FunctionCtx, left_tangent: Tensor, right_tangent: Tensor) -> Tensor:
        """Returns the tangent of the product."""
        left, right = ctx.saved_tensors
        with torch.autocast(left.device.type, enabled=False):
            return left_tangent @ right + left @ right_tangent


def full_precision_product(left: Tensor, right: Tensor) -> Tensor:
    """Returns left [B, I, K] @ right [B, K, J], by `FullPrecisionProduct`."""
    return (FullPrecisionProduct if torch.compiler.is_compiling() else ForwardProduct).apply(left, right)


def splat(gaussians: Gaussians, features: Tensor, size: tuple[int, int], support_factor: float) -> Tensor:
    """Eq. (3): the feature map is the plain sum of the features, each under the weight of its Gaussian.

    F(p) = sum_n w_n(p) f_n, not normalised, no background.

    Args:
        gaussians: mu [B, N, 2], sigma [B, N, 2], rho [B, N] in canvas coordinates [-1, 1].
        features: [B, N, C], of the same dtype.
        size: height and width (h, w) of the map in pixels.
        support_factor: half size of the support box in standard deviations.

    Returns:
        Feature map [B, C, h, w].
    """
    mu, sigma, rho = (value[..., None, None] for value in (gaussians.mu, gaussians.sigma, gaussians.rho))
    height, width = size
    x = pixel_positions(width, dtype=features.dtype, device=features.device)
    y = pixel_positions(height, dtype=features.dtype, device=features.device)[:, None]
    weight = gaussian_weight(x - mu[:, :, 0], y - mu[:, :, 1], sigma[:, :, 0], sigma[:, :, 1], rho, support_factor)
    return full_precision_product(features.mT, weight.flatten(2)).unflatten(2, size)
