"""What only a culling backend can get wrong, against the reference; then the choice of backend and bad input."""

import sys

import pytest
import torch

from gpstoken.gaussians import Gaussians
from gpstoken.splat import _culling_pays, splat
from gpstoken.splat.tiled import count_pairs
from tests.threads import torch_threads

NAMES = ("mu", "sigma", "rho", "features")


# B, N, (h, w), support factor
SHAPES = [
    (1, 1, (8, 8), 3),
    (2, 1, (1, 1), 3),
    (1, 63, (20, 33), 3),
    (3, 257, (24, 9), 3),
    (2, 63, (7, 64), 5),
    (1, 257, (65, 1), 1),
    (4, 128, (64, 64), 3),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("batch", "num_tokens", "size", "support_factor"), SHAPES)
@pytest.mark.parametrize("backend", ["tiled", "cpu"])
def test_equals_reference(batch, num_tokens, size, support_factor, dtype, backend, make, run):
    inputs = make(batch, num_tokens, dtype=dtype)
    # All evaluate the same weights and differ in the order of sums of up to 4096 terms. In a gradient, terms of both
    # signs cancel, and at |rho| = 0.99 each carries 1 / sqrt(1 - rho^2) = 7 roundings.
    map_tolerance, gradient_tolerance = (1e-14, 1e-13) if dtype == torch.float64 else (1e-6, 5e-6)
    expected = run(inputs, size, support_factor, "reference")
    actual = run(inputs, size, support_factor, backend)
    for name, value, truth in zip(("map", *NAMES), actual, expected, strict=True):
        assert truth.norm() > 0, name
        tolerance = map_tolerance if name == "map" else gradient_tolerance
        assert value.dtype == dtype
        assert float((value - truth).norm() / truth.norm()) <= tolerance, name


@pytest.mark.parametrize("backend", ["tiled", "cpu"])
def test_more_than_256_gaussians_in_a_tile(backend, make, run):
    one = [value.detach() for value in make(1, 1, smallest=0.5, largest=0.9)]
    one[0] = torch.tensor([[[0.25, -0.5]]], dtype=torch.float64)
    many = [value.repeat_interleave(1000, 1).requires_grad_() for value in one]
    single = run([value.requires_grad_() for value in one], (16, 16), 3, "reference")
    feature_map, *gradients = run(many, (16, 16), 3, backend)
    torch.testing.assert_close(feature_map, 1000 * single[0])
    for gradient, expected in zip(gradients, single[1:], strict=True):
        torch.testing.assert_close(gradient, expected.expand_as(gradient))


@pytest.mark.parametrize("backend", ["tiled", "cpu"])
def test_tiles_of_very_different_lengths_and_empty_ones(backend, make, run):
    inputs = make(2, 300, smallest=0.01, largest=0.02)
    with torch.no_grad():
        inputs[0][0] = inputs[0][0] * 0.02 - 0.7  # image 0: all in one corner; image 1: spread
    expected = run(inputs, (64, 48), 3, "reference")
    assert (expected[0][0] == 0).float().mean() > 0.9
    for value, truth in zip(run(inputs, (64, 48), 3, backend), expected, strict=True):
        assert float((value - truth).norm() / truth.norm()) <= 1e-13
        assert torch.equal(value == 0, truth == 0)


@pytest.mark.parametrize("backend", ["reference", "tiled", "cpu"])
def test_nothing_on_the_canvas(backend, make, run):
    inputs = make(2, 7)
    with torch.no_grad():
        inputs[0] += 10
    for value in run(inputs, (16, 10), 3, backend):
        assert torch.equal(value, torch.zeros_like(value))
    empty = run(make(2, 0), (16, 10), 3, backend)
    assert torch.equal(empty[0], torch.zeros(2, 5, 16, 10, dtype=torch.float64))


def test_count_pairs_by_hand():
    # 16 x 24 pixels, 2 x 3 tiles. The first covers all, the second lies in the first tile, the third off the canvas.
    mu = torch.tensor([[[0.0, 0.0], [-0.9, -0.9], [3.0, 0.0]]])
    sigma = torch.tensor([[[0.5, 0.5], [0.02, 0.02], [0.1, 0.1]]])
    assert count_pairs(Gaussians(mu, sigma, torch.zeros(1, 3)), (16, 24), 3) == 6 + 1 + 0


