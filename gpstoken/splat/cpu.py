"""The renderer compiled by numba, Gaussian by Gaussian, each only over the pixels of its own support box.

It is fast because nothing outside a box is touched; along a row the weight is a Gaussian of x alone, whose next value
is the last value times a ratio, and the next ratio is the last ratio times a constant, so that a pixel costs two
products instead of an exponential; channels are contiguous, so that a pixel takes a few vector instructions; the
gradient is in closed form. Work is divided among images and, if there are more threads, among runs of rows (forward) or
of Gaussians (backward); the division changes no sum, so repeated runs are equal to the bit.
"""

from functools import cache
from math import gcd

import numpy as np
import torch
from numba import float64
from torch import Tensor

from gpstoken.splat.operators import Gradients, register
from gpstoken.splat.reference import pixel_positions
from gpstoken.splat.rows import compiled, row_height, row_shape, row_weights, support_spans
from gpstoken.threads import in_runs

# Channels are padded with zeros to a multiple of this, so that vector code has no remainder.
LANES = 8
# Number of rows that are processed at a time, with channels last, in memory that stays in the cache.
BAND = 16
# Number of products of weights and channels above which more than one thread is used: about a millisecond of work. A
# sleeping thread wakes up slowly, most of all where OpenMP's own threads spin (OMP_WAIT_POLICY).
WORTH_THREADS = 2_000_000


@compiled
def _paint(spans, mu, sigma, rho, features, count, height, top, bottom, planes):
    """Writes rows [top, bottom) of the planes[C, h, w] of one image."""
    channels, exact = features.shape[1], features.itemsize == 8
    weight = np.empty(count, np.float64)
    band = np.empty((BAND, count, channels), features.dtype)
    for start in range(top, bottom, BAND):
        stop = min(start + BAND, bottom)
        band[:] = 0
        for n in range(len(rho)):
            first, last, low, high = spans[n]
            centre, deviation, correlation = float64(mu[n, 0]), float64(sigma[n, 0]), float64(rho[n])
            scale, bend = row_shape(deviation, correlation, count)
            for row in range(max(low, start), min(high, stop)):
                v = row_height(row, height, mu[n, 1], sigma[n, 1])
                row_weights(weight, centre, deviation, correlation, scale, bend, v, first, last, count, exact)
                for i in range(first, last):
                    factor = features.dtype.type(weight[i])
                    for channel in range(channels):
                        band[row - start, i, channel] += factor * features[n, channel]
        for row in range(start, stop):
            for channel in range(len(planes)):
                for i in range(count):
                    planes[channel, row, i] = band[row - start, i, channel]


@compiled
def _differentiate(planes, spans, mu, sigma, rho, features, start, stop, to_mu, to_sigma, to_rho, to_features):
    """Gradients of Gaussians [start, stop) of one image, from the gradient planes[C, h, w] of its map.

    In v = dy / sigma_y, r = sqrt(1 - rho^2) and t = (dx / sigma_x - rho v) / r the exponent is -(t^2 + v^2) / 2. All
    gradients of the geometry follow from five moments of q = w (gradient . f) in t and v, which keep their digits as
    |rho| approaches 1, unlike moments in dx and dy. Along a row only w {1, t, t^2} gradient is summed; its product with
    f is computed once per row.
    """
    _, height, count = planes.shape
    channels, exact = features.shape[1], features.itemsize == 8
    kind = features.dtype.type
    weight = np.empty(count, np.float64)
    band = np.zeros((BAND, count, channels), features.dtype)
    sums = np.empty((3, channels), features.dtype)
    moments = np.zeros((len(rho), 5))
    totals = np.zeros((len(rho), channels))
    for top in range(0, height, BAND):
        bottom = min(top + BAND, height)
        for row in range(top, bottom):
            for channel in range(len(planes)):
                for i in range(count):
                    band[row - top, i, channel] = planes[channel, row, i]
        for n in range(start, stop):
            first, last, low, high = spans[n]
            centre, deviation, correlation = float64(mu[n, 0]), float64(sigma[n, 0]), float64(rho[n])
            r = np.sqrt((1 - correlation) * (1 + correlation))
            scale, bend = row_shape(deviation, correlation, count)
            step = 2.0 / (count - 1) * scale if count > 1 else 0.0
            origin = ((-1.0 if count > 1 else 0.0) - centre) * scale
            for row in range(max(low, top), min(high, bottom)):
                v = row_height(row, height, mu[n, 1], sigma[n, 1])
                row_weights(weight, centre, deviation, correlation, scale, bend, v, first, last, count, exact)
                ridge = correlation / r * v
                sums[:] = 0
                for i in range(first, last):
                    t = origin + i * step - ridge
                    factor, factor_t, factor_tt = kind(weight[i]), kind(weight[i] * t), kind(weight[i] * t * t)
                    for channel in range(channels):
                        value = band[row - top, i, channel]
                        sums[0, channel] += factor * value
                        sums[1, channel] += factor_t * value
                        sums[2, channel] += factor_tt * value
                q = q_t = q_tt = 0.0
                for channel in range(channels):
                    totals[n, channel] += sums[0, channel]
                    q += float64(features[n, channel]) * sums[0, channel]
                    q_t += float64(features[n, channel]) * sums[1, channel]
                    q_tt += float64(features[n, channel]) * sums[2, channel]
                moments[n, 0] += q_t
                moments[n, 1] += v * q
                moments[n, 2] += q_tt
                moments[n, 3] += v * q_t
                moments[n, 4] += v * v * q
    for n in range(start, stop):
        sum_t, sum_v, sum_tt, sum_vt, sum_vv = moments[n]
        correlation = float64(rho[n])
        r = np.sqrt((1 - correlation) * (1 + correlation))
        to_features[n] = totals[n]
        to_mu[n, 0] = sum_t / (r * sigma[n, 0])
        to_mu[n, 1] = (sum_v - correlation / r * sum_t) / sigma[n, 1]
        to_sigma[n, 0] = (sum_tt + correlation / r * sum_vt) / sigma[n, 0]
        to_sigma[n, 1] = (sum_vv - correlation / r * sum_vt) / sigma[n, 1]
        to_rho[n] = sum_vt / r - correlation / (r * r) * sum_tt


