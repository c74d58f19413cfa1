"""The equations: golden vectors, other people's formulas, hand-typed values. Most run on every backend."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from gpstoken.gaussians import Gaussians
from gpstoken.splat import splat
from gpstoken.splat.reference import pixel_positions

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "renderer.npz")
each_backend = pytest.mark.parametrize("backend", ["reference", "tiled", "cpu"])


def relative_error(value, expected):
    expected = torch.as_tensor(expected, dtype=torch.float64)
    return float((value.detach().double() - expected).norm() / expected.norm())


@each_backend
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("support_factor", [1, 3, 5])
@pytest.mark.parametrize("case", ["r0", "r1", "r2", "r3"])
def test_golden_map_and_gradients(case, support_factor, dtype, backend):
    # r3 is stored in float32, so 6e-8 is its own rounding. In float64 the vectors of r1 (|rho| up to 0.9999) carry the
    # 1e-12 that u^2 - 2 rho u v + v^2 loses by cancellation.
    map_tolerance, gradient_tolerance = (
        (1e-6, 5e-6) if dtype == torch.float32 else (1e-7 if case == "r3" else 1e-12, 2e-12)
    )
    if case == "r1" and dtype == torch.float32:
        # v - rho u is known to 6e-8 of v and is divided by sqrt(1 - rho^2) = 0.014: 4e-6, a few times in the gradient
        # of rho. The vectors' own allowance for these cases is 2e-4.
        gradient_tolerance = 2e-5
    names = ("sigmas", "coords", "colors")
    shape, mu, features = (torch.tensor(GOLDEN[f"{case}_{name}"], dtype=dtype)[None].requires_grad_() for name in names)
    expected = GOLDEN[f"{case}_d{support_factor}_map"]
    gaussians = Gaussians(mu, shape[..., :2], shape[..., 2])
    feature_map = splat(gaussians, features, expected.shape[:2], support_factor, backend)[0].permute(1, 2, 0)
    assert feature_map.dtype == dtype
    assert relative_error(feature_map, expected) <= map_tolerance
    if case != "r3":
        (feature_map * torch.tensor(GOLDEN[f"{case}_upstream"], dtype=dtype)).sum().backward()
        for name, value in zip(names, (shape, mu, features), strict=True):
            assert (
                relative_error(value.grad[0], GOLDEN[f"{case}_d{support_factor}_grad_{name}"]) <= gradient_tolerance
            ), name


@each_backend
@pytest.mark.parametrize("support_factor", [1, 2, 3])
def test_golden_cut_off_edge(support_factor, backend):
    shape, mu, features = (torch.tensor(GOLDEN[f"edge_{name}"])[None] for name in ("sigmas", "coords", "colors"))
    expected = torch.tensor(GOLDEN[f"edge_d{support_factor}_map"])
    gaussians = Gaussians(mu, shape[..., :2], shape[..., 2])
    for dtype in (torch.float64, torch.float32):
        feature_map = splat(gaussians, features.to(dtype), (33, 33), support_factor, backend)[0].permute(1, 2, 0)
        # Which pixels are inside is exact; their values agree to the last bits of exp.
        assert torch.equal(feature_map == 0, expected == 0)
        torch.testing.assert_close(feature_map, expected, rtol=1e-14, atol=1e-14)


@each_backend
def test_hand_typed_row(backend):
    gaussians = Gaussians(torch.zeros(1, 1, 2), torch.full((1, 1, 2), 0.5), torch.zeros(1, 1))
    features = torch.tensor([[[1.0, -2.0]]])
    half, two = math.exp(-0.5), math.exp(-2)  # one and two standard deviations; the support's edge belongs to it
    for support_factor, row in [(0.5, [0, 0, 1, 0, 0]), (1, [0, half, 1, half, 0]), (2, [two, half, 1, half, two])]:
        feature_map = splat(gaussians, features, (1, 5), support_factor, backend)
        torch.testing.assert_close(feature_map[0, 0, 0], torch.tensor(row, dtype=torch.float32))
        torch.testing.assert_close(feature_map[0, 1, 0], -2 * torch.tensor(row, dtype=torch.float32))


@each_backend
def test_sum_of_scipy_densities(backend):
    generator = torch.Generator().manual_seed(1)
    mu = torch.rand(1, 6, 2, generator=generator, dtype=torch.float64) * 2.4 - 1.2
    sigma = torch.rand(1, 6, 2, generator=generator, dtype=torch.float64) * 0.5 + 0.1
    rho = torch.tensor([[0.0, 0.5, -0.5, 0.9, -0.99, 0.99]], dtype=torch.float64)
    features = torch.randn(1, 6, 3, generator=generator, dtype=torch.float64)
    height, width = 5, 12
    points = np.stack(np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height)), -1)
    expected = np.zeros((3, height, width))
    tokens = zip(mu[0].numpy(), sigma[0].numpy(), rho[0].numpy(), features[0].numpy(), strict=True)
    for centre, (sx, sy), r, feature in tokens:
        covariance = np.array([[sx * sx, r * sx * sy], [r * sx * sy, sy * sy]])
        peak = 1 / (2 * math.pi * math.sqrt(np.linalg.det(covariance)))
        expected += feature[:, None, None] * multivariate_normal(centre, covariance).pdf(points) / peak
    feature_map = splat(Gaussians(mu, sigma, rho), features, (height, width), 1e3, backend)
    # scipy inverts covariances of condition 1e4 by eigenvalues.
    torch.testing.assert_close(feature_map[0], torch.tensor(expected), rtol=1e-10, atol=1e-11)


@each_backend
def test_gradcheck(backend):
    generator = torch.Generator().manual_seed(2)
    mu = torch.rand(2, 4, 2, generator=generator, dtype=torch.float64) * 2.4 - 1.2
    sigma = torch.rand(2, 4, 2, generator=generator, dtype=torch.float64) * 0.4 + 0.1
    rho = torch.rand(2, 4, generator=generator, dtype=torch.float64) * 1.8 - 0.9
    features = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    inputs = [value.requires_grad_() for value in (mu, sigma, rho, features)]
    # gradcheck steps by 1e-6: no pixel of this seed lies that close to a cut-off.
    assert torch.autograd.gradcheck(lambda m, s, r, f: splat(Gaussians(m, s, r), f, (5, 9), 1.5, backend), inputs)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 33, 64, 256])
def test_pixel_positions_are_rounded_doubles(count):
    expected = [np.float32(2 * i / (count - 1) - 1) if count > 1 else 0.0 for i in range(count)]
    position = pixel_positions(count, dtype=torch.float32, device=torch.device("cpu"))
    assert position.dtype == torch.float32
    assert position.tolist() == [float(value) for value in expected]
