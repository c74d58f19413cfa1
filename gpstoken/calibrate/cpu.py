"""The search of `reference`, compiled by numba, with the same result.

As in the reference, the cost of a set of tokens within a region is computed once, however many cuts lead to it: first
all such states are listed, then their costs are summed backwards. A 64-bit hash stands for a state: among the thousands
of states of a layout, two collide about once in 10^12 layouts. No function is recursive: numba's cache restores
recursive functions broken. Layouts run in Python threads, as in the partition.
"""

from functools import lru_cache

import numpy as np

from gpstoken.calibrate.reference import DEVIATIONS, SLACK
from gpstoken.compiling import compiling
from gpstoken.partition import max_regions
from gpstoken.threads import in_runs

# Initial room for states, at least 1 per token; about 20 are used for any layout, and room is doubled if too small.
STATES_A_TOKEN = 32


@lru_cache(maxsize=8)
def _capacities(height: int, width: int, min_region_size: int) -> np.ndarray:
    """The most regions of a rectangle at [height, width]; 0 for rectangles that halving cannot lead to."""
    table = np.zeros((height + 1, width + 1), np.int32)

    def fill(height: int, width: int) -> None:
        if table[height, width]:
            return
        table[height, width] = max_regions(height, width, min_region_size)
        if table[height, width] > 1 and height >= width:
            fill(height // 2, width)
            fill(height - height // 2, width)
        if table[height, width] > 1 and width >= height:
            fill(height, width // 2)
            fill(height, width - width // 2)

    fill(height, width)
    return table


@compiling()
def _scramble(number):
    """An integer as 64 bits that look random (the finalizer of SplitMix64)."""
    bits = np.uint64(number) + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@compiling()
def _hash_region(region, deviations):
    bits = np.uint64(deviations)
    for side in region:
        bits = bits * np.uint64(0xD1342543DE82EF95) + np.uint64(side)
    return _scramble(bits)


@compiling()
def _halve(region, axis):
    """The two halves of a region across x (axis 0) or y (axis 1)."""
    x0, y0, x1, y1 = region
    if axis:
        middle = y0 + (y1 - y0) // 2
        return (x0, y0, x1, middle), (x0, middle, x1, y1)
    middle = x0 + (x1 - x0) // 2
    return (x0, y0, middle, y1), (middle, y0, x1, y1)


@compiling()
def _find(slots, keys, key):
    """The slot of a key, or the free slot where it belongs; there are 2^n slots, more than keys."""
    slot = key & np.uint64(len(slots) - 1)
    while slots[slot] >= 0 and keys[slots[slot]] != key:
        slot = (slot + np.uint64(1)) & np.uint64(len(slots) - 1)
    return slot


@compiling()
def _explore(boxes, orders, capacity, deviations, states, pool, halves):
    """Lists every admitted state once, those with fewer cuts first; returns their number, or 0 if there is no room.

    A state is a set of tokens within a region. states[i] = (x0, y0, x1, y1, deviations left, start, stop, cuts): its
    tokens along x and along y are pool[:, start:stop]; each row of halves[cuts : states[i + 1, 7]] holds the two
    states to which one of its cuts leads.
    """
    room = len(states) - 1
    slots, keys = np.full(2 * room, -1), np.empty(room, np.uint64)
    marks = np.empty(len(boxes), np.uint64)
    for token in range(len(boxes)):
        marks[token] = _scramble(np.uint64(token))
    chosen = np.empty(len(boxes), np.bool_)
    states[0] = (0, 0, capacity.shape[1] - 1, capacity.shape[0] - 1, deviations, 0, len(boxes), 0)
    pool[:, : len(boxes)] = orders
    index, used, pooled, cuts = 0, 1, len(boxes), 0
    while index < used:
        x0, y0, x1, y1, deviations, start, stop, _ = states[index]
        states[index, 7] = cuts
        index += 1
        count = stop - start
        for axis in (1, 0):
            if count == 1 or ((y1 - y0 < x1 - x0) if axis else (x1 - x0 < y1 - y0)):
                continue
            first, second = _halve((x0, y0, x1, y1), axis)
            centred = 0
            for token in pool[axis, start:stop]:
                centred += boxes[token, axis] + boxes[token, axis + 2] < 2 * second[axis]
            fewest = max(1, count - capacity[second[3] - second[1], second[2] - second[0]])
            most = min(capacity[first[3] - first[1], first[2] - first[0]], count - 1)
            natural = min(max(centred, fewest), most)
            for step in (0, -1, 1):
                size, left = natural + step, deviations - abs(step)
                if left < 0 or size < fewest or size > most:
                    continue
                if used + 2 > room or pooled + count > pool.shape[1]:
                    return 0
                tokens = np.zeros(2, np.uint64)
                for place in range(start, stop):
                    token = pool[axis, place]
                    chosen[token] = place - start < size
                    tokens[0 if chosen[token] else 1] ^= marks[token]
                for half in range(2):
                    region = second if half else first
                    key = _hash_region(region, left) ^ tokens[half]
                    slot = _find(slots, keys, key)
                    if slots[slot] < 0:
                        slots[slot], keys[used] = used, key
                        for row in range(2):
                            filled = pooled
                            for place in range(start, stop):
                                if chosen[pool[row, place]] == (half == 0):
                                    pool[row, filled] = pool[row, place]
                                    filled += 1
                        states[used] = (region[0], region[1], region[2], region[3], left, pooled, filled, 0)
                        pooled = filled
                        used += 1
                    halves[cuts, half] = slots[slot]
                cuts += 1
    states[used, 7] = cuts
    return used


@compiling()
def _fit_one(boxes, orders, capacity, deviations, room, regions):
    """Fills in the regions of the tokens; returns False if more than `room` states are needed."""
    states, pool = np.empty((room + 1, 8), np.int64), np.empty((2, 8 * room), np.int64)
    halves = np.empty((6 * room, 2), np.int64)
    used = _explore(boxes, orders, capacity, deviations, states, pool, halves)
    costs, choices = np.empty(used), np.empty(used, np.int64)
    # Halves come after their region, so in reverse order the costs of both halves are known.
    for index in range(used - 1, -1, -1):
        x0, y0, x1, y1, _, start, stop, cuts = states[index]
        least = np.inf
        if stop - start == 1:
            box = boxes[pool[0, start]]
            least = (box[0] - x0) ** 2 + (box[1] - y0) ** 2 + (box[2] - x1) ** 2 + (box[3] - y1) ** 2
        for cut in range(cuts, states[index + 1, 7]):
            cost = costs[halves[cut, 0]] + costs[halves[cut, 1]]
            if cost < least * (1 - SLACK):
                least, choices[index] = cost, cut
        costs[index] = least
    taken = np.zeros(used, np.bool_)
    taken[:1] = True
    for index in np.arange(used):
        if taken[index] and states[index, 6] - states[index, 5] == 1:
            regions[pool[0, states[index, 5]]] = states[index, :4]
        elif taken[index]:
            taken[halves[choices[index]]] = True
    return used > 0


def fit(boxes: np.ndarray, orders: np.ndarray, size: tuple[int, int], min_region_size: int) -> np.ndarray:
    """The same as `fit` of the reference; layouts run in as many threads as torch may use.

    Args:
        boxes: float64[B, N, 4], pixel boxes (x0, y0, x1, y1) of tokens.
        orders: int64[B, 2, N], the tokens in the order of their centres, along x and along y.
        size: (H, W) in pixels.
        min_region_size: pixels; a region whose sides are both at most this plus one stays whole.

    Returns:
        int64[B, N, 4], half-open boxes; box i belongs to token i.
    """
    boxes, orders = np.ascontiguousarray(boxes), np.ascontiguousarray(orders, np.int64)
    capacity = _capacities(*size, min_region_size)
    regions = np.empty(boxes.shape, np.int64)

    def fill(start: int, stop: int) -> None:
        for index in range(start, stop):
            room = 1 << (STATES_A_TOKEN * len(boxes[index])).bit_length()
            while not _fit_one(boxes[index], orders[index], capacity, DEVIATIONS, room, regions[index]):
                room *= 2

    in_runs(fill, len(boxes))
    return regions
