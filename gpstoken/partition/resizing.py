"""The bilinear resize of the partition in torch, rounded exactly as OpenCV rounds it: the oracle of the fast backends.

Which region is split next can hang on the last bit of one pixel (a gradient on the edge of a bin), and torch's own
`interpolate` rounds as each processor likes. So every step is rounded here as the definition says, on any machine.
"""

import torch
from torch import Tensor


def sample_points(length: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where `count` samples at half-pixel centres lie between the pixels of a side.

    Args:
        length: pixels of the side.
        count: samples.

    Returns:
        long[count] pixel before each sample, long[count] pixel after it, and float32[count] in [0, 1), how far the
        sample lies between them; beyond the first or the last pixel's centre it is that pixel.
    """
    position = ((torch.arange(count, dtype=torch.float64) + 0.5) * (length / count) - 0.5).float()
    pixel = position.floor()
    weight = torch.where((pixel >= 0) & (pixel < length - 1), position - pixel, 0.0)
    before = pixel.clamp(0, length - 1).long()
    return before, (pixel.clamp(min=0).long() + 1).clamp(max=length - 1), weight


def lerp(start: Tensor, stop: Tensor, weight: Tensor) -> Tensor:
    """Returns start + weight * (stop - start) of float32 tensors: the difference rounded, then product and sum, once.

    That is a fused multiply-add, which torch does not promise anywhere. In float64 the product is exact. The sum is
    not, and to round it twice could go wrong; so where it lost something, it takes its odd neighbour of the two that
    enclose the truth ("round to odd"), after which the rounding to float32 is that of the truth.
    """
    product, start = weight.double() * (stop - start).double(), start.double()
    total = product + start
    added = total - product
    lost = (product - (total - added)) + (start - added)
    even = total.view(torch.int64) % 2 == 0
    return torch.where(even & (lost != 0), total.nextafter(lost.sign() * torch.inf), total).float()


def resize(grey: Tensor, size: tuple[int, int]) -> Tensor:
    """float32[h, w] to float32[size], first across, then down; not smoothed: large images are sampled at points."""
    left, right, across = sample_points(grey.shape[1], size[1])
    top, bottom, down = sample_points(grey.shape[0], size[0])
    narrow = lerp(grey[:, left], grey[:, right], across)
    return lerp(narrow[top], narrow[bottom], down[:, None])
