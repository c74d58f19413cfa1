"""The paper's released renderer, ported from its description: the reference of the renderer benchmark.

It follows the release where the release is slow: forward, every pixel is tested against the box of every Gaussian, and
every Gaussian whose box holds it adds all its channels to the map in memory; backward, every Gaussian walks over the
whole map. It is compiled by numba and takes the images in turn, as the release launches them.
"""

import numpy as np
import torch
from numba import njit
from torch import Tensor

from gpstoken.gaussians import Gaussians
from gpstoken.splat.reference import pixel_positions

_compiled = njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})


@_compiled
def _paint(mu, sigma, rho, features, x, y, support, feature_map):
    for row in range(len(y)):
        for column in range(len(x)):
            for n in range(len(rho)):
                dx, dy = x[column] - mu[n, 0], y[row] - mu[n, 1]
                if abs(dx) <= support * sigma[n, 0] and abs(dy) <= support * sigma[n, 1]:
                    u, v, one = dx / sigma[n, 0], dy / sigma[n, 1], np.float32(1)
                    exponent = -(u * u - 2 * rho[n] * u * v + v * v) / (2 * (one - rho[n] * rho[n]))
                    weight = np.exp(np.float32(exponent))
                    for channel in range(features.shape[1]):
                        feature_map[row, column, channel] += weight * features[n, channel]


@_compiled
def _differentiate(gradient, mu, sigma, rho, features, x, y, support, to_mu, to_sigma, to_rho, to_features):
    one = np.float32(1)
    for n in range(len(rho)):
        rest = one - rho[n] * rho[n]
        for row in range(len(y)):
            for column in range(len(x)):
                dx, dy = x[column] - mu[n, 0], y[row] - mu[n, 1]
                if abs(dx) <= support * sigma[n, 0] and abs(dy) <= support * sigma[n, 1]:
                    u, v = dx / sigma[n, 0], dy / sigma[n, 1]
                    form = u * u - 2 * rho[n] * u * v + v * v
                    weight = np.exp(np.float32(-form / (2 * rest)))
                    product = np.float32(0)
                    for channel in range(features.shape[1]):
                        product += gradient[row, column, channel] * features[n, channel]
                        to_features[n, channel] += weight * gradient[row, column, channel]
                    q = weight * product / rest
                    to_mu[n, 0] += q * (u - rho[n] * v) / sigma[n, 0]
                    to_mu[n, 1] += q * (v - rho[n] * u) / sigma[n, 1]
                    to_sigma[n, 0] += q * u * (u - rho[n] * v) / sigma[n, 0]
                    to_sigma[n, 1] += q * v * (v - rho[n] * u) / sigma[n, 1]
                    to_rho[n] += q * (u * v - rho[n] * form / rest)


class _Released(torch.autograd.Function):
    @staticmethod
    def forward(ctx, mu, sigma, rho, features, size, support_factor):
        ctx.save_for_backward(mu, sigma, rho, features)
        ctx.support = np.float32(support_factor)
        x, y = (pixel_positions(count, dtype=torch.float32, device=mu.device).numpy() for count in size[::-1])
        feature_map = np.zeros((len(features), *size, features.shape[2]), np.float32)
        for image, one in enumerate(
            zip(*(value.detach().numpy() for value in (mu, sigma, rho, features)), strict=True)
        ):
            _paint(*one, x, y, ctx.support, feature_map[image])
        return torch.from_numpy(feature_map).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, gradient):
        inputs = [value.detach().numpy() for value in ctx.saved_tensors]
        x, y = (
            pixel_positions(count, dtype=torch.float32, device=gradient.device).numpy()
            for count in gradient.shape[:1:-1]
        )
        upstream = gradient.permute(0, 2, 3, 1).contiguous().numpy()
        results = [np.zeros_like(value) for value in inputs]
        for image in range(len(upstream)):
            one, target = ([value[image] for value in values] for values in (inputs, results))
            _differentiate(upstream[image], *one, x, y, ctx.support, *target)
        return *map(torch.from_numpy, results), None, None


def released_splat(gaussians: Gaussians, features: Tensor, size: tuple[int, int], support_factor: float) -> Tensor:
    """Renders as the release does; arguments and result as `gpstoken.splat`, float32 on the CPU."""
    return _Released.apply(gaussians.mu, gaussians.sigma, gaussians.rho, features, size, support_factor)
