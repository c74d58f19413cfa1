"""Rows of a Gaussian's support box, compiled by numba: their pixels, and the weights along them."""

import numpy as np
from numba import float64

from gpstoken.compiling import compiling

# "reassoc" allows vectorised sums over channels; the flags must not let the compiler assume that there is no NaN.
compiled = compiling(error_model="numpy", fastmath={"contract", "reassoc"})

# A row whose ends are both closer to its peak than the root of this, in standard deviations, is computed from its first
# pixel on: relative to the peak, no weight is below exp(-150), and no ratio of two neighbours above exp(600).
NEAR = 300.0


@compiled
def _span(position, centre, limit):
    """First pixel inside |position - centre| <= limit, and the one after the last; for a NaN all pixels are inside.

    The test is that of the reference, in the same precision; positions ascend, so bisection finds the pixels.
    """
    first, beyond = 0, len(position)
    while first < beyond:
        middle = (first + beyond) // 2
        if position[middle] - centre < -limit:
            first = middle + 1
        else:
            beyond = middle
    low, beyond = first, len(position)
    while low < beyond:
        middle = (low + beyond) // 2
        if position[middle] - centre > limit:
            beyond = middle
        else:
            low = middle + 1
    return first, low


@compiled
def row_height(row, height, mu_y, sigma_y):
    """v, the distance of a row of pixels below a Gaussian's centre, in sigma_y and float64; NaN if sigma_y is 0."""
    if sigma_y == 0:
        return np.nan
    return ((2.0 * row / (height - 1) - 1.0 if height > 1 else 0.0) - mu_y) / float64(sigma_y)


@compiled
def row_shape(sigma_x, rho, count):
    """The values shared by all rows of a Gaussian: 1 / (r sigma_x), r = sqrt(1 - rho^2), and the ratio of ratios."""
    scale = 1 / (sigma_x * np.sqrt((1 - rho) * (1 + rho)))
    advance = (2.0 / (count - 1) if count > 1 else 0.0) * scale
    return scale, np.exp(-advance * advance)


@compiled
def row_weights(weight, mu_x, sigma_x, rho, scale, bend, v, first, last, count, exact):
    """Fills in weight[first:last] for a row at height v (`row_height`), in float64; scale and bend are of `row_shape`.

    With r = sqrt(1 - rho^2), a row is exp(-v^2 / 2) times a Gaussian of deviation r sigma_x about mu_x + rho v sigma_x.
    The recurrence runs along the row or, if the row is long compared with that deviation, from the pixel nearest to the
    peak outwards, so that it can only underflow to weights that are zero anyway. Its error is up to half the square of
    its length in roundings of 2^-53, far below a float32. For float64 (`exact`), and where the row is not a Gaussian
    because sigma_x is infinite or r is 0, every pixel has its own exponential. Where sigma_x is 0, the only pixel of a
    row is 0 / 0.
    """
    if sigma_x == 0:
        weight[first:last] = np.nan
        return
    if exact or not 0 < scale < np.inf:
        for i in range(first, last):
            u = ((2.0 * i / (count - 1) - 1.0 if count > 1 else 0.0) - mu_x) / sigma_x
            z = (v - rho * u) / np.sqrt((1 - rho) * (1 + rho))
            weight[i] = np.exp(-0.5 * (u * u + z * z))
        return
    step = 2.0 / (count - 1) if count > 1 else 0.0
    origin = -1.0 if count > 1 else 0.0
    peak, advance = mu_x + rho * v * sigma_x, step * scale
    start, offset = first, (origin + first * step - peak) * scale
    end = offset + (last - 1 - first) * advance
    if not (offset * offset < NEAR and end * end < NEAR):
        nearest = (peak - origin) / step + 0.5 if count > 1 else 0.0
        if nearest > first:  # not for a NaN
            start = int(min(nearest, last - 1.0))
            offset = (origin + start * step - peak) * scale
    value, ratio = np.exp(-0.5 * (v * v + offset * offset)), np.exp(-0.5 * advance * advance - advance * offset)
    weight[start] = value
    for i in range(start + 1, last):
        value *= ratio
        ratio *= bend
        weight[i] = value
    if start > first:
        value, ratio = weight[start], np.exp(-0.5 * advance * advance + advance * offset)
        for i in range(start - 1, first - 1, -1):
            value *= ratio
            ratio *= bend
            weight[i] = value


@compiled
def support_spans(mu, sigma, x, y, support):
    """First column, the one after the last, first row and the one after the last of each support box, [B, N, 4]."""
    spans = np.empty((*mu.shape[:2], 4), np.int64)
    for image in range(len(mu)):
        for n in range(mu.shape[1]):
            span = spans[image, n]
            span[0], span[1] = _span(x, mu[image, n, 0], support * sigma[image, n, 0])
            span[2], span[3] = _span(y, mu[image, n, 1], support * sigma[image, n, 1])
            if span[0] == span[1]:
                span[3] = span[2]
    return spans
