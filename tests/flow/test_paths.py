import math

import pytest
import torch

from gpstoken.flow import convert, interpolate, sampling_interval, training_interval
from gpstoken.flow.fields import PREDICTIONS
from gpstoken.flow.paths import PATHS, coefficients

TIMES = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)


@pytest.mark.parametrize(
    ("path", "t", "alpha", "sigma"),
    [
        ("linear", 0.25, 0.25, 0.75),
        ("gvp", 1 / 3, 0.5, math.sqrt(3) / 2),
        ("gvp", 0.5, math.sqrt(0.5), math.sqrt(0.5)),
        # log alpha(0) = -19.9 / 4 - 0.05 = -5.025
        ("vp", 0.0, math.exp(-5.025), math.sqrt(1 - math.exp(-10.05))),
        # log alpha(1 / 2) = -19.9 / 16 - 0.025 = -1.26875
        ("vp", 0.5, math.exp(-1.26875), math.sqrt(1 - math.exp(-2.5375))),
    ],
)
def test_coefficients_by_hand(path, t, alpha, sigma):
    ours = coefficients(path, t)
    assert float(ours.alpha) == pytest.approx(alpha, abs=1e-15)
    assert float(ours.sigma) == pytest.approx(sigma, abs=1e-15)


@pytest.mark.parametrize("path", PATHS)
def test_derivatives_are_those_of_automatic_differentiation(path):
    times = TIMES.clone().requires_grad_()
    ours = coefficients(path, times)
    torch.testing.assert_close(ours.d_alpha, torch.autograd.grad(ours.alpha.sum(), times, retain_graph=True)[0])
    torch.testing.assert_close(ours.d_sigma, torch.autograd.grad(ours.sigma.sum(), times, retain_graph=True)[0])


def test_vp_keeps_its_digits_in_single_precision_near_data():
    # 1 - t is rounded before anything is computed: 2^-24 of 1 in 1e-4. sqrt(1 - alpha^2) itself would be off by 0.3 %.
    t = torch.tensor(1 - 1e-4)
    exact = coefficients("vp", t.double()).sigma
    assert float(coefficients("vp", t).sigma) == pytest.approx(float(exact), rel=1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_paths_lead_from_noise_to_data(path):
    data, noise = torch.full((2, 3), 5.0), torch.full((2, 3), -2.0)
    # VP begins with alpha = 0.0066 of the data.
    torch.testing.assert_close(interpolate(data, noise, 0.0, path)[0], noise, atol=0.04 if path == "vp" else 0, rtol=0)
    end = interpolate(data, noise, torch.tensor([1.0, 0.5]), path)[0]
    torch.testing.assert_close(end[0], data[0])
    assert not torch.allclose(end[1], data[1])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("source", PREDICTIONS)
def test_conversions_agree_with_the_closed_form_of_a_mixture(mixture, path, source):
    x = torch.randn(64, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for t in (0.05, 0.4, 0.95):
        value = mixture.predict(source, path, x, t)
        for target in PREDICTIONS:
            expected = mixture.predict(target, path, x, t)
            # Conversions divide by alpha or sigma, 0.0108 at the least: two to four of sixteen digits.
            torch.testing.assert_close(convert(value, x, t, source, target, path), expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("source", PREDICTIONS)
def test_conversions_go_round_with_a_time_for_each_sample(path, source):
    generator = torch.Generator().manual_seed(1)
    x, value = torch.randn(2, 25, 3, 4, dtype=torch.float64, generator=generator)
    for target in PREDICTIONS:
        there = convert(value, x, TIMES, source, target, path)
        torch.testing.assert_close(convert(there, x, TIMES, target, source, path), value, atol=1e-10, rtol=1e-10)
        row = convert(value[7:8], x[7:8], float(TIMES[7]), source, target, path)
        torch.testing.assert_close(there[7:8], row)


@pytest.mark.parametrize("path", PATHS)
def test_data_come_back_from_every_prediction(path):
    generator = torch.Generator().manual_seed(2)
    data, noise = torch.randn(2, 25, 6, dtype=torch.float64, generator=generator)
    x_t, velocity = interpolate(data, noise, TIMES, path)
    sigma = coefficients(path, TIMES, 2).sigma
    for source, value in {"velocity": velocity, "noise": noise, "score": -noise / sigma}.items():
        torch.testing.assert_close(convert(value, x_t, TIMES, source, "data", path), data, atol=1e-10, rtol=1e-10)


def test_a_time_does_not_change_the_precision_of_states():
    x = torch.ones(2, 3)
    assert convert(x, x, 0.5, "velocity", "score").dtype == torch.float32
    assert interpolate(x, x, 0.5)[0].dtype == torch.float32


def test_intervals_are_finite_everywhere_inside():
    x = torch.ones(1, 1, dtype=torch.float64)
    for path in PATHS:
        for prediction in PREDICTIONS:
            assert training_interval(path, prediction)[1] >= sampling_interval(path, prediction)[1]
            for t in sampling_interval(path, prediction):
                assert convert(x, x, t, prediction, "velocity", path).isfinite().all()
    assert sampling_interval() == training_interval() == (0.0, 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: interpolate(x, x, 0.5, "straight"), "path must be one of linear, gvp, vp, got 'straight'"),
        (lambda x: interpolate(x, x[:, :1], 0.5), r"data \[2, 3\] and noise \[2, 1\]"),
        (lambda x: convert(x, x, 0.5, "v", "score"), "prediction must be one of velocity, score, noise, got 'v'"),
        (lambda x: convert(x, x, 0.5, "score", "x1"), "target must be one of velocity, score, noise, data, got 'x1'"),
        (lambda x: training_interval("linear", "data"), "prediction must be one of"),
    ],
)
def test_bad_names_and_shapes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.ones(2, 3))
