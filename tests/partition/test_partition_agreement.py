"""Reference and compiled partition are equal, order included, on images whose gradients lie on the edges of bins.

Thirty images a kind in the suite; `IMAGES=2000 pytest tests/partition/test_partition_agreement.py` is a campaign.
"""

import math
import os
from fractions import Fraction

import numpy as np
import pytest
import torch

from gpstoken.partition import max_regions, partition, resizing

IMAGES = int(os.environ.get("IMAGES", "30"))
# Flat, regular and symmetric images: many gradients on the edge of a bin, many regions equal but for the last bit.
KINDS = ("checkerboard", "ramp", "blocks", "two levels", "few levels", "odd pixels", "waves", "symmetric", "bin widths")


def grey(kind, height, width, draw):
    """float64[height, width] in [0, 1]."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    if kind == "checkerboard":
        sides, phase = draw.integers(1, 6, 2), draw.integers(0, 5, 2)
        low, high = draw.choice([0, 255, *draw.integers(0, 256, 2)], 2) / 255
        return low + (high - low) * (((x + phase[0]) // sides[0] + (y + phase[1]) // sides[1]) % 2)
    if kind == "ramp":
        angle, step = draw.choice([0, math.pi / 4, math.pi / 2, math.pi, draw.random() * 7]), draw.integers(1, 40)
        return np.mod(np.round((x * math.cos(angle) + y * math.sin(angle)) * step), 256) / 255
    if kind == "blocks":
        side, levels = draw.integers(1, 17), draw.choice([2, 3, 4, 16, 256])
        values = draw.integers(0, levels, (height // side + 1, width // side + 1)) / (levels - 1)
        return np.kron(values, np.ones((side, side)))[:height, :width]
    if kind == "two levels":
        low, high = draw.integers(0, 256, 2) / 255
        return np.where(draw.random((height, width)) < draw.choice([0.02, 0.1, 0.5]), low, high)
    if kind == "few levels":
        levels = draw.choice([2, 3, 4, 5, 9, 17])
        return draw.integers(0, levels, (height, width)) / (levels - 1)
    if kind == "odd pixels":
        values = np.full((height, width), draw.integers(0, 256) / 255)
        for _ in range(draw.integers(0, 4)):
            values[draw.integers(height), draw.integers(width)] = draw.random()
        return values
    if kind == "waves":
        phase = x / draw.choice([2, 3, 4, 8, 16]) + y / draw.choice([2, 4, 8, 1e9])
        return np.round(127.5 + 127.5 * np.sin(2 * np.pi * phase)) / 255
    if kind == "symmetric":
        values = draw.integers(0, 4, (height, width)) / 3
        values = np.maximum(values, values[::-1])
        return np.maximum(values, values[:, ::-1])
    return np.mod((x if draw.random() < 0.5 else y) * draw.integers(1, 6) * 11 / 4096, 1)


def regions(image, *arguments):
    return [partition(image, *arguments, backend=backend).tolist() for backend in ("reference", "cpu")]


@pytest.mark.parametrize("kind", KINDS)
def test_reference_and_cpu_are_equal(kind):
    for seed in range(IMAGES):
        draw = np.random.default_rng([KINDS.index(kind), seed])
        height, width = draw.integers(4, 48, 2)
        if seed % 3 == 0:
            height = width = draw.choice([8, 16, 17, 32, width])
        values = torch.from_numpy(grey(kind, height, width, draw))
        # As pixels of 8 bits, or as they are; grey, or one colour.
        image = (values * 255).round().float() / 127.5 - 1 if seed % 2 else (values * 2 - 1).float()
        image = image * (torch.tensor([0.2, 0.9, 0.5])[:, None, None] if seed % 5 == 4 else torch.ones(3, 1, 1))
        min_region_size = min(int(draw.choice([1, 2, 3, 4, 8])), height // 2, width // 2)
        num_tokens = min(max_regions(height, width, min_region_size), 1 + int(draw.integers(20)))
        bias = (None, torch.full((height, width), 0.1), values)[seed % 3]
        lambda_ = (2.5, 2.5, 1.0, 0.0)[seed % 4]
        there, here = regions(image[None], num_tokens, lambda_, min_region_size, bias)
        assert there == here, f"seed {seed}: {height}x{width}, {num_tokens} tokens, regions of {min_region_size}"


def test_the_checkerboard_of_single_pixels():
    board = (torch.arange(17)[:, None] + torch.arange(17)) % 2 * 2.0 - 1
    there, here = regions(board.expand(2, 3, 17, 17), 6, 2.5, 4)
    assert there == here


def test_equal_biases_add_up_to_equal_sums_whatever_the_order():
    # Nothing in the image and the same bias everywhere: all that counts is the area, and of equal areas the age.
    bias = torch.full((32, 32), 0.1, dtype=torch.float64)
    expected = partition(torch.zeros(1, 3, 32, 32), 13, 0.0).tolist()
    for backend in ("reference", "cpu"):
        assert partition(torch.zeros(1, 3, 32, 32), 13, 0.0, 8, bias, backend).tolist() == expected


def test_lerp_rounds_product_and_sum_once():
    # Against exact fractions; weights of few bits and values that nearly cancel bring ties and double roundings.
    draw = np.random.default_rng(0)
    start, stop = draw.random((2, 3000), np.float32)
    weight = draw.integers(0, 2**12, 3000).astype(np.float32) / 2**12
    start[::3] = -weight[::3] * (stop[::3] - start[::3])
    start[1::3], stop[1::3] = np.round(start[1::3] * 255) / 255, np.round(stop[1::3] * 255) / 255
    results = resizing.lerp(*(torch.from_numpy(values) for values in (start, stop, weight)))
    for low, difference, factor, result in zip(start, stop - start, weight, results.numpy(), strict=True):
        exact = Fraction(float(low)) + Fraction(float(factor)) * Fraction(float(difference))
        beside = [float(np.nextafter(result, np.float32(end), dtype=np.float32)) for end in (-np.inf, np.inf)]
        error, others = abs(Fraction(float(result)) - exact), [abs(Fraction(value) - exact) for value in beside]
        assert error <= min(others)
        # Of two that are equally near, the one whose last bit is even.
        assert error < min(others) or result.view(np.int32) % 2 == 0


def test_a_sum_that_a_second_rounding_would_spoil():
    # The truth lies 2^-72 below the middle between start and the next float32. A sum in float64 loses that and lies in
    # the middle, from where a second rounding goes to the even neighbour: up, for the last bit of start is 1.
    start, stop, weight = torch.tensor([0.25 * (1 + 2.0**-23), 1.25 + 2.0**-23, 2.0**-26 * (1 - 2.0**-23)])
    assert stop - start == 1 + 2.0**-23
    assert (weight.double() * (stop - start).double() + start.double()).float() > start
    assert resizing.lerp(start, stop, weight) == start
