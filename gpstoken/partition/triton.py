"""The partition on a GPU: the entropy of every region that splitting can produce, then the greedy selection.

In a square of 2^k pixels a region is a square or half of a square (2,729 regions for 256 pixels with regions of 8), so
all regions of all images are measured in one launch; the selection then only compares numbers, with one program per
image. Nothing is read back by the host. With TRITON_INTERPRET=1, set before the first import, both kernels run on CPU
tensors, slowly, for tests.
"""

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from gpstoken.partition.reference import BIN_WIDTH, ENTROPY_TERMS, LAST_BIN, MEASURED_SIZE
from gpstoken.partition.resizing import sample_points

PROGRAMS = 2048  # programs that measure regions in turn, each with its own scratch image: 33 MB in all
PARTS = 2  # parts of a region's pixels, whose bins are computed in turn
MEASURE_WARPS, SELECT_WARPS = 8, 4  # no register spills; see tests/test_triton_compiles.py
_BINS = triton.next_power_of_2(LAST_BIN + 1)


@triton.jit
def _measure(
    grey, boxes, before, after, weight, scratch, histograms,
    regions, total, height, width,
    SIDE: tl.constexpr, BINS: tl.constexpr, LAST: tl.constexpr, BIN: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Histograms of the gradient magnitudes of regions, as in the reference: resize, Sobel, bins."""
    sample = tl.arange(0, SIDE * SIDE)
    i, j = sample // SIDE, sample % SIDE
    scratch += tl.program_id(0) * SIDE * SIDE
    for region in range(tl.program_id(0), total, tl.num_programs(0)):
        image, box = (region // regions).to(tl.int64), boxes + 4 * (region % regions)
        x0, y0, table_x, table_y = tl.load(box), tl.load(box + 1), tl.load(box + 2) * SIDE, tl.load(box + 3) * SIDE
        pixels = grey + image * height * width + y0 * width + x0
        near, far, across = tl.load(before + table_x + j), tl.load(after + table_x + j), tl.load(weight + table_x + j)
        top = tl.load(before + table_y + i) * width
        bottom, down = tl.load(after + table_y + i) * width, tl.load(weight + table_y + i)
        upper_left, lower_left = tl.load(pixels + top + near), tl.load(pixels + bottom + near)
        upper = tl.fma(across, tl.load(pixels + top + far) - upper_left, upper_left)
        lower = tl.fma(across, tl.load(pixels + bottom + far) - lower_left, lower_left)
        tl.store(scratch + sample, tl.fma(down, lower - upper, upper))
        tl.debug_barrier()
        counts = tl.zeros((BINS,), tl.int32)
        for part in range(PARTS):  # float64 for all pixels at once does not fit into the registers
            pixel = part * (SIDE * SIDE // PARTS) + tl.arange(0, SIDE * SIDE // PARTS)
            row, column = pixel // SIDE, pixel % SIDE
            above, below = tl.maximum(row - 1, 0) * SIDE, tl.minimum(row + 1, SIDE - 1) * SIDE
            left, right = tl.maximum(column - 1, 0), tl.minimum(column + 1, SIDE - 1)
            a, b, c = (
                tl.load(scratch + above + left),
                tl.load(scratch + above + column),
                tl.load(scratch + above + right),
            )
            d, f = tl.load(scratch + row * SIDE + left), tl.load(scratch + row * SIDE + right)
            g, h, k = (
                tl.load(scratch + below + left),
                tl.load(scratch + below + column),
                tl.load(scratch + below + right),
            )
            # Sums of float32 values in float64 are exact, so that a pixel on a bin's edge falls as in the reference.
            a, b, c, d = a.to(tl.float64), b.to(tl.float64), c.to(tl.float64), d.to(tl.float64)
            f, g, h, k = f.to(tl.float64), g.to(tl.float64), h.to(tl.float64), k.to(tl.float64)
            gradient_x, gradient_y = (c - a) + 2 * (f - d) + (k - g), (g - a) + 2 * (h - b) + (k - c)
            magnitude = tl.sqrt(gradient_x * gradient_x + gradient_y * gradient_y)
            # A float32 quotient gives the bin to within one; it is then compared with the exact edges in float64.
            place = (magnitude.to(tl.float32) * (1 / BIN)).to(tl.int32)
            place = tl.where(magnitude < place.to(tl.float64) * BIN, place - 1, place)
            place = tl.where(magnitude >= (place + 1).to(tl.float64) * BIN, place + 1, place)
            counts += tl.histogram(tl.minimum(tl.maximum(place, 0), LAST), BINS)
        tl.debug_barrier()  # the next region's image overwrites this one's
        tl.store(histograms + (image * regions + region % regions) * BINS + tl.arange(0, BINS), counts)


@triton.jit
def _sum_terms(histograms, terms, entropy, BINS: tl.constexpr):
    """The entropy of one histogram, summed in NumPy's order like the other backends: ties depend on the last bit.

    NumPy's order has eight sums for each half of the bins, which are then added in pairs.
    """
    histograms += tl.program_id(0).to(tl.int64) * BINS
    lane = tl.arange(0, 16)
    sums = tl.zeros((16,), tl.float64)
    for step in range(BINS // 16):
        sums += tl.load(terms + tl.load(histograms + lane // 8 * (BINS // 2) + step * 8 + lane % 8))
    for _ in tl.static_range(3):
        even, odd = tl.split(sums.reshape(sums.numel // 2, 2))
        sums = even + odd
    tl.store(entropy + tl.program_id(0), tl.sum(sums, 0))


@triton.jit
def _number(x, y, width, height, side, squares, splittable):
    """The number of a region: squares level by level, then left and right halves of squares, then upper and lower."""
    longer = tl.maximum(width, height)
    across = side // longer
    square = (across * across - 1) // 3 + y // longer * across + x // longer
    tall = squares + 2 * square + (x % longer) // width
    flat = squares + 2 * splittable + 2 * square + (y % longer) // height
    return tl.where(width == height, square, tl.where(width < height, tall, flat))


@triton.jit
def _select(
    complexity, boxes, keys, ages,
    num_tokens, regions, squares, splittable, side, smallest,
    SLOTS: tl.constexpr,
):  # fmt: skip
    """The release's loop for one image: splits the most complex splittable region, older first, until there are N."""
    image = tl.program_id(0).to(tl.int64)
    complexity += image * regions
    slot = tl.arange(0, SLOTS)
    x, y, width, height = slot * 0, slot * 0, slot * 0 + side, slot * 0 + side
    age, value = slot * 0, tl.load(complexity + slot * 0)
    for newest in range(1, num_tokens):
        can = (slot < newest) & (tl.maximum(width, height) > smallest + 1)
        best = tl.max(tl.where(can, value, -float("inf")), 0)
        can = can & (value == best)
        oldest = tl.min(tl.where(can, age, 2147483647), 0)
        chosen = can & (age == oldest)
        x0, y0 = tl.sum(tl.where(chosen, x, 0), 0), tl.sum(tl.where(chosen, y, 0), 0)
        w, h = tl.sum(tl.where(chosen, width, 0), 0), tl.sum(tl.where(chosen, height, 0), 0)
        w2, h2 = tl.maximum(w // 2, 1), tl.maximum(h // 2, 1)
        # For a square both cuts are compared; left and right win only with the strictly least complex child. For a
        # rectangle the other cut has no number: the parent's number stands in for it and is not used.
        tall, flat = w >= h, h >= w
        parent = _number(x0, y0, w, h, side, squares, splittable)
        left = tl.load(complexity + tl.where(tall, _number(x0, y0, w2, h, side, squares, splittable), parent))
        right = tl.load(complexity + tl.where(tall, _number(x0 + w2, y0, w2, h, side, squares, splittable), parent))
        upper = tl.load(complexity + tl.where(flat, _number(x0, y0, w, h2, side, squares, splittable), parent))
        lower = tl.load(complexity + tl.where(flat, _number(x0, y0 + h2, w, h2, side, squares, splittable), parent))
        vertical = (w > h) | ((w == h) & (tl.minimum(left, right) < tl.minimum(upper, lower)))
        child_w, child_h = tl.where(vertical, w2, w), tl.where(vertical, h, h2)
        second = slot == newest
        x = tl.where(second, x0 + tl.where(vertical, w2, 0), x)
        y = tl.where(second, y0 + tl.where(vertical, 0, h2), y)
        width, height = tl.where(chosen | second, child_w, width), tl.where(chosen | second, child_h, height)
        value = tl.where(chosen, tl.where(vertical, left, upper), value)
        value = tl.where(second, tl.where(vertical, right, lower), value)
        age = tl.where(chosen, 2 * newest - 1, tl.where(second, 2 * newest, age))
    exists = slot < num_tokens
    target = image * num_tokens + slot
    tl.store(boxes + 4 * target, x, exists)
    tl.store(boxes + 4 * target + 1, y, exists)
    tl.store(boxes + 4 * target + 2, x + width, exists)
    tl.store(boxes + 4 * target + 3, y + height, exists)
    tl.store(keys + target, value, exists)
    tl.store(ages + target, age, exists)


@cache
def _lattice(side: int, min_region_size: int) -> tuple[Tensor, int, int]:
    """All regions that splitting can make, long[R, 4] (x0, y0, width, height); counts of squares and of split ones."""
    squares, tall, flat = [], [], []
    size = side
    while True:
        corner = torch.arange(0, side, size)
        y, x = (line.flatten() for line in torch.meshgrid(corner, corner, indexing="ij"))
        full = torch.full_like(x, size)
        squares.append(torch.stack([x, y, full, full], -1))
        if size <= min_region_size + 1:
            break
        half = full // 2
        for halves, dx, dy, w, h in ((tall, half, 0, half, full), (flat, 0, half, full, half)):
            halves.append(
                torch.stack([torch.stack([x, y, w, h], -1), torch.stack([x + dx, y + dy, w, h], -1)], 1).flatten(0, 1)
            )
        size //= 2
    count = [sum(map(len, part)) for part in (squares, tall)]
    return torch.cat([*squares, *tall, *flat]), count[0], count[1] // 2


@cache
def _tables(side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Bilinear samples for lengths 1, 2, 4 to `side`: pixels before and after each sample, and its position between."""
    points = [sample_points(2**power, MEASURED_SIZE) for power in range(side.bit_length())]
    before, after, weight = (torch.stack(column) for column in zip(*points, strict=True))
    return before.int(), after.int(), weight


def split(grey: Tensor, num_tokens: int, lambda_: float, min_region_size: int, bias: Tensor | None) -> Tensor:
    """The same as `split` of the reference, on the device of the images, with the same sets of regions.

    Args:
        grey: float[T, h, w] in [0, 1], square tiles of 2^k pixels.
        num_tokens: regions per tile, at most as many as the tile splits into.
        lambda_: exponent of the entropy in Eq. 4.
        min_region_size: pixels; a region whose sides are both at most this plus one stays whole.
        bias: float64[T, h, w] or None; its sum over a region is added to the region's complexity.

    Returns:
        long[T, num_tokens, 4], half-open boxes (x0, y0, x1, y1) in the release's order. Entropies equal the reference's
        to the bit, but their power is computed by the device: regions with different entropies whose complexities
        agree to 15 digits may change places.

    Raises:
        ValueError: for tiles that are not squares of 2^k pixels.
    """
    tiles, height, width = grey.shape
    if height != width or height & (height - 1):
        raise ValueError(f"partition: the triton backend needs square tiles of 2^k pixels, got {height}x{width}")
    device, grey = grey.device, grey.float().contiguous()
    lattice, squares, splittable = _lattice(height, min_region_size)
    regions, area = len(lattice), (lattice[:, 2] * lattice[:, 3]).to(device, torch.float64)
    lengths = (lattice[:, 2:].double().log2().round()).long()
    corners = torch.cat([lattice[:, :2], lengths], 1).int().to(device)
    histograms = torch.empty(tiles, regions, _BINS, dtype=torch.int32, device=device)
    entropy = torch.empty(tiles, regions, dtype=torch.float64, device=device)
    programs = min(PROGRAMS, tiles * regions)
    _measure[(programs,)](
        grey, corners, *(table.to(device) for table in _tables(height)),
        torch.empty(programs, MEASURED_SIZE**2, device=device), histograms,
        regions, tiles * regions, height, width,
        SIDE=MEASURED_SIZE, BINS=_BINS, LAST=LAST_BIN, BIN=BIN_WIDTH, PARTS=PARTS, num_warps=MEASURE_WARPS,
        enable_fp_fusion=False,  # a fused product and sum would move pixels on the edge of a bin
    )  # fmt: skip
    _sum_terms[(tiles * regions,)](
        histograms, torch.from_numpy(ENTROPY_TERMS).to(device), entropy, BINS=_BINS, num_warps=1
    )
    complexity = entropy**lambda_ * area
    if bias is not None:
        complexity = complexity + _sums(bias, lattice.to(device))
    boxes = torch.empty(tiles, num_tokens, 4, dtype=torch.int32, device=device)
    keys = torch.empty(tiles, num_tokens, dtype=torch.float64, device=device)
    ages = torch.empty(tiles, num_tokens, dtype=torch.int32, device=device)
    _select[(tiles,)](
        complexity, boxes, keys, ages, num_tokens, regions, squares, splittable, height, min_region_size,
        SLOTS=triton.next_power_of_2(num_tokens), num_warps=SELECT_WARPS,
    )  # fmt: skip
    # Decreasing complexity, older first, the two youngest last: two stable sorts, from the last criterion to the first.
    youngest = ages > 2 * num_tokens - 4
    keys = torch.where(youngest & (num_tokens > 1), -torch.inf, keys)
    order = ages.argsort(dim=1, stable=True)
    order = order.gather(1, keys.gather(1, order).argsort(dim=1, descending=True, stable=True))
    return boxes.gather(1, order[..., None].expand(-1, -1, 4)).long()


def _sums(bias: Tensor, lattice: Tensor) -> Tensor:
    """Sums of a map[T, h, w] over regions (x0, y0, width, height), [T, R], from its integral image."""
    integral = torch.nn.functional.pad(bias, (1, 0, 1, 0)).cumsum(1).cumsum(2)
    x, y, width, height = lattice.unbind(1)
    return (
        integral[:, y + height, x + width] - integral[:, y, x + width]
        - integral[:, y + height, x] + integral[:, y, x]
    )  # fmt: skip
