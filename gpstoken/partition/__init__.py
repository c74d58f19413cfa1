"""Entropy-driven partition: regions of about equal complexity, many in busy areas of an image and few in flat ones."""

from collections.abc import Callable
from functools import cache
from math import isfinite

import torch
from torch import Tensor

from gpstoken.partition import reference

__all__ = ["max_regions", "partition"]

BACKENDS = ("auto", "reference", "cpu", "triton")


@cache
def max_regions(height: int, width: int, min_region_size: int = 8) -> int:
    """The largest number of regions into which a rectangle splits; it does not depend on the image's content.

    A square splits into the same number either way, so the cut that the image's content selects does not matter.

    Args:
        height: height of the rectangle in pixels.
        width: width of the rectangle in pixels.
        min_region_size: a region whose sides are both at most this plus one stays whole.

    Returns:
        The number of leaves, at least 1.
    """
    shorter, longer = sorted((height, width))
    if longer - 1 <= min_region_size:
        return 1
    half = longer // 2
    return max_regions(shorter, half, min_region_size) + max_regions(shorter, longer - half, min_region_size)


def partition(
    image: Tensor,
    num_tokens: int,
    lambda_: float = 2.5,
    min_region_size: int = 8,
    bias: Tensor | None = None,
    backend: str = "auto",
    tile_size: int | None = 256,
) -> Tensor:
    """Splits each image into regions: the most complex one is halved until there are num_tokens.

    An image that consists of several whole tiles is partitioned tile by tile, with the same number of tokens per tile,
    as the networks process it; any other rectangle is partitioned as a whole.

    Args:
        image: float[B, 3, H, W] in [-1, 1], red, green, blue.
        num_tokens: number of regions N for the whole image.
        lambda_: exponent of the entropy in Eq. 4, at least 0; 0 weighs regions only by their area.
        min_region_size: pixels; a region whose sides are both at most this plus one stays whole. The release has 8.
        bias: real[H, W] or [B, H, W], a map that steers tokens: its sum over a region is added to the complexity.
            It is rounded to 11 digits of its largest value.
        backend: "reference" (torch, the equation), "cpu" (numba, fast), "triton" (for images on a GPU, square tiles of
            2^k pixels; not yet timed on a GPU, so never chosen automatically), or "auto": cpu if numba is installed.
        tile_size: side of a tile in pixels; None: every image is partitioned as a whole.

    Returns:
        long[B, N, 4] on the device of the image: half-open pixel boxes (x0, y0, x1, y1) in the release's order: by
        decreasing complexity, older first, then the two children of the last split, left or top first. Tiles follow
        each other row by row, in pixels of the whole image.

    Raises:
        ValueError: if an argument is out of range or of a wrong shape, holds NaN or infinity, or num_tokens is more
            than the image splits into, or not a multiple of the number of tiles.
        ImportError: if backend is "cpu" and numba is missing, or "triton" and Triton is missing.
    """
    _check_image(image)
    return _partition(image.detach(), num_tokens, lambda_, min_region_size, bias, backend, tile_size)


