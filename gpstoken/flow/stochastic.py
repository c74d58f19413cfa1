"""Stochastic samplers: the SDEs that share the marginals of a path."""

from math import cos, pi, sin

from torch import Tensor

from gpstoken.flow.fields import convert, sampling_interval
from gpstoken.flow.paths import coefficients
from gpstoken.flow.settings import Network, Noise, Observer, Sampling
from gpstoken.flow.solvers import STEPS, grid

# Where alpha(0) = 0, the diffusion "sbdm" is infinite at t = 0, so the released sampler starts at this t. The score is
# undefined at t = 1: without a last step the grid ends at the same distance from it.
MARGIN = 1e-3


def integrate(
    predict: Network,
    state: Tensor,
    noise: Noise,
    sampling: Sampling,
    path: str,
    prediction: str,
    observe: Observer | None,
) -> Tensor:
    """Integrates dx = [v + D s] dt + sqrt(2 D) dW, which has the path's marginals for every D(t) >= 0.

    Source: SiT, arXiv 2401.08740, section 2.1. "heun" adds the noise first and then takes Heun's step of the drift.
    """
    start = sampling_interval(path, prediction)[0]
    if sampling.diffusion == "sbdm" and float(coefficients(path, 0.0).alpha) == 0:
        start = max(start, MARGIN)
    end = 1 - MARGIN if sampling.last_step == "none" else 1 - sampling.last_step_size
    times = grid(start, end, sampling.steps)
    length = times[1] - times[0]

    def diffusion(t: float, step: float) -> float:
        value = diffusion_at(sampling.diffusion, path, t)
        return value if sampling.diffusion_limit is None else min(value, sampling.diffusion_limit / step)

    def drift(x: Tensor, t: float, step: float) -> Tensor:
        value = predict(x, t)
        score = convert(value, x, t, prediction, "score", path)
        return convert(value, x, t, prediction, "velocity", path) + diffusion(t, step) * score

    for number, t in enumerate(times[:-1], 1):
        kick = (2 * diffusion(t, length) * length) ** 0.5
        if sampling.method == "heun":
            state = STEPS["heun"](lambda x, t: drift(x, t, length), state + kick * noise(number), t, length)
        else:
            state = state + length * drift(state, t, length) + kick * noise(number)
        if observe is not None:
            observe(number, times[number], state)
    if sampling.last_step == "none":
        return state
    step = 1 - end
    if sampling.last_step == "mean":
        state = state + step * drift(state, end, step)
    else:
        value = predict(state, end)
        if sampling.last_step == "euler":
            state = state + step * convert(value, state, end, prediction, "velocity", path)
        else:
            state = convert(value, state, end, prediction, "data", path)
    if observe is not None:
        observe(sampling.steps, 1.0, state)
    return state


def diffusion_at(form: str, path: str, t: float) -> float:
    """D(t), one of `settings.DIFFUSIONS` (SiT, arXiv 2401.08740, section 2.4)."""
    alpha, sigma, d_alpha, d_sigma = (float(value) for value in coefficients(path, t))
    match form:
        case "sbdm":
            return sigma**2 * d_alpha / alpha - sigma * d_sigma
        case "constant":
            return 1.0
        case "sigma":
            return sigma
        case "linear":
            return 1 - t
        case "decreasing":
            return (cos(pi * t) + 1) ** 2 / 4
        case _:
            return sin(pi * t) ** 2
