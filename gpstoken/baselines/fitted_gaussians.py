"""Gaussians with colours, fitted to one image by gradient descent: what encoding without optimisation gives away.

The idea of GaussianImage (Zhang et al., ECCV 2024), with this project's partition as the start and its renderer at full
resolution: an image is a sum of coloured Gaussians, and the parameters of each image are optimised on that image.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gpstoken.gaussians import Gaussians, offset
from gpstoken.partition import partition
from gpstoken.splat import splat
from gpstoken.tokens import Tokens

NUMBERS = 5 + 3  # of a coloured Gaussian


def fitted(image: Tensor, count: int, steps: int = 1000, learning_rate: float = 0.02) -> Tokens:
    """Fits coloured Gaussians to images by Adam on the squared error; the learning rate falls to zero by a cosine.

    Args:
        image: float[B, 3, H, W] in [-1, 1].
        count: number of Gaussians; each has `NUMBERS` numbers.
        steps: number of gradient steps.
        learning_rate: of the first step.

    Returns:
        Tokens whose features are colours, relative to grey; `rendered` makes the images.

    Raises:
        ValueError: if the partition cannot make so many regions.
    """
    size = (image.shape[-2], image.shape[-1])
    regions = partition(image, count, min_region_size=2, tile_size=None)
    layout = Gaussians.from_regions(regions, size)
    delta = torch.zeros(*regions.shape[:2], 5, requires_grad=True)
    # Neighbours overlap, so that their sum would be brighter than each of them.
    colours = (0.5 * _means(image, regions)).requires_grad_()
    optimizer = torch.optim.Adam([delta, colours], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        loss = F.mse_loss(splat(offset(layout, delta), colours, size), image)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return Tokens(offset(layout, delta.detach()), colours.detach(), size)


def rendered(tokens: Tokens) -> Tensor:
    """The images float[B, 3, H, W] of fitted tokens.

    Raises:
        ValueError: for tokens without a size.
    """
    if tokens.size is None:
        raise ValueError("rendered: expected tokens with the size of their image")
    return splat(tokens.gaussians, tokens.features, tokens.size)


def count_of(numbers: int) -> int:
    """How many coloured Gaussians have at most so many numbers, at least one."""
    return max(1, math.floor(numbers / NUMBERS))


def _means(image: Tensor, regions: Tensor) -> Tensor:
    """Mean colour of each region, float[B, N, 3], by the summed-area table."""
    table = F.pad(image.double().cumsum(-1).cumsum(-2), (1, 0, 1, 0))
    x0, y0, x1, y1 = regions.unbind(-1)
    batch = torch.arange(len(image))[:, None]
    corners = [table[batch, :, y, x] for y, x in ((y1, x1), (y0, x1), (y1, x0), (y0, x0))]
    total = corners[0] - corners[1] - corners[2] + corners[3]
    return (total / ((x1 - x0) * (y1 - y0))[..., None]).to(image.dtype)
