"""The Triton renderer: on a GPU where there is one, else in Triton's interpreter (tests/conftest.py), on small maps."""

import pytest
import torch

from gpstoken.gaussians import Gaussians
from gpstoken.splat import splat

pytest.importorskip("triton")
NAMES = ("mu", "sigma", "rho", "features")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def on_device(inputs):
    return [value.detach().float().to(DEVICE).requires_grad_() for value in inputs]


# B, N, (h, w), support factor: less than a tile and more, more Gaussians than a chunk of 64, a side of one pixel.
@pytest.mark.parametrize(
    ("batch", "num_tokens", "size", "support_factor"),
    [(1, 1, (8, 8), 3), (2, 1, (1, 1), 3), (1, 63, (20, 33), 3), (2, 70, (7, 20), 5), (1, 130, (33, 1), 1)],
)
def test_equals_reference_in_float64(batch, num_tokens, size, support_factor, make, run):
    inputs = make(batch, num_tokens)
    expected = run(inputs, size, support_factor, "reference")
    actual = run(on_device(inputs), size, support_factor, "triton")
    for name, value, truth in zip(("map", *NAMES), actual, expected, strict=True):
        assert value.dtype == torch.float32
        # As of the other backends in float32: see test_splat_backends.
        error = float((value.double().cpu() - truth).norm() / truth.norm())
        assert error <= (1e-6 if name == "map" else 5e-6), name


def test_more_than_256_gaussians_in_a_tile(make, run):
    one = make(1, 1, smallest=0.5, largest=0.9)
    single = run(one, (8, 8), 3, "reference")
    many = on_device([value.repeat_interleave(300, 1) for value in one])
    feature_map, *gradients = run(many, (8, 8), 3, "triton")
    torch.testing.assert_close(feature_map.cpu(), 300 * single[0].float(), rtol=1e-5, atol=1e-5)
    for gradient, expected in zip(gradients, single[1:], strict=True):
        torch.testing.assert_close(gradient.cpu(), expected.float().expand_as(gradient), rtol=2e-5, atol=1e-5)


def test_tokens_of_merged_tiles_are_culled_by_chunks(make, run):
    # Chunks of 64 tokens that lie in one quarter each: most tiles skip three of four.
    inputs = make(1, 256, smallest=0.01, largest=0.05)
    with torch.no_grad():
        corner = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]]).repeat_interleave(64, 0)
        inputs[0].copy_(inputs[0] * 0.3 + corner)
    expected = run(inputs, (16, 16), 3, "reference")
    for value, truth in zip(run(on_device(inputs), (16, 16), 3, "triton"), expected, strict=True):
        assert float((value.double().cpu() - truth).norm() / truth.norm()) <= 5e-6


def test_repeat_runs_are_bitwise_equal(make, run):
    inputs = on_device(make(1, 40))
    first = run(inputs, (16, 16), 3, "triton")
    assert all(torch.equal(a, b) for a, b in zip(first, run(inputs, (16, 16), 3, "triton"), strict=True))


@pytest.mark.parametrize("field", ["mu", "sigma", "rho"])
def test_a_nan_shows(field, make):
    inputs = [value.detach() for value in on_device(make(1, 5))]
    inputs[0].zero_()
    inputs[NAMES.index(field)][0, 2] = torch.nan
    assert splat(Gaussians(*inputs[:3]), inputs[3], (8, 8), 3, "triton").isnan().any()


def test_nothing_to_draw(make, run):
    inputs = on_device(make(2, 7))
    with torch.no_grad():
        inputs[0] += 10
    assert all(value.count_nonzero() == 0 for value in run(inputs, (16, 10), 3, "triton"))
    assert run(on_device(make(2, 0)), (4, 5), 3, "triton")[0].shape == (2, 5, 4, 5)


def test_float64_is_refused(make):
    inputs = [value.to(DEVICE) for value in make(1, 3)]
    with pytest.raises(ValueError, match="splat: the triton backend computes in float32, got torch"):
        splat(Gaussians(*inputs[:3]), inputs[3], (8, 8), 3, "triton")