@torch.library.custom_op("gpstoken::partition", mutates_args=())
def _partition(
    image: Tensor,
    num_tokens: int,
    lambda_: float,
    min_region_size: int,
    bias: Tensor | None,
    backend: str,
    tile_size: int | None,
) -> Tensor:
    """`partition` as one torch operator, because torch.compile cannot trace loops and checks that depend on values."""
    batch, _, height, width = image.shape
    tile_height, tile_width = _tile_shape(height, width, tile_size)
    rows, columns = height // tile_height, width // tile_width
    _check_numbers(num_tokens, lambda_, min_region_size, (tile_height, tile_width), rows * columns)
    split = _backend(backend)

    def tiles(maps: Tensor) -> Tensor:
        grid = maps.reshape(batch, rows, tile_height, columns, tile_width).transpose(2, 3)
        return grid.reshape(batch * rows * columns, tile_height, tile_width)

    with torch.no_grad():
        bias_tiles = None if bias is None else _on_a_grid(tiles(_checked_bias(bias, image)))
        boxes = split(tiles(_checked_grey(image)), num_tokens // (rows * columns), lambda_, min_region_size, bias_tiles)
    # One (x, y, x, y) per tile, row by row, moves the tile's boxes to their place in the whole image.
    x = torch.arange(columns, device=image.device).repeat(rows) * tile_width
    y = torch.arange(rows, device=image.device).repeat_interleave(columns) * tile_height
    offsets = torch.stack([x, y, x, y], dim=-1)
    boxes = boxes.to(image.device).reshape(batch, rows * columns, num_tokens // (rows * columns), 4)
    boxes = boxes + offsets[:, None]
    return boxes.reshape(batch, num_tokens, 4)


@_partition.register_fake
def _(image, num_tokens, lambda_, min_region_size, bias, backend, tile_size):
    return image.new_empty(len(image), num_tokens, 4, dtype=torch.long)


def _checked_grey(image: Tensor) -> Tensor:
    """Luma in [0, 1], [B, H, W]; at least float32, in the release's order of rounding (ties are easily broken)."""
    red, green, blue = image.to(torch.promote_types(image.dtype, torch.float32)).unbind(1)
    grey = (0.299 * red + 0.587 * green + 0.114 * blue + 1) / 2
    # NaN or infinity in any channel shows in the sum, which has a third of the values to check.
    if not grey.isfinite().all():
        raise ValueError("partition: image must be finite, got NaN or infinity")
    return grey


def _tile_shape(height: int, width: int, tile_size: int | None) -> tuple[int, int]:
    """Shape of one tile: the image itself unless it consists of whole tiles."""
    if tile_size is None:
        return height, width
    if tile_size < 1:
        raise ValueError(f"partition: tile_size must be at least 1 or None, got {tile_size}")
    whole = height % tile_size or width % tile_size
    return (height, width) if whole else (tile_size, tile_size)


def _backend(name: str) -> Callable[[Tensor, int, float, int, Tensor | None], Tensor]:
    """The function that partitions a stack of grey tiles."""
    if name not in BACKENDS:
        raise ValueError(f'partition: backend must be "auto", "reference", "cpu" or "triton", got {name!r}')
    if name == "reference":
        return reference.split
    if name == "triton":
        from gpstoken.partition import triton

        return triton.split
    try:
        from gpstoken.partition import cpu
    except ImportError:
        if name == "cpu":
            raise
        return reference.split
    return cpu.split


def _check_image(image: Tensor) -> None:
    if image.dim() != 4 or image.shape[1] != 3 or 0 in image.shape[2:]:
        raise ValueError(f"partition: image must be float[B, 3, H, W], got shape {tuple(image.shape)}")
    if not image.is_floating_point():
        raise ValueError(f"partition: image must be floating point in [-1, 1], got {image.dtype}")


def _checked_bias(bias: Tensor, image: Tensor) -> Tensor:
    """The bias as float64[B, H, W] on the device of the image."""
    batch, _, height, width = image.shape
    if tuple(bias.shape) not in ((height, width), (batch, height, width)):
        expected = f"[{height}, {width}] or [{batch}, {height}, {width}]"
        raise ValueError(f"partition: bias must have shape {expected}, got {list(bias.shape)}")
    if bias.is_complex() or not bias.isfinite().all():
        raise ValueError("partition: bias must be real and finite, got a complex number, NaN or infinity")
    return bias.to(image.device, torch.float64).expand(batch, height, width)


def _on_a_grid(bias: Tensor) -> Tensor:
    """Rounds each map of float64[T, h, w] to multiples of a power of two, so that sums over its pixels are exact.

    Otherwise the order of a sum would decide which of two regions with the same bias is split. The power is 2^-52 of
    the largest value times the number of pixels: for 256 x 256 pixels the map keeps 11 digits.
    """
    _, exponent = bias.abs().amax((1, 2), keepdim=True).frexp()
    exponent = (exponent + (bias.shape[1] * bias.shape[2] - 1).bit_length() - 52).clamp(-1000, 960).double()
    return (bias * (-exponent).exp2()).round() * exponent.exp2()


def _check_numbers(num_tokens: int, lambda_: float, min_region_size: int, tile: tuple[int, int], tiles: int) -> None:
    if not (isfinite(lambda_) and lambda_ >= 0):
        raise ValueError(f"partition: lambda_ must be finite and at least 0, got {lambda_}")
    if min_region_size < 1:
        raise ValueError(f"partition: min_region_size must be at least 1 pixel, got {min_region_size}")
    height, width = tile
    if min(tile) < 2 * min_region_size:
        limit = f"2 * min_region_size = {2 * min_region_size} pixels"
        raise ValueError(f"partition: both sides must be at least {limit}, got {height}x{width}")
    if num_tokens < 1:
        raise ValueError(f"partition: num_tokens must be at least 1, got {num_tokens}")
    if num_tokens % tiles:
        raise ValueError(f"partition: num_tokens must be a multiple of the {tiles} tiles, got {num_tokens}")
    limit = tiles * max_regions(height, width, min_region_size)
    if num_tokens > limit:
        raise ValueError(f"partition: num_tokens must be at most {limit} for this size, got {num_tokens}")
