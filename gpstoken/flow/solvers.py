"""Fixed-step methods and an adaptive-step solver for ordinary differential equations dx/dt = field(x, t)."""

from collections.abc import Callable
from math import isfinite, isnan

import torch
from torch import Tensor

Field = Callable[[Tensor, float], Tensor]


def euler(field: Field, x: Tensor, t: float, step: float) -> Tensor:
    """First order, one evaluation."""
    return x + step * field(x, t)


def heun(field: Field, x: Tensor, t: float, step: float) -> Tensor:
    """Second order, two evaluations: the mean of the slopes at both ends."""
    first = field(x, t)
    return x + step / 2 * (first + field(x + step * first, t + step))


def midpoint(field: Field, x: Tensor, t: float, step: float) -> Tensor:
    """Second order, two evaluations: the slope at the midpoint."""
    return x + step * field(x + step / 2 * field(x, t), t + step / 2)


def grid(start: float, end: float, points: int) -> list[float]:
    """Equally spaced times, both ends included."""
    return torch.linspace(start, end, points, dtype=torch.float64).tolist()


STEPS = {"euler": euler, "heun": heun, "midpoint": midpoint}

# Dormand and Prince, J. Comput. Appl. Math. 6 (1980) 19-26: nodes, stages (the last is the fifth-order result), and the
# weights of the error estimate; as in torchdiffeq and so the released sampler, they are two thirds of the textbook's.
_NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_STAGES = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_ERROR = (71 / 86400, 0.0, -142 / 50085, 71 / 2880, -5751 / 169600, 22 / 787.5, -1 / 60)
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 10.0


def dopri5(
    field: Field,
    x: Tensor,
    start: float,
    end: float,
    rtol: float = 1e-3,
    atol: float = 1e-6,
    observe: Callable[[int, float, Tensor], None] | None = None,
) -> Tensor:
    """Fifth order with adaptive steps (Hairer, Norsett, Wanner: Solving ODEs I, sections II.4 and II.5).

    A step is accepted when the root mean square of error / (atol + rtol max |x|) over the whole state is at most 1, as
    in torchdiffeq. So the step sizes depend on all samples of the batch, and within the tolerance each sample depends
    on its batch.

    Args:
        field: (x, t) -> dx/dt; six evaluations per step, accepted or not, and two at the start.
        x: the state at start, float[...].
        start: first time.
        end: last time, > start.
        rtol: relative tolerance, > 0.
        atol: absolute tolerance, > 0.
        observe: called with (accepted steps, t, x) after each accepted step.

    Returns:
        The state at end.

    Raises:
        ValueError: if the field is not finite, or no step is small enough for the tolerance.
    """

    def size(value: Tensor, scale: Tensor) -> float:
        return float((value / scale).square().mean().sqrt())

    slope = field(x, start)
    step = _first_step(field, x, slope, (start, end), atol + rtol * x.abs(), size)
    t, taken = start, 0
    while t < end:
        last = t + step >= end
        step = end - t if last else step
        if t + step == t:
            raise ValueError(f"dopri5: no step at t = {t:.6g} meets rtol {rtol:g} and atol {atol:g}")
        slopes = [slope]
        for node, weights in zip(_NODES[1:], _STAGES[1:], strict=True):
            proposal = x + step * _combine(weights, slopes)
            slopes.append(field(proposal, t + node * step))
        error = size(step * _combine(_ERROR, slopes), atol + rtol * torch.maximum(x.abs(), proposal.abs()))
        if isnan(error):
            raise ValueError(f"dopri5: the prediction at t = {t:.6g} to {t + step:.6g} is not finite")
        if error <= 1:
            # The last stage is the new state, and its slope the first slope of the next step.
            x, slope, t, taken = proposal, slopes[-1], end if last else t + step, taken + 1
            if observe is not None:
                observe(taken, t, x)
        factor = _GROW if error == 0 else _SAFETY * error**-0.2
        step *= min(_GROW, max(factor, _SHRINK if error > 1 else 1.0))
    return x


def _combine(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    return sum(weight * slope for weight, slope in zip(weights, slopes, strict=True) if weight)


def _first_step(
    field: Field, x: Tensor, slope: Tensor, interval: tuple[float, float], scale: Tensor, size: Callable
) -> float:
    """Hairer's first step: an explicit Euler step of 1 % of the state, corrected by the curvature at its end."""
    start, end = interval
    state, speed = size(x, scale), size(slope, scale)
    if not isfinite(speed):
        raise ValueError(f"dopri5: the prediction at t = {start:.6g} is not finite")
    trial = 1e-6 if min(state, speed) < 1e-5 else min(0.01 * state / speed, end - start)
    curvature = size(field(x + trial * slope, start + trial) - slope, scale) / trial
    fastest = max(speed, curvature)
    step = max(1e-6, trial * 1e-3) if fastest <= 1e-15 else (0.01 / fastest) ** 0.2
    return min(100 * trial, step)
