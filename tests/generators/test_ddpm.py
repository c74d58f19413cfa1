"""The discrete diffusion against diffusers' scheduler, the formulas of the papers, and Gaussian data solved exactly."""

import math

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers import scheduling_ddpm
from scipy.stats import norm

from gpstoken.flow import SampleNoise
from gpstoken.generators.ddpm import ddpm_loss, guided, noised, sample, split, steps_of

# Data N(MEAN, DEVIATION^2) in each dimension, independent.
MEAN, DEVIATION = 0.4, 0.5
SHAPE = (2, 3, 3)
# Independent of the code: beta from 0.0001 to 0.02.
BETA = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
REMAINING = torch.cumprod(1 - BETA, 0)


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scheduler(**options):
    return DDPMScheduler(
        1000, 1e-4, 0.02, "linear", variance_type="learned_range", timestep_spacing="linspace", **options
    )


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("steps", [2, 7, 50, 250, 1000])
def test_a_step_is_that_of_diffusers(steps, clip, monkeypatch):
    """The same output and noise go into both; times, means, variances of learned range and the last step are equal."""
    oracle = scheduler(clip_sample=clip)
    oracle.set_timesteps(steps)
    # Its constants are computed in float32, in which 1 - a_0 = 1e-4 has 10 bits less. Here they are given exactly.
    oracle.alphas_cumprod, oracle.one = REMAINING, torch.ones((), dtype=torch.float64)
    draws = [seeded(4, *SHAPE, seed=draw) for draw in range(steps)]
    outputs = {}

    def predict(x, t):
        assert len(set(t.tolist())) == 1
        # A network whose predictions stay in range and depend on time and state.
        output = torch.cat([torch.tanh(x) + 0.1, torch.sin(3 * x + t.view(-1, 1, 1, 1))], dim=1)
        outputs[int(t[0])] = output
        return split(output)

    ours = sample(predict, lambda draw: draws[draw], steps, clip)
    assert list(outputs) == oracle.timesteps.tolist()
    state = draws[0]
    for draw, t in enumerate(oracle.timesteps, 1):
        noise = draws[draw] if t > 0 else None
        monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *_, noise=noise, **__: noise)
        output = torch.cat([torch.tanh(state) + 0.1, torch.sin(3 * state + t)], dim=1)
        state = oracle.step(output, t, state).prev_sample
    # float64: sums of few terms a step, each off by 2^-53 of numbers below 100 (1 / sqrt(a_999) = 158 times the noise
    # in the first), and a network of slope up to 3 in the logarithm of the variance; 1e-9 allows for a million-fold.
    torch.testing.assert_close(ours, state, rtol=0, atol=1e-9)