@pytest.fixture
def two_threads():
    with torch_threads(2):
        yield


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("backend", ["reference", "tiled", "cpu"])
def test_repeat_runs_are_bitwise_equal(backend, make, run):
    # Large enough for torch to scatter gradients on two threads: plain indexing adds them atomically, in any order.
    inputs = make(2, 257, channels=32, dtype=torch.float32)
    first = run(inputs, (64, 64), 3, backend)
    for _ in range(10):
        assert all(torch.equal(a, b) for a, b in zip(first, run(inputs, (64, 64), 3, backend), strict=True))


@pytest.mark.parametrize("backend", ["reference", "tiled", "cpu"])
def test_autocast_leaves_the_geometry_in_float32(backend, make, run):
    inputs = make(1, 40, dtype=torch.float32)
    expected = run(inputs, (24, 24), 3, backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = run(inputs, (24, 24), 3, backend)
        assert all(value.dtype == torch.float32 for value in actual)
        assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))
        # What a layer under autocast hands over.
        coarse = splat(Gaussians(*inputs[:3]), inputs[3].bfloat16(), (24, 24), 3, backend)
    assert coarse.dtype == torch.float32
    # 8 bits of mantissa in the features alone: at most 2^-9 each, less on average.
    assert float((coarse.detach() - expected[0]).norm() / expected[0].norm()) <= 2**-9


@pytest.mark.parametrize("backend", ["reference", "tiled", "cpu"])
@pytest.mark.parametrize("field", ["mu", "sigma", "rho"])
def test_a_nan_shows(field, backend, make):
    inputs = [value.detach() for value in make(1, 5)]
    inputs[0].zero_()
    inputs[NAMES.index(field)][0, 2] = torch.nan
    assert splat(Gaussians(*inputs[:3]), inputs[3], (8, 8), 3, backend).isnan().any()


def test_auto_takes_the_compiled_backend(make):
    gaussians, features = (
        Gaussians(*(value.detach() for value in make(2, 9, dtype=torch.float32)[:3])),
        torch.ones(2, 9, 4),
    )
    expected = splat(gaussians, features, (16, 16), backend="cpu")
    assert torch.equal(splat(gaussians, features, (16, 16)), expected)


def test_without_numba_auto_tiles_only_where_it_pays(monkeypatch, make):
    monkeypatch.setattr(sys.modules["gpstoken.splat"], "_at_hand", lambda backend: False)
    sparse = [value.detach() for value in make(8, 128, smallest=0.02, largest=0.1)]
    wide = [sparse[0], torch.full_like(sparse[1], 0.66), *sparse[2:]]
    assert _culling_pays(Gaussians(*sparse[:3]), (64, 64), 3.0)
    assert not _culling_pays(Gaussians(*wide[:3]), (64, 64), 3.0)
    assert not _culling_pays(Gaussians(*sparse[:3]), (8, 8), 3.0)
    for (*geometry, features), backend in [(sparse, "tiled"), (wide, "reference")]:
        gaussians = Gaussians(*geometry)
        expected = splat(gaussians, features, (64, 64), backend=backend)
        assert torch.equal(splat(gaussians, features, (64, 64)), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backend": "cuda"}, r"backend must be one of auto, reference, tiled, cpu, triton, got 'cuda'"),
        ({"backend": "triton", "features": torch.zeros(2, 3, 5, device="meta")}, r"backend 'triton' needs tensors on"),
        ({"features": torch.zeros(2, 4, 5)}, r"features must be \[2, 3, C\] like the Gaussians, got \[2, 4, 5\]"),
        ({"features": torch.zeros(2, 3)}, r"features must be \[2, 3, C\]"),
        ({"size": (0, 8)}, r"size must be \(h, w\) with both >= 1, got \(0, 8\)"),
        ({"size": (8,)}, r"size must be \(h, w\)"),
        ({"support_factor": 0.0}, r"support_factor must be positive and finite, got 0.0"),
        ({"support_factor": float("nan")}, r"support_factor must be positive and finite, got nan"),
    ],
)
def test_bad_input_is_one_line(change, message):
    gaussians = Gaussians(torch.zeros(2, 3, 2), torch.ones(2, 3, 2), torch.zeros(2, 3))
    arguments = {"features": torch.zeros(2, 3, 5), "size": (8, 8)} | change
    with pytest.raises(ValueError, match=message) as error:
        splat(gaussians, **arguments)
    assert "\n" not in str(error.value)
