"""The entropy of the grey values of square regions, by a Gaussian-kernel density: which regions of an image are busy.

GPSToken's partition measures regions by another entropy, that of a histogram of gradients (`gpstoken.partition`).
"""

import torch
from torch import Tensor

LEVELS = 256  # grey levels 0, 1/255, ..., 1 at which the density is evaluated
DEVIATION = 0.01  # of the kernel, in grey values from 0 to 1
REACH = 16  # levels on either side of a pixel's own that get a share of its kernel


def grey_of(image: Tensor) -> Tensor:
    """float[B, 3, H, W] in [-1, 1] to float64[B, H, W] in [0, 1]: the luma of BT.601, clamped."""
    red, green, blue = image.double().unbind(1)
    return ((0.299 * red + 0.587 * green + 0.114 * blue + 1) / 2).clamp(0, 1)


def regions_of(grey: Tensor, side: int) -> Tensor:
    """[B, H, W] to [B, H / side, W / side, side * side], the pixels of each region."""
    return grey.unflatten(2, (-1, side)).unflatten(1, (-1, side)).transpose(2, 3).flatten(3)


def exact_entropy(pixels: Tensor) -> Tensor:
    """`entropy`, with the whole kernel of every pixel."""
    levels = torch.arange(LEVELS, dtype=pixels.dtype, device=pixels.device) / (LEVELS - 1)
    kernels = torch.exp(-0.5 * ((pixels[..., None] - levels) / DEVIATION).square())
    return _bits(kernels.sum(-2))


def entropy(pixels: Tensor) -> Tensor:
    """Entropies in bits, 0 to 8, of sets of grey values, with the part of each kernel that is above 1e-9 of its peak.

    The density of a set is the sum of a Gaussian around each of its values; its values at the 256 levels are divided by
    their sum, and H = -sum p log2 p.

    Args:
        pixels: float64[..., n] in [0, 1].

    Returns:
        float64[...].
    """
    flat = pixels.flatten(0, -2)
    nearest = (flat * (LEVELS - 1)).round()
    density = flat.new_zeros(len(flat), LEVELS + 2 * REACH)  # with a margin for kernels that reach beyond 0 and 1
    for step in range(-REACH, REACH + 1):
        kernel = torch.exp(-0.5 * ((flat - (nearest + step) / (LEVELS - 1)) / DEVIATION).square())
        density.scatter_add_(1, nearest.long() + (REACH + step), kernel)
    return _bits(density[:, REACH:-REACH]).unflatten(0, pixels.shape[:-1])


def _bits(density: Tensor) -> Tensor:
    shares = density / density.sum(-1, keepdim=True)
    return torch.special.entr(shares).sum(-1) / torch.log(shares.new_tensor(2.0))
