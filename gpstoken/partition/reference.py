"""The entropy-driven partition as the paper states it, in torch: the oracle of the fast backends.

All backends round every number at the same points, and sums whose order matters are in NumPy's order, as in the
release: of two regions that are equally complex up to rounding, all backends split the same one.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gpstoken.partition.resizing import resize

# The entropy is taken over 512 equal bins on [-5.5, 5.5]; a magnitude is not negative and fills only the upper half.
BIN_WIDTH = 11 / 512
LAST_BIN = 255
# Every region is measured at 64 x 64 pixels.
MEASURED_SIZE = 64
# p and -p log2(p + 1e-10) for every possible pixel count of a bin. One table, as libraries differ in log2's last bit.
_SHARES = np.arange(MEASURED_SIZE**2 + 1) / (MEASURED_SIZE**2 + 1e-5)
ENTROPY_TERMS = -_SHARES * np.log2(_SHARES + 1e-10)

Box = tuple[int, int, int, int]


def complexity(grey_region: Tensor, lambda_: float) -> float:
    """Eq. (4): c = H ** lambda_ * h * w, where H is the entropy in bits of the region's gradient magnitudes.

    Args:
        grey_region: float[h, w] in [0, 1]; converted to float32, as in the release.
        lambda_: exponent of the entropy, at least 0.

    Returns:
        The complexity; for a constant region it is not exactly 0, because H contains the release's small constants.
    """
    height, width = grey_region.shape
    resized = resize(grey_region.cpu().float(), (MEASURED_SIZE, MEASURED_SIZE)).double()
    above_left, above, above_right, left, _, right, below_left, below, below_right = _neighbours(resized)
    gradient_x = (above_right - above_left) + 2 * (right - left) + (below_right - below_left)
    gradient_y = (below_left - above_left) + 2 * (below - above) + (below_right - above_right)
    magnitude = torch.sqrt(gradient_x**2 + gradient_y**2)
    # Division (unlike multiplication by 1 / BIN_WIDTH) is exact: no double below an edge is rounded up to the edge. The
    # largest magnitude of an image in [0, 1] is sqrt(20) < 5.5; a larger one falls into the last bin.
    bins = torch.div(magnitude, BIN_WIDTH, rounding_mode="floor").clamp(max=LAST_BIN).long()
    entropy = ENTROPY_TERMS[np.bincount(bins.flatten().numpy(), minlength=LAST_BIN + 1)].sum()
    return float(entropy) ** lambda_ * height * width


def _neighbours(resized: Tensor) -> list[Tensor]:
    """The 3 x 3 neighbourhood of each pixel, row by row; pixels on the border are repeated beyond it."""
    height, width = resized.shape
    padded = functional.pad(resized[None], (1, 1, 1, 1), mode="replicate")[0]
    return [padded[row : row + height, column : column + width] for row in range(3) for column in range(3)]


def cut(box: Box, measure: Callable[[Box], float]) -> list[tuple[float, Box]]:
    """Halves a region across its longer side; for a square, the cut with the least complex child is taken.

    Args:
        box: half-open pixel box (x0, y0, x1, y1).
        measure: function that returns the complexity of a box.

    Returns:
        The two children with their complexities, left or top first.
    """
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    middle_x, middle_y = x0 + width // 2, y0 + height // 2
    left_right = [(x0, y0, middle_x, y1), (middle_x, y0, x1, y1)] if width >= height else []
    top_bottom = [(x0, y0, x1, middle_y), (x0, middle_y, x1, y1)] if height >= width else []
    left_right, top_bottom = ([(measure(child), child) for child in cut] for cut in (left_right, top_bottom))
    if not top_bottom or (left_right and min(left_right)[0] < min(top_bottom)[0]):
        return left_right
    return top_bottom


def split(grey: Tensor, num_tokens: int, lambda_: float, min_region_size: int, bias: Tensor | None) -> Tensor:
    """Halves, in each tile, the most complex region that is large enough until there are num_tokens regions.

    Args:
        grey: float[T, h, w] in [0, 1]; converted to float32, as in the release.
        num_tokens: regions per tile, at most as many as the tile splits into.
        lambda_: exponent of the entropy in Eq. 4.
        min_region_size: pixels; a region whose sides are both at most this plus one stays whole.
        bias: float64[T, h, w] or None; its sum over a region is added to the region's complexity.

    Returns:
        long[T, num_tokens, 4], half-open boxes (x0, y0, x1, y1) in the release's order.
    """

    def split_tile(tile: int) -> list[Box]:
        def measure(box: Box) -> float:
            x0, y0, x1, y1 = box
            added = 0.0 if bias is None else float(bias[tile, y0:y1, x0:x1].sum())
            return complexity(grey[tile, y0:y1, x0:x1], lambda_) + added

        whole = (0, 0, grey.shape[2], grey.shape[1])
        regions = [(measure(whole), whole)]
        while len(regions) < num_tokens:
            # The sort is stable: among equal regions the older one comes first.
            regions.sort(key=lambda region: -region[0])
            chosen = next(
                region
                for region in regions
                if max(region[1][2] - region[1][0], region[1][3] - region[1][1]) > min_region_size + 1
            )
            regions.remove(chosen)
            regions += cut(chosen[1], measure)
        return [box for _, box in regions]

    boxes = [split_tile(tile) for tile in range(len(grey))]
    return torch.tensor(boxes, dtype=torch.long, device=grey.device).reshape(len(grey), num_tokens, 4)
