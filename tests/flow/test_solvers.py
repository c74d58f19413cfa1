import math
from itertools import pairwise

import pytest
import torch
from torchdiffeq import odeint

from gpstoken.flow.solvers import STEPS, dopri5, grid


def field(x, t):
    """Neither linear nor autonomous, smooth."""
    return torch.sin(x.flip(-1)) * (1 + float(t)) - x * math.cos(5 * float(t))


def start():
    return torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("ours", "theirs"), [("euler", "euler"), ("midpoint", "midpoint"), ("heun", "heun2")])
def test_fixed_steps_are_those_of_torchdiffeq(ours, theirs):
    times, x, states = grid(0.0, 1.0, 9), start(), [start()]
    for before, after in pairwise(times):
        x = STEPS[ours](field, x, before, after - before)
        states.append(x)
    expected = odeint(lambda t, x: field(x, t), start(), torch.tensor(times, dtype=torch.float64), method=theirs)
    torch.testing.assert_close(torch.stack(states), expected)


@pytest.mark.parametrize(("rtol", "atol"), [(1e-3, 1e-6), (1e-6, 1e-9)])
def test_adaptive_steps_are_those_of_torchdiffeq(rtol, atol):
    ours, theirs, states = [], [], []

    def record(times):
        return lambda t, x: (times.append(float(t)), field(x, t))[1]

    def observe(number, t, x):
        states.append((number, t, x))

    end = dopri5(lambda x, t: record(ours)(t, x), start(), 0.0, 2.0, rtol, atol, observe)
    span = torch.tensor([0.0, 2.0], dtype=torch.float64)
    expected = odeint(record(theirs), start(), span, method="dopri5", rtol=rtol, atol=atol)
    # The same evaluations, but those of the last step: torchdiffeq steps past the end, if need be in two attempts, and
    # interpolates. It multiplies steps by factors in float32.
    assert (len(ours) - 2) % 6 == 0
    assert ours[:-6] == pytest.approx(theirs[: len(ours) - 6], rel=1e-6)
    assert 0 <= len(theirs) - len(ours) <= 6
    torch.testing.assert_close(end, expected[-1], rtol=10 * rtol, atol=10 * rtol)
    assert [number for number, _, _ in states] == list(range(1, len(states) + 1))
    assert states[-1][1] == 2.0
    assert states[-1][2] is end
    # Between steps the solution itself, from a solver that agrees with itself at 1e-12.
    exact = odeint(
        lambda t, x: field(x, t),
        start(),
        torch.tensor([0.0, *(t for _, t, _ in states)], dtype=torch.float64),
        method="dopri5",
        rtol=1e-11,
        atol=1e-12,
    )
    # Up to 18 steps, each off by at most rtol of states up to 5.
    torch.testing.assert_close(torch.stack([x for _, _, x in states]), exact[1:], rtol=0, atol=90 * rtol)


def test_adaptive_steps_reject_what_is_too_long():
    # A bump after nothing: steps have grown tenfold each when they meet it. Its integral is sqrt(pi).
    calls = []

    def bump(x, t):
        calls.append(t)
        return torch.full_like(x, math.exp(-(((t - 0.5) / 0.1) ** 2)) * 10)

    end = dopri5(bump, torch.ones(3, dtype=torch.float64), 0.0, 1.0, 1e-6, 1e-9)
    torch.testing.assert_close(end, torch.full_like(end, 1 + math.sqrt(math.pi)), atol=1e-4, rtol=0)
    assert any(later < earlier - 0.01 for earlier, later in pairwise(calls))


def test_a_field_that_stands_still_ends_at_once():
    x = torch.ones(2, 2)
    calls = []
    end = dopri5(lambda x, t: (calls.append(t), torch.zeros_like(x))[1], x, 0.0, 1.0)
    assert torch.equal(end, x)
    assert max(calls) <= 1.0
    assert len(calls) < 60


def test_what_has_no_solution_is_an_error():
    with pytest.raises(ValueError, match=r"dopri5: the prediction at t = 0 to .* is not finite"):
        dopri5(lambda x, t: x * math.nan if t > 0.01 else x, torch.ones(3), 0.0, 1.0)
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match=r"no step at t = .* meets rtol 1e-05 and atol 1e-08"):
        dopri5(
            lambda x, t: 1e15 * torch.randn(3, generator=generator) / (1 - t),
            torch.ones(3).double(),
            0.5,
            1.0,
            1e-5,
            1e-8,
        )