def _filled(features: Tensor) -> np.ndarray:
    """[B, N, C] with zeros after the last channel, up to a multiple of LANES."""
    return torch.nn.functional.pad(features.detach(), (0, -features.shape[-1] % LANES)).contiguous().numpy()


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


@cache
def _positions(height: int, width: int, dtype: torch.dtype) -> tuple[np.ndarray, ...]:
    return tuple(pixel_positions(count, dtype=dtype, device=torch.device("cpu")).numpy() for count in (width, height))


def _shares(spans: np.ndarray, length: int, channels: int) -> tuple[int, int]:
    """The number of threads, and of pieces per image, so that every thread gets the same number of pieces."""
    width, height = spans[..., 1] - spans[..., 0], spans[..., 3] - spans[..., 2]
    threads = torch.get_num_threads() if int((width * height).sum()) * channels > WORTH_THREADS else 1
    return threads, max(1, min(length, threads // gcd(len(spans), threads)))


@compiled
def _paint_pieces(start, stop, pieces, spans, mu, sigma, rho, features, maps):
    """Paints the pieces [start, stop) of a batch, counted image by image; a piece is a run of rows."""
    height, width = maps.shape[2:]
    for place in range(start, stop):
        image, piece = place // pieces, place % pieces
        top, bottom = height * piece // pieces, height * (piece + 1) // pieces
        _paint(
            spans[image], mu[image], sigma[image], rho[image], features[image], width, height, top, bottom, maps[image]
        )


@compiled
def _differentiate_pieces(
    start, stop, pieces, gradients, spans, mu, sigma, rho, features, to_mu, to_sigma, to_rho, to_features
):
    """Gradients of the pieces [start, stop) of a batch, counted image by image; a piece is a run of Gaussians."""
    for place in range(start, stop):
        image, piece = place // pieces, place % pieces
        first, last = rho.shape[1] * piece // pieces, rho.shape[1] * (piece + 1) // pieces
        _differentiate(
            gradients[image], spans[image], mu[image], sigma[image], rho[image], features[image], first, last,
            to_mu[image], to_sigma[image], to_rho[image], to_features[image],
        )  # fmt: skip


def _forward(
    mu: Tensor, sigma: Tensor, rho: Tensor, features: Tensor, height: int, width: int, support_factor: float
) -> Tensor:
    arrays = *_arrays(mu, sigma, rho), _filled(features)
    feature_map = features.new_empty(len(features), features.shape[2], height, width)
    maps = feature_map.numpy()
    spans = support_spans(*arrays[:2], *_positions(height, width, features.dtype), maps.dtype.type(support_factor))
    threads, pieces = _shares(spans, height, arrays[3].shape[2])
    in_runs(lambda start, stop: _paint_pieces(start, stop, pieces, spans, *arrays, maps), len(maps) * pieces, threads)
    return feature_map


def _backward(
    gradient: Tensor, mu: Tensor, sigma: Tensor, rho: Tensor, features: Tensor, support_factor: float
) -> Gradients:
    arrays = *_arrays(mu, sigma, rho), _filled(features)
    (gradients,) = _arrays(gradient)
    positions = _positions(*gradients.shape[2:], features.dtype)
    spans = support_spans(*arrays[:2], *positions, gradients.dtype.type(support_factor))
    threads, pieces = _shares(spans, features.shape[1], arrays[3].shape[2])
    results = [np.empty_like(value) for value in arrays]
    given = gradients, spans, *arrays, *results
    in_runs(lambda start, stop: _differentiate_pieces(start, stop, pieces, *given), len(gradients) * pieces, threads)
    to_mu, to_sigma, to_rho, to_features = (torch.from_numpy(value) for value in results)
    return to_mu, to_sigma, to_rho, to_features[..., : features.shape[2]].contiguous()


register("cpu", "cpu", _forward, _backward)
