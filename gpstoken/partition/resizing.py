"""The bilinear resize of the partition in torch, rounded exactly as OpenCV rounds it: the oracle of the fast backends.

Which region is split next can depend on the last bit of one pixel (a gradient on the edge of a bin), and the rounding
of torch's own `interpolate` depends on the processor. So every step is rounded here as defined, on any machine.
"""

from functools import cache

import torch
from torch import Tensor


@cache
def sample_points(length: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The positions of `count` samples at half-pixel centres between the pixels of a side.

    Args:
        length: pixels of the side.
        count: number of samples.

    Returns:
        long[count] pixel before each sample, long[count] pixel after it, and float32[count] in [0, 1), the sample's
        position between them; a sample beyond the first or the last pixel's centre is that pixel.
    """
    position = ((torch.arange(count, dtype=torch.float64) + 0.5) * (length / count) - 0.5).float()
    pixel = position.floor()
    weight = torch.where((pixel >= 0) & (pixel < length - 1), position - pixel, 0.0)
    before = pixel.clamp(0, length - 1).long()
    return before, (pixel.clamp(min=0).long() + 1).clamp(max=length - 1), weight


def lerp(start: Tensor, stop: Tensor, weight: Tensor) -> Tensor:
    """Returns start + weight * (stop - start) of float32 tensors: the difference is rounded, then the sum, once.

    That is a fused multiply-add, which torch guarantees nowhere. In float64 the product is exact. The sum is not exact,
    but rounding it to float32 gives the correct result, unless it lies halfway between two float32 numbers. In that
    case its rounding error decides.
    """
    product, start = weight.double() * (stop - start).double(), start.double()
    total = product + start
    rounded = total.float()
    half_way = total.view(torch.int64) & 0x1FFFFFFF == 0x10000000  # the 29 bits that float32 does not have
    if half_way.any():
        total, product, start = total[half_way], product[half_way], start[half_way]
        added = total - product
        lost = (product - (total - added)) + (start - added)
        rounded[half_way] = torch.where(lost != 0, total.nextafter(lost.sign() * torch.inf), total).float()
    return rounded


def resize(grey: Tensor, size: tuple[int, int]) -> Tensor:
    """float32[h, w] to float32[size], first across, then down, not smoothed: large images are sampled at points."""
    left, right, across = sample_points(grey.shape[1], size[1])
    top, bottom, down = sample_points(grey.shape[0], size[0])
    narrow = lerp(grey.index_select(1, left), grey.index_select(1, right), across)
    return lerp(narrow.index_select(0, top), narrow.index_select(0, bottom), down[:, None])
