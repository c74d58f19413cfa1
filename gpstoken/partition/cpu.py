"""The partition compiled by numba, bit-exact with the released algorithm, including its order.

It is fast because the image is scaled once; gradients are float32, and only those next to the edge of a bin are
recomputed in float64; the terms of the entropy come from a table; a heap replaces the sort before every split. Tiles
run in Python threads (`gpstoken.threads`): numba's own threads do not survive the fork of a data loader's worker.
"""

from heapq import heappop, heappush

import numpy as np
import torch
from numba import float32, types
from numba.extending import intrinsic
from torch import Tensor

from gpstoken.compiling import compiling
from gpstoken.partition.reference import BIN_WIDTH, ENTROPY_TERMS, LAST_BIN, MEASURED_SIZE
from gpstoken.threads import in_runs

# The error of a float32 magnitude, in bins, is below 2.1e-4 times the brightest pixel: at most 73 roundings of 2^-24,
# over bins of 11/512. Magnitudes this close to the edge of a bin are recomputed in float64.
_DOUBT = 3e-4


@intrinsic
def _fma(typing_context, factor, difference, start):
    """A float32 factor * difference + start, rounded once, as in OpenCV's resize; LLVM does not fuse it by itself."""

    def generate(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), generate


@compiling()
def _sample_points(size):
    """Bilinear samples at half-pixel centres: the pixels before and after each, and its position between them."""
    before, after = np.empty(MEASURED_SIZE, np.uintp), np.empty(MEASURED_SIZE, np.uintp)
    weight = np.zeros(MEASURED_SIZE, np.float32)
    for i in range(MEASURED_SIZE):
        position = float32((i + 0.5) * (size / MEASURED_SIZE) - 0.5)
        pixel = int(np.floor(position))
        if 0 <= pixel < size - 1:
            weight[i] = position - float32(pixel)
        before[i] = min(max(pixel, 0), size - 1)
        after[i] = min(max(pixel, 0) + 1, size - 1)
    return before, after, weight


@compiling()
def _resize(region):
    """Bilinear resize to 64 x 64, first across, then down, rounded as OpenCV does, and its replicated border."""
    height, width = region.shape
    left, right, across = _sample_points(width)
    top, bottom, down = _sample_points(height)
    narrow = np.empty((height, MEASURED_SIZE), np.float32)
    padded = np.empty((MEASURED_SIZE + 2, MEASURED_SIZE + 2), np.float32)
    untouched = 0
    for i in range(MEASURED_SIZE):
        for row in range(max(top[i], untouched), bottom[i] + 1):
            for j in range(MEASURED_SIZE):
                start = region[row, left[j]]
                narrow[row, j] = _fma(across[j], region[row, right[j]] - start, start)
        untouched = bottom[i] + 1
        upper, lower, target = narrow[top[i]], narrow[bottom[i]], padded[i + 1]
        for j in range(MEASURED_SIZE):
            target[j + 1] = _fma(down[i], lower[j] - upper[j], upper[j])
        target[0], target[-1] = target[1], target[-2]
    padded[0], padded[-1] = padded[1], padded[-2]
    return padded


@compiling()
def _exact_bin(padded, i, j):
    """Bin of the gradient magnitude at one pixel, in float64, where the sums are exact."""
    gradient_x, gradient_y = 0.0, 0.0
    for k, weight in enumerate((1.0, 2.0, 1.0)):
        gradient_x += weight * padded[i + k, j + 2] - weight * padded[i + k, j]
        gradient_y += weight * padded[i + 2, j + k] - weight * padded[i, j + k]
    return min(np.sqrt(gradient_x**2 + gradient_y**2) / BIN_WIDTH, LAST_BIN)


@compiling()
def _count(padded):
    """Histogram of the gradient magnitudes (Sobel), in four parts to be summed.

    Neighbours often fall into the same bin: four alternating histograms avoid waiting for the last increment.
    """
    counts = np.zeros((4, LAST_BIN + 1), np.int32)
    places = np.empty(MEASURED_SIZE, np.float32)
    # One byte, so that no bin, not even a NaN's, can lie outside the table.
    bins = np.empty(MEASURED_SIZE, np.uint8)
    per_bin, half, doubt, last = float32(1 / BIN_WIDTH), float32(0.5), float32(_DOUBT), np.int32(LAST_BIN)
    for i in range(MEASURED_SIZE):
        above, middle, below = padded[i], padded[i + 1], padded[i + 2]
        for j in range(MEASURED_SIZE):
            across = middle[j + 2] - middle[j]
            down = below[j + 1] - above[j + 1]
            gradient_x = (above[j + 2] - above[j]) + (across + across) + (below[j + 2] - below[j])
            gradient_y = (below[j] - above[j]) + (down + down) + (below[j + 2] - above[j + 2])
            places[j] = np.sqrt(gradient_x * gradient_x + gradient_y * gradient_y) * per_bin
        # A separate loop: with bytes in the loop above, the compiler would not use its widest vectors.
        doubtful = False
        for j in range(MEASURED_SIZE):
            bins[j] = min(np.int32(places[j]), last)
            # Edge 0 does not count: no magnitude lies below it, and flat regions lie on it.
            edge = np.floor(places[j] + half)
            doubtful |= (abs(places[j] - edge) < doubt) & (edge > half)
        if doubtful:
            for j in range(MEASURED_SIZE):
                edge = np.floor(places[j] + half)
                if abs(places[j] - edge) < doubt and edge > half:
                    bins[j] = int(_exact_bin(padded, i, j))
        for j in range(0, MEASURED_SIZE, 4):
            for turn in range(4):
                counts[turn, bins[j + turn]] += 1
    return counts


