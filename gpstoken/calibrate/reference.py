"""The search for the nearest partition in plain Python, over every admitted partition: the oracle of `cpu`."""

from functools import cache

import numpy as np

from gpstoken.partition import max_regions

Region = tuple[int, int, int, int]
# A cut must beat the best one so far by more than rounding, so that the order of a sum decides nothing.
SLACK = 1e-9
# How often, on the way down to a region, a first half may get one token more or less than have their centre in it.
DEVIATIONS = 1


def cuts(region: Region) -> list[tuple[int, int]]:
    """The cuts of a region as (axis, place); axis 1 (y, into top and bottom) comes first, as in the partition."""
    x0, y0, x1, y1 = region
    width, height = x1 - x0, y1 - y0
    top_bottom = [(1, y0 + height // 2)] if height >= width else []
    return top_bottom + ([(0, x0 + width // 2)] if width >= height else [])


def fit(boxes: np.ndarray, orders: np.ndarray, size: tuple[int, int], min_region_size: int) -> np.ndarray:
    """The nearest partition of each set of boxes, as `calibrate` defines it.

    Args:
        boxes: float64[B, N, 4], pixel boxes (x0, y0, x1, y1) of tokens.
        orders: int64[B, 2, N], the tokens in the order of their centres, along x and along y.
        size: (H, W) in pixels.
        min_region_size: pixels; a region whose sides are both at most this plus one stays whole.

    Returns:
        int64[B, N, 4], half-open boxes; box i belongs to token i.
    """
    regions = np.empty(boxes.shape, np.int64)
    for index, (tokens, order) in enumerate(zip(boxes.tolist(), orders.tolist(), strict=True)):
        for token, region in _fit_one(tokens, order, size, min_region_size):
            regions[index, token] = region
    return regions


def _fit_one(
    boxes: list[list[float]], orders: list[list[int]], size: tuple[int, int], min_region_size: int
) -> list[tuple[int, Region]]:
    """Every token with its region."""

    def capacity(region: Region) -> int:
        x0, y0, x1, y1 = region
        return max_regions(y1 - y0, x1 - x0, min_region_size)

    @cache
    def best(region: Region, by_x: tuple[int, ...], by_y: tuple[int, ...], deviations: int):
        """The least sum of distances of these tokens within the region, and each token's region."""
        if len(by_x) == 1:
            sides = zip(boxes[by_x[0]], region, strict=True)
            return sum((theirs - ours) ** 2 for theirs, ours in sides), [(by_x[0], region)]
        least, assignment = float("inf"), []
        for axis, place in cuts(region):
            first, second = list(region), list(region)
            first[axis + 2] = second[axis] = place
            first, second = tuple(first), tuple(second)
            order = (by_x, by_y)[axis]
            centred = sum(boxes[token][axis] + boxes[token][axis + 2] < 2 * place for token in order)
            fewest, most = max(1, len(order) - capacity(second)), min(capacity(first), len(order) - 1)
            natural = min(max(centred, fewest), most)
            for step in (0, -1, 1) if deviations else (0,):
                if not fewest <= natural + step <= most:
                    continue
                chosen = set(order[: natural + step])
                left = deviations - abs(step)
                cost_first, found_first = best(first, *_share((by_x, by_y), chosen, True), left)
                cost_second, found_second = best(second, *_share((by_x, by_y), chosen, False), left)
                if cost_first + cost_second < least * (1 - SLACK):
                    least, assignment = cost_first + cost_second, found_first + found_second
        return least, assignment

    whole = (0, 0, size[1], size[0])
    return best(whole, tuple(orders[0]), tuple(orders[1]), DEVIATIONS)[1]


def _share(orders: tuple[tuple[int, ...], ...], chosen: set[int], inside: bool) -> list[tuple[int, ...]]:
    """The tokens of each order that are chosen, or if not `inside`, those that are not."""
    return [tuple(token for token in order if (token in chosen) == inside) for order in orders]
