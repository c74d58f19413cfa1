"""Sampling: integrates the ODE of a path, or one of the SDEs that share its marginals, from noise to data."""

from itertools import pairwise

import torch
from torch import Tensor

from gpstoken.flow import stochastic
from gpstoken.flow.fields import convert, sampling_interval
from gpstoken.flow.settings import Network, Noise, Observer, Sampling
from gpstoken.flow.solvers import STEPS, dopri5, grid


@torch.no_grad()
def sample(
    network: Network,
    noise: Noise,
    sampling: Sampling,
    path: str = "linear",
    prediction: str = "velocity",
    observe: Observer | None = None,
) -> Tensor:
    """Integrates from noise at t = 0 to samples at t = 1, without gradients, storing only the current state.

    Args:
        network: (x float[B, ...], t) -> prediction of the same shape; called once for every evaluation of the drift,
            because one prediction gives both the velocity and the score.
        noise: noise(0) is the start; noise(k), k >= 1, is the noise of step k of an SDE. Standard normal float[B, ...].
        sampling: options of the sampler.
        path: "linear", "gvp" or "vp", as trained.
        prediction: "velocity", "score" or "noise", as trained.
        observe: called with (step number from 1, t reached, state) after each step, the last one included.

    Returns:
        Samples float[B, ...], of dtype and device of noise(0).

    Raises:
        ValueError: if path or prediction is unknown, the network's output differs from the state in shape, or "dopri5"
            meets values that are not finite.
    """
    start, end = sampling_interval(path, prediction)
    state = noise(0)

    def predict(x: Tensor, t: float) -> Tensor:
        value = network(x, t)
        if value.shape != x.shape:
            raise ValueError(f"sample: the network gave {list(value.shape)} for states {list(x.shape)}")
        return value.to(x.dtype)

    def velocity(x: Tensor, t: float) -> Tensor:
        return convert(predict(x, t), x, t, prediction, "velocity", path)

    if sampling.sampler == "sde":
        return stochastic.integrate(predict, state, noise, sampling, path, prediction, observe)
    if sampling.method == "dopri5":
        return dopri5(velocity, state, start, end, sampling.rtol, sampling.atol, observe)
    times = grid(start, end, sampling.steps)
    for number, (t, following) in enumerate(pairwise(times), 1):
        state = STEPS[sampling.method](velocity, state, t, following - t)
        if observe is not None:
            observe(number, following, state)
    return state
