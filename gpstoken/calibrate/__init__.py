"""Calibration: maps a sampled layout to the nearest valid partition, the kind that the texture stage was trained on.

The paper says only that calibration corrects minor errors of a generated layout and respects s_min; the search here is
our own design.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gpstoken.calibrate import reference
from gpstoken.gaussians import Gaussians
from gpstoken.partition import max_regions

__all__ = ["calibrate"]


def calibrate(
    layout: Gaussians,
    size: tuple[int, int],
    min_region_size: int = 8,
    sigma_rule: str = "released",
    backend: str = "auto",
) -> Tensor:
    """The partition nearest to a layout: N boxes that tile the image, as `partition` with one tile can produce them.

    A token stands for the pixel box from which `Gaussians.from_regions` would make it; rho is ignored. Its distance
    to a region is the sum of squared differences of the four sides, in pixels. The search starts with the whole image.
    A region with one token is assigned to it. A region with more is halved across its longer side; of its tokens, in
    the order of their centres, the first half gets as many as have their centre in it (within what both halves can
    hold), the second half the others. For a square both cuts are tried, and once on the way down to a region the first
    half may get one token more or less. Of all these partitions the one with the smallest sum of distances is returned.

    Why this is right:
    Valid: regions come from halving alone, as in the partition, and each token ends in exactly one, so there are N. A
    region gets k >= 2 tokens only if it splits into k or more, and then it is large enough to be cut.
    Feasible: the most regions of a rectangle are the most of its two halves together, so k tokens that fit it can be
    divided with at least 1 in each half and neither overfull. Every cut leaves fewer tokens per half, so the search
    ends.
    Fixed point: in a valid partition no box crosses a cut, so the counts of centres follow the partition's own cuts
    and the search finds it, at distance 0 up to rounding. Any other partition differs by a whole pixel in some side of
    some token, so its distance is at least 1.
    Order: ties between centres are broken by the token's other values, so the order of tokens does not matter (except
    that tokens equal in every value may get each other's boxes).
    Nearest: the result is the minimum over every choice of cuts with tokens divided by their centres, plus or minus
    one. It is the minimum over all partitions and assignments wherever each token gets the nearest of all regions, as
    it does when noise is small: normal noise of 1.6 pixels in centres and 4.8 in sides is undone exactly in 99 % of
    layouts (16 tokens at 64 pixels, 128 at 256). Beyond that it is a good guess, measured in `tests/calibrate`.

    Args:
        layout: B x N Gaussians, finite. They may lie off the canvas and have any size, even none: each stands for the
            nearest admissible box.
        size: (H, W) of the image in pixels.
        min_region_size: s_min in pixels; a region whose sides are both at most this plus one stays whole.
        sigma_rule: "released" or "paper", the rule that the layout's sigma follows (`Gaussians.from_regions`).
        backend: "reference" (Python), "cpu" (numba, fast), or "auto": cpu where numba is installed.

    Returns:
        long[B, N, 4] on the device of the layout: half-open pixel boxes (x0, y0, x1, y1); box i belongs to token i.

    Raises:
        ValueError: if an argument is out of range, the layout holds NaN or infinity, or the image does not split into
            N regions.
        ImportError: if backend is "cpu" and numba is missing.
    """
    _check(layout, size, min_region_size)
    fit = _backend(backend)
    geometry = layout.to_tensor().detach().to("cpu", torch.float64)
    if not geometry.isfinite().all():
        raise ValueError("calibrate: the layout must be finite, got NaN or infinity")
    boxes = _pixel_boxes(geometry, size, sigma_rule)
    sigma_x, sigma_y, rho, mu_x, mu_y = geometry.unbind(-1)
    # np.lexsort takes its first key last.
    by_x = np.lexsort([key.numpy() for key in (rho, sigma_y, sigma_x, mu_y, mu_x)])
    by_y = np.lexsort([key.numpy() for key in (rho, sigma_x, sigma_y, mu_x, mu_y)])
    regions = fit(boxes.numpy(), np.stack([by_x, by_y], axis=1), size, min_region_size)
    return torch.from_numpy(regions).to(layout.mu.device)


def _pixel_boxes(geometry: Tensor, size: tuple[int, int], sigma_rule: str) -> Tensor:
    """The inverse of `Gaussians.from_regions`: float64[B, N, 4] boxes, sides and centres clamped to the image."""
    height, width = size
    extent = torch.tensor([width, height], dtype=geometry.dtype)
    sigma = geometry[..., 0:2]
    if sigma_rule == "released":
        # Under this rule a side of 1 counts as half a pixel and one of 2 as a whole pixel: a line between them.
        less_one = sigma * extent * 1.5
        sides = torch.where(less_one < 1, 2 * less_one, less_one + 1)
    elif sigma_rule == "paper":
        sides = sigma * extent * 3
    else:
        raise ValueError(f"calibrate: sigma_rule must be 'released' or 'paper', got {sigma_rule!r}")
    half = sides.clamp(torch.ones_like(extent), extent) / 2
    centre = ((geometry[..., 3:5].clamp(-1, 1) + 1) * (extent - 1).clamp_min(1) + 1) / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def _backend(name: str) -> Callable[[np.ndarray, np.ndarray, tuple[int, int], int], np.ndarray]:
    """The function that fits partitions to a batch of boxes."""
    if name not in ("auto", "reference", "cpu"):
        raise ValueError(f'calibrate: backend must be "auto", "reference" or "cpu", got {name!r}')
    if name == "reference":
        return reference.fit
    try:
        from gpstoken.calibrate import cpu
    except ImportError:
        if name == "cpu":
            raise
        return reference.fit
    return cpu.fit


def _check(layout: Gaussians, size: tuple[int, int], min_region_size: int) -> None:
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"calibrate: size must be (H, W) of at least 1 pixel each, got {tuple(size)}")
    if min_region_size < 1:
        raise ValueError(f"calibrate: min_region_size must be at least 1 pixel, got {min_region_size}")
    num_tokens, limit = layout.rho.shape[1], max_regions(*size, min_region_size)
    if not 1 <= num_tokens <= limit:
        kind = f"a {size[0]}x{size[1]} image with min_region_size {min_region_size}"
        raise ValueError(f"calibrate: {kind} has 1 to {limit} regions, got a layout of {num_tokens} tokens")