@compiling()
def _entropy(counts):
    """Sum of the terms in NumPy's order, because ties between regions depend on the last bit."""
    halves = np.zeros((2, 8))
    for i in range(counts.shape[1]):
        count = counts[0, i] + counts[1, i] + counts[2, i] + counts[3, i]
        halves[i // 128, i % 8] += ENTROPY_TERMS[count]
    total = 0.0
    for half in halves:
        total += ((half[0] + half[1]) + (half[2] + half[3])) + ((half[4] + half[5]) + (half[6] + half[7]))
    return total


@compiling()
def complexity(grey_region, lambda_):
    """The same as `complexity` of the reference, for float32[h, w] in [0, 1]."""
    height, width = grey_region.shape
    return _entropy(_count(_resize(grey_region))) ** lambda_ * height * width


@compiling()
def _split_tile(grey, bias, num_tokens, lambda_, min_region_size):
    """Boxes of one tile, int64[num_tokens, 4]; an empty bias means no bias."""
    # A region's number is its age: a split adds two, and keeps the parent in the tables.
    boxes = np.empty((2 * num_tokens - 1, 4), np.int64)
    complexities = np.empty(2 * num_tokens - 1)
    whole = np.ones(2 * num_tokens - 1, np.bool_)
    halves, values = np.empty((2, 2, 4), np.int64), np.empty((2, 2))
    boxes[0] = (0, 0, grey.shape[1], grey.shape[0])
    # The first region is always split, so its complexity is never measured.
    heap = [(0.0, 0)]
    for newest in range(1, 2 * num_tokens - 1, 2):
        parent = heappop(heap)[1]
        whole[parent] = False
        x0, y0, x1, y1 = boxes[parent]
        width, height = x1 - x0, y1 - y0
        for cut in range(2):
            # Cut 0 is left/right, cut 1 is top/bottom; a rectangle is only cut across its longer side.
            halves[cut] = boxes[parent]
            if cut == 0:
                halves[cut, 0, 2] = halves[cut, 1, 0] = x0 + width // 2
            else:
                halves[cut, 0, 3] = halves[cut, 1, 1] = y0 + height // 2
            if width == height or (width > height) == (cut == 0):
                for child in range(2):
                    left, top, right, bottom = halves[cut, child]
                    values[cut, child] = complexity(grey[top:bottom, left:right], lambda_)
                    if bias.size:
                        values[cut, child] += bias[top:bottom, left:right].sum()
        chosen = int(width < height or (width == height and not values[0].min() < values[1].min()))
        for child in range(2):
            left, top, right, bottom = boxes[newest + child] = halves[chosen, child]
            complexities[newest + child] = values[chosen, child]
            if max(right - left, bottom - top) > min_region_size + 1:
                heappush(heap, (-values[chosen, child], newest + child))
    order = np.flatnonzero(whole)
    settled = order[:-2]
    order[:-2] = settled[np.argsort(-complexities[settled], kind="mergesort")]
    return boxes[order]


@compiling()
def _split_tiles(start, stop, grey, bias, num_tokens, lambda_, min_region_size, boxes):
    for tile in range(start, stop):
        boxes[tile] = _split_tile(grey[tile], bias[tile], num_tokens, lambda_, min_region_size)


def split(grey: Tensor, num_tokens: int, lambda_: float, min_region_size: int, bias: Tensor | None) -> Tensor:
    """The same as `split` of the reference, in float32, in as many threads as torch may use.

    Args:
        grey: float[T, h, w] in [0, 1].
        num_tokens: regions per tile, at most as many as the tile splits into.
        lambda_: exponent of the entropy in Eq. 4.
        min_region_size: pixels; a region whose sides are both at most this plus one stays whole.
        bias: float64[T, h, w] or None; its sum over a region is added to the region's complexity.

    Returns:
        long[T, num_tokens, 4] on the CPU, half-open boxes (x0, y0, x1, y1) in the release's order.
    """
    pixels = grey.to("cpu", torch.float32).contiguous().numpy()
    added = np.empty((len(pixels), 0, 0)) if bias is None else bias.to("cpu").contiguous().numpy()
    boxes = np.empty((len(pixels), num_tokens, 4), np.int64)

    settings = num_tokens, float(lambda_), min_region_size
    in_runs(lambda start, stop: _split_tiles(start, stop, pixels, added, *settings, boxes), len(pixels))
    return torch.from_numpy(boxes)
