"""The released regions, vector by vector."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gpstoken.partition import cpu, partition, reference

GOLDEN = Path(__file__).parents[1] / "golden"
PLAIN = np.load(GOLDEN / "partition.npz")
SPECIAL = np.load(GOLDEN / "partition_special.npz")
COMPLEXITY = np.load(GOLDEN / "complexity.npz")
IMAGES, BOXES, CASES = PLAIN["images"], PLAIN["boxes"], PLAIN["case_index"]


def normalised(pixels):
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1


def half_open(boxes):
    return (boxes.astype(np.int64) + np.array([0, 0, 1, 1])).tolist()


def assert_equal(regions, expected, in_order):
    regions = regions[0].tolist()
    assert sorted(regions) == sorted(expected)
    assert regions == expected or not in_order


@pytest.mark.parametrize("case", range(len(CASES)))
def test_cpu_is_released_partition(case):
    image, num_tokens, lambda_, min_region_size, offset, count, order_is_robust = CASES[case]
    pixels = normalised(IMAGES[int(image)])
    regions = partition(pixels, int(num_tokens), lambda_, int(min_region_size), backend="cpu")
    assert_equal(regions, half_open(BOXES[int(offset) : int(offset + count)]), order_is_robust)


# Up to 64 tokens, for time.
@pytest.mark.parametrize("case", np.flatnonzero(CASES[:, 1] <= 64))
def test_reference_is_released_partition(case):
    image, num_tokens, lambda_, min_region_size, offset, count, order_is_robust = CASES[case]
    pixels = normalised(IMAGES[int(image)])
    regions = partition(pixels, int(num_tokens), lambda_, int(min_region_size), backend="reference")
    assert_equal(regions, half_open(BOXES[int(offset) : int(offset + count)]), order_is_robust)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("case", range(len(SPECIAL["meta"])))
def test_special_cases(case, backend):
    num_tokens, lambda_, min_region_size, has_bias, order_is_robust = SPECIAL["meta"][case]
    bias = torch.from_numpy(SPECIAL[f"c{case}_bias"]) if has_bias else None
    pixels = normalised(SPECIAL[f"c{case}_image"])
    regions = partition(pixels, int(num_tokens), lambda_, int(min_region_size), bias, backend)
    assert_equal(regions, half_open(SPECIAL[f"c{case}_boxes"]), order_is_robust)


def golden_greys():
    for (image, *box, lambda_), expected in zip(COMPLEXITY["cases"], COMPLEXITY["complexity"], strict=True):
        y, x, height, width = map(int, box)
        red, green, blue = normalised(IMAGES[int(image)])[0]
        grey = (0.299 * red + 0.587 * green + 0.114 * blue + 1) / 2
        yield grey[y : y + height, x : x + width], lambda_, expected


# The same pixels fall into the same bins. What is left is the last bit of log2 and pow, which differ by library, and
# the order of some 200 terms: 1e-14, to the power of at most 5.
TOLERANCE = 1e-12


def test_complexity_of_cpu():
    for grey, lambda_, expected in golden_greys():
        assert cpu.complexity(grey.numpy(), lambda_) == pytest.approx(expected, rel=TOLERANCE, abs=0)


def test_complexity_of_reference():
    for grey, lambda_, expected in golden_greys():
        assert reference.complexity(grey.double(), lambda_) == pytest.approx(expected, rel=TOLERANCE, abs=0)
