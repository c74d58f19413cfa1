"""The compiled partition against OpenCV and NumPy, and the port of the released algorithm that is made of them."""

import cv2
import numpy as np
import pytest
import torch

from benchmarks import released_partition
from benchmarks.timing import compare
from gpstoken.partition import cpu, max_regions, partition, reference


def random_grey(*shape):
    return np.random.default_rng(0).random(shape, dtype=np.float32)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 200), (2, 3), (8, 16), (63, 65), (64, 64), (128, 128), (300, 7), (256, 512)]
)
def test_resize(shape):
    grey = random_grey(*shape)
    padded = cpu._resize(grey)
    # OpenCV builds differ in the last bit: two roundings of 2^-25 across, two down.
    expected = cv2.resize(grey, (64, 64), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(padded[1:-1, 1:-1], expected, rtol=0, atol=2**-23)
    np.testing.assert_array_equal(padded, np.pad(padded[1:-1, 1:-1], 1, mode="edge"))


def opencv_counts(resized):
    gradients = [
        cv2.Sobel(resized, cv2.CV_64F, *order, ksize=3, borderType=cv2.BORDER_REPLICATE) for order in ((1, 0), (0, 1))
    ]
    return np.histogram(np.hypot(*gradients), bins=512, range=(-5.5, 5.5))[0][256:]


# All of these lie on edges of bins, or a last bit beside: 8 * step = k * 11 / 512.
@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("nudge", [0, -1, 1])
def test_magnitudes_on_the_edge_of_a_bin(k, nudge):
    ramp = np.tile(np.arange(64, dtype=np.float32) * np.float32(11 * k / 4096), (64, 1))
    if nudge:
        ramp[:, 32] = np.nextafter(ramp[:, 32], np.float32(nudge * np.inf))
    expected = opencv_counts(ramp)
    np.testing.assert_array_equal(cpu._count(cpu._resize(ramp)).sum(0), expected)
    p = expected / (64**2 + 1e-5)
    entropy = -(p * np.log2(p + 1e-10)).sum()
    assert reference.complexity(torch.from_numpy(ramp), 1.0) == pytest.approx(entropy * 64 * 64, rel=1e-12)


@pytest.mark.parametrize("grey", [random_grey(64, 64), random_grey(64, 64) * 0.01, random_grey(64, 64).round()])
def test_histogram(grey):
    np.testing.assert_array_equal(cpu._count(cpu._resize(grey)).sum(0), opencv_counts(grey))


def test_beyond_the_range_lands_in_the_last_bin():
    checks = np.zeros((64, 64), np.float32)
    checks[:, ::3] = 1e30
    counts = cpu._count(cpu._resize(checks)).sum(0)
    assert counts.sum() == 64 * 64 and counts[1:-1].sum() == 0


# Sets, not order: two neighbours may swap with another build of OpenCV.
@pytest.mark.parametrize(
    ("height", "width", "min_region_size"), [(67, 131, 8), (256, 256, 4), (16, 300, 8), (90, 90, 3)]
)
def test_port_of_released_algorithm(height, width, min_region_size):
    image = torch.from_numpy(random_grey(3, height, width)) * torch.linspace(-1, 1, width)
    bias = torch.from_numpy(random_grey(height, width)) * 10
    num_tokens = min(60, max_regions(height, width, min_region_size))
    for added in (None, bias):
        arguments = (num_tokens, 2.5, min_region_size)
        theirs = released_partition.partition(image.numpy(), *arguments, None if added is None else added.numpy())
        ours = partition(image[None], *arguments, added, "cpu")[0]
        assert sorted(theirs.tolist()) == sorted(ours.tolist())


def test_timer_takes_turns_and_warms_up():
    calls = []
    rows = compare("turns", {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3, images=2)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert [(row["variant"], row["reference"]) for row in rows] == [("a", "a"), ("b", "a")]
    assert rows[0]["speedup"] == rows[0]["speedup_min"] == rows[0]["speedup_max"] == 1
