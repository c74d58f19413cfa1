import math
import weakref
from itertools import pairwise

import pytest
import torch
from torchdiffeq import odeint

from gpstoken.flow import SampleNoise, Sampling, sample
from gpstoken.flow.paths import PATHS

COUNT = 5_000


def normals(draw):
    """Reproducible, and many of them fast."""
    return torch.randn(COUNT, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(draw))


def assert_moments(samples, mixture, bias):
    # The mean of n samples deviates by sqrt(C / n). A covariance deviates by sqrt((C_ii C_jj + C_ij^2) / n) for a
    # Gaussian, and the mixture's tails are lighter. Four deviations; one run in about 3000 numbers is beyond. `bias` is
    # what the finite steps may add, in units of the covariance.
    spread = mixture.covariance.diagonal()
    assert ((samples.mean(0) - mixture.mean).abs() < 4 * (spread / COUNT).sqrt() + bias * spread.sqrt()).all()
    covariance = samples.T.cov()
    expected = mixture.covariance
    tolerance = 4 * ((spread[:, None] * spread + expected**2) / COUNT).sqrt()
    assert ((covariance - expected).abs() < tolerance + bias * (spread[:, None] * spread).sqrt()).all()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling("ode", "heun", 60),
        Sampling("ode", "midpoint", 60),
        Sampling("ode", "dopri5"),
        Sampling("sde", "euler", 200, last_step="tweedie"),
        Sampling("sde", "heun", 60, last_step="tweedie"),
        Sampling("sde", "euler", 200, "sigma", last_step="euler"),
    ],
    ids=lambda sampling: f"{sampling.sampler}-{sampling.method}-{sampling.diffusion}",
)
def test_samplers_recover_a_mixture(mixture, path, sampling):
    # Bias allowed: the last step (0.04) leaves out the posterior's variance, sigma^2 / alpha^2 = 0.2 to 2 %, and VP
    # ends with 0.01 of noise.
    samples = sample(mixture.network(path=path), normals, sampling, path)
    assert_moments(samples, mixture, bias=0.02)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sampling", [Sampling("ode", "heun", 20), Sampling(steps=20), Sampling("sde", "heun", 20)])
def test_samples_do_not_depend_on_what_the_network_predicts(mixture, path, sampling):
    def noise(draw):
        return normals(draw)[:50]

    scores = sample(mixture.network("score", path), noise, sampling, path, "score")
    noises = sample(mixture.network("noise", path), noise, sampling, path, "noise")
    # One field in float64, and one time grid.
    torch.testing.assert_close(scores, noises, atol=1e-8, rtol=1e-8)
    velocities = sample(mixture.network("velocity", path), noise, sampling, path, "velocity")
    if sampling.sampler == "sde" or path == "vp":
        torch.testing.assert_close(scores, velocities, atol=1e-8, rtol=1e-8)
    else:
        # Scores start and stop 0.001 inside: the states there differ by 0.001 of velocities up to about 5 and 2.
        torch.testing.assert_close(scores, velocities, atol=2e-2, rtol=0)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2), ("midpoint", 2)])
@pytest.mark.parametrize("path", ["linear", "gvp"])
def test_order_of_convergence(mixture, path, method, order):
    start = normals(0)[:9]

    def field(t, x):
        return mixture.predict("velocity", path, x, t)

    span = torch.tensor([0.0, 1.0], dtype=torch.float64)
    truth = odeint(field, start, span, method="dopri8", rtol=1e-10, atol=1e-11)[-1]

    def error(points):
        end = sample(mixture.network(path=path), lambda _: start, Sampling("ode", method, points), path)
        return float((end - truth).square().mean().sqrt())

    errors = [error(points) for points in (33, 65, 129)]
    for coarse, fine in pairwise(errors):
        # Half the step leaves 2^-order of the error; the next term of the expansion is some percents of it.
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)


