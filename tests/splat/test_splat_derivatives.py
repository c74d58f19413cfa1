"""Derivatives beyond the gradient, and the maps of nothing and of infinite Gaussians: the same on every backend."""

import pytest
import torch
from torch.autograd import forward_ad

from gpstoken.gaussians import Gaussians
from gpstoken.splat import splat

each_backend = pytest.mark.parametrize("backend", ["reference", "tiled", "cpu"])
# torch's own functional derivatives compile a TorchScript helper of theirs when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")


def renderer(backend):
    return lambda mu, sigma, rho, features: splat(Gaussians(mu, sigma, rho), features, (5, 6), 3, backend)


def tangents(inputs):
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(value.shape, generator=generator, dtype=value.dtype) for value in inputs)


@pytest.fixture
def inputs(make):
    # Wide, so that no pixel lies on the edge of a support box, where the derivative is not defined.
    return tuple(value.detach() for value in make(2, 3, channels=2, smallest=0.9, largest=1.4))


@each_backend
def test_torch_checks_all_of_them(backend, inputs):
    inputs = [value.clone().requires_grad_() for value in inputs]
    assert torch.autograd.gradcheck(renderer(backend), inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(renderer(backend), inputs)


@each_backend
@pytest.mark.parametrize("field", range(4))
def test_forward_mode_is_the_gradient_seen_from_the_other_side(field, backend, inputs):
    # <upstream, J tangent> = <J^T upstream, tangent>, for a tangent of one argument alone.
    tangent = tangents(inputs)[field]

    def draw(value):
        return renderer(backend)(*inputs[:field], value, *inputs[field + 1 :])

    value = inputs[field].clone().requires_grad_()
    feature_map = draw(value)
    upstream = torch.randn(feature_map.shape, generator=torch.Generator().manual_seed(2), dtype=feature_map.dtype)
    (gradient,) = torch.autograd.grad((feature_map * upstream).sum(), value)
    expected = (gradient * tangent).sum()
    primal, functional = torch.func.jvp(draw, (inputs[field],), (tangent,))
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(draw(forward_ad.make_dual(inputs[field], tangent))).tangent
    assert expected.abs() > 1e-3
    torch.testing.assert_close(primal, feature_map.detach())
    for result in (functional, dual):
        torch.testing.assert_close((result * upstream).sum(), expected)


@each_backend
def test_forward_over_reverse_is_reverse_over_reverse(backend, inputs):
    def energy(*values):
        return renderer(backend)(*values).square().sum()

    directions = tangents(inputs)
    there = torch.func.jvp(torch.func.grad(energy, argnums=(0, 1, 2, 3)), inputs, directions)[1]
    leaves = [value.clone().requires_grad_() for value in inputs]
    gradients = torch.autograd.grad(energy(*leaves), leaves, create_graph=True)
    product = sum((gradient * direction).sum() for gradient, direction in zip(gradients, directions, strict=True))
    for ours, theirs in zip(torch.autograd.grad(product, leaves), there, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_jacobians_of_torch_func(inputs):
    forward, reverse = (transform(renderer("cpu"))(*inputs) for transform in (torch.func.jacfwd, torch.func.jacrev))
    torch.testing.assert_close(forward, reverse)


BACKENDS = ["reference", "tiled", "cpu", "triton", "auto"]


def draw_on(backend, inputs, size):
    """The map and the gradients of its sum; in float32, which Triton needs, on the device it runs on."""
    if backend == "triton":
        pytest.importorskip("triton")
    device = "cuda" if backend == "triton" and torch.cuda.is_available() else "cpu"
    inputs = [value.detach().float().to(device).requires_grad_() for value in inputs]
    feature_map = splat(Gaussians(*inputs[:3]), inputs[3], size, 3, backend)
    return feature_map.detach().cpu(), *(value.cpu() for value in torch.autograd.grad(feature_map.sum(), inputs))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(0, 5, 3), (2, 0, 3), (2, 5, 0), (0, 0, 0)])
def test_of_nothing_a_map_of_zeros_and_no_gradient(shape, backend, make):
    batch, num_tokens, channels = shape
    inputs = make(batch, num_tokens, channels=channels)
    feature_map, *gradients = draw_on(backend, inputs, (6, 7))
    assert torch.equal(feature_map, torch.zeros(batch, channels, 6, 7))
    for gradient, value in zip(gradients, inputs, strict=True):
        assert torch.equal(gradient, torch.zeros(value.shape))


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_infinite_sigma_is_a_weight_that_does_not_fall_off(backend):
    # One Gaussian of rho 0 with peak 1 at the middle pixel of 5 x 5, sigma_y 0.5: w = exp(-v^2 / 2), v = 2 dy.
    inputs = [torch.zeros(1, 1, 2), torch.tensor([[[torch.inf, 0.5]]]), torch.zeros(1, 1), torch.ones(1, 1, 2)]
    feature_map, to_mu, to_sigma, to_rho, _ = draw_on(backend, inputs, (5, 5))
    column = torch.tensor([2.0, 1.0, 0.0, 1.0, 2.0]).square().div(-2).exp()
    torch.testing.assert_close(feature_map, column[:, None].expand(1, 2, 5, 5))
    assert to_mu[0, 0].abs().max() <= 1e-5 and to_sigma[0, 0, 0] == 0 and to_rho.abs() <= 1e-5
    # d/d sigma_y exp(-dy^2 / (2 sigma_y^2)) = w dy^2 / sigma_y^3, over 5 columns and 2 channels
    expected = 10 * (column * torch.tensor([1.0, 0.25, 0.0, 0.25, 1.0]) / 0.125).sum()
    torch.testing.assert_close(to_sigma[0, 0, 1], expected)
    inputs[1][:] = torch.inf
    assert torch.equal(draw_on(backend, inputs, (5, 5))[0], torch.ones(1, 2, 5, 5))


# Triton's interpreter computes with NumPy, which warns of 1 / 0 and 0 / 0.
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("axis", [0, 1])
def test_a_sigma_of_zero_is_nan_where_a_pixel_lies_on_the_centre_and_nothing_elsewhere(axis, backend):
    sigma = torch.full((1, 1, 2), 0.6)
    sigma[0, 0, axis] = 0
    for centre, hit in ((0.0, True), (0.1, False)):
        inputs = [torch.full((1, 1, 2), centre), sigma, torch.zeros(1, 1), torch.ones(1, 1, 1)]
        feature_map = draw_on(backend, inputs, (5, 5))[0][0, 0]
        line = feature_map[:, 2] if axis == 0 else feature_map[2]
        assert line.isnan().all() == hit
        assert feature_map.isnan().sum() == (5 if hit else 0) and feature_map.nan_to_num(0).count_nonzero() == 0