def test_the_adaptive_ode_has_the_closed_form_of_a_gaussian(gaussian):
    # The flow takes z at t = 0 to m + s z.
    start = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    end = sample(gaussian.network(), lambda _: start, Sampling("ode", "dopri5", rtol=1e-6))
    torch.testing.assert_close(end, 0.7 + 0.5 * start, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("sampling", "calls"),
    [
        (Sampling("sde", "euler", 250), 250),
        (Sampling("sde", "euler", 250, last_step="tweedie"), 250),
        (Sampling("sde", "euler", 250, last_step="none"), 249),
        (Sampling("sde", "heun", 50), 2 * 49 + 1),
        (Sampling("ode", "euler", 50), 49),
        (Sampling("ode", "heun", 50), 98),
        (Sampling("ode", "midpoint", 50), 98),
    ],
)
def test_one_call_for_each_evaluation_and_one_live_state(sampling, calls):
    seen, states, moments = [], [], []

    def network(x, t):
        seen.append(t)
        return -x

    def observe(number, t, x):
        moments.append((number, t))
        # Nobody keeps what was before.
        assert all(state() is None for state in states)
        states.append(weakref.ref(x))

    noise = SampleNoise(0, range(2), (3,))
    end = sample(network, noise, sampling, observe=observe)
    assert len(seen) == calls
    assert seen == pytest.approx(sorted(seen))
    assert [number for number, _ in moments] == list(range(1, sampling.total_steps + 1))
    assert moments[-1][1] == (0.999 if sampling.last_step == "none" else 1.0)
    assert states[-1]() is end
    assert not end.requires_grad


def test_dopri5_does_not_know_its_steps_beforehand(gaussian):
    moments = []
    sample(
        gaussian.network(),
        lambda _: torch.ones(4, 1),
        Sampling("ode", "dopri5"),
        observe=lambda *m: moments.append(m[:2]),
    )
    assert Sampling("ode", "dopri5").total_steps is None
    assert moments[-1] == (len(moments), 1.0)


def test_a_sample_does_not_depend_on_its_batch(mixture):
    whole = sample(mixture.network(), SampleNoise(3, range(6), (2,)), Sampling(steps=30))
    part = sample(mixture.network(), SampleNoise(3, [4, 1], (2,)), Sampling(steps=30))
    # One field, evaluated in float64 and rounded to float32; sums of other batches may round otherwise.
    torch.testing.assert_close(part, whole[[4, 1]], atol=1e-5, rtol=1e-5)


def test_states_stay_in_single_precision_under_a_half_precision_network():
    end = sample(lambda x, t: x.bfloat16(), SampleNoise(0, range(2), (3,)), Sampling(steps=5))
    assert end.dtype == torch.float32


def test_gradients_are_not_kept():
    weight = torch.ones(3, requires_grad=True)
    assert not sample(lambda x, t: x * weight, SampleNoise(0, [0], (3,)), Sampling(steps=3)).requires_grad


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": "pde"}, "sampling: sampler must be one of sde, ode, got 'pde'"),
        ({"method": "midpoint"}, "method must be one of euler, heun, got 'midpoint'"),
        ({"sampler": "ode", "method": "rk4"}, "method must be one of euler, heun, midpoint, dopri5, got 'rk4'"),
        ({"diffusion": "SBDM"}, "diffusion must be one of sbdm, constant"),
        ({"last_step": None}, "last_step must be one of mean, tweedie, euler, none, got None"),
        ({"steps": 1}, "steps must be at least 2, got 1"),
        ({"last_step_size": 0.0}, "last_step_size must be between 0 and 1"),
        ({"diffusion_limit": 0.0}, "diffusion_limit must be positive and finite, got 0.0"),
        ({"rtol": math.nan}, "rtol must be positive"),
    ],
)
def test_settings_that_cannot_be_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**arguments)


@pytest.mark.parametrize("sampling", [Sampling(steps=3), Sampling("ode", "dopri5"), Sampling("ode", "heun", 3)])
def test_a_network_of_another_shape_is_named(sampling):
    with pytest.raises(ValueError, match=r"the network gave \[2, 1\] for states \[2, 3\]"):
        sample(lambda x, t: x[:, :1], SampleNoise(0, range(2), (3,)), sampling)
