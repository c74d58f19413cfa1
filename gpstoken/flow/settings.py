"""The options of the samplers, and the types of their arguments."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

from torch import Tensor

from gpstoken.flow.solvers import STEPS

Network = Callable[[Tensor, float], Tensor]
Noise = Callable[[int], Tensor]
Observer = Callable[[int, float, Tensor], None]

METHODS = {"sde": ("euler", "heun"), "ode": (*STEPS, "dopri5")}
DIFFUSIONS = ("sbdm", "constant", "sigma", "linear", "decreasing", "increasing-decreasing")
LAST_STEPS = ("mean", "tweedie", "euler", "none")


@dataclass(frozen=True)
class Sampling:
    """Options of the samplers.

    Attributes:
        sampler: "sde" or "ode".
        method: "euler" or "heun"; for the ODE "midpoint" and "dopri5" too.
        steps: number of points of the time grid, both ends included, at least 2. The ODE takes steps - 1 steps; the SDE
            takes as many and, unless last_step is "none", one more from the last point to t = 1, so that `steps` Euler
            steps are `steps` calls of the network. "dopri5" chooses its own steps.
        diffusion: D(t) of the SDE: "sbdm" (the diffusion whose reversal the path is; (1 - t) / t if linear),
            "constant" 1, "sigma", "linear" 1 - t, "decreasing" (cos(pi t) + 1)^2 / 4, "increasing-decreasing"
            sin(pi t)^2 (SiT, arXiv 2401.08740, section 2.4).
        diffusion_limit: upper bound of D(t) times the step; None is the released sampler. Any D >= 0 has the
            same marginals, so the continuous process loses nothing.
        last_step: the SDE's last step, without noise: "mean" is the drift, "tweedie" E[x1 | x], "euler" the ODE's step.
        last_step_size: length of that step in t.
        rtol: relative tolerance of "dopri5".
        atol: absolute tolerance of "dopri5".
    """

    sampler: str = "sde"
    method: str = "euler"
    steps: int = 250
    diffusion: str = "sbdm"
    # Early on, an Euler step multiplies the noise by 1 - D dt, and the released D dt begins at 3.85 (250 steps) or 19.6
    # (50). Largest ratio of the state's deviation to the path's, data N(0, 1), exact field, at 250 and 50 steps:
    #   None 4.00, 20.0;  1: 1.42, 1.44;  0.5: 1.15, 1.17;  0.2: 1.05, 1.07;  0.1: 1.03, 1.04;  0.02: 1.01, 1.01.
    # With an exact field the final samples recover (their deviation is 0.997 of the data's in all cases; 0.991 with
    # 0.02 at 50 steps, where too little noise is left to recover); but a network should not be evaluated that far from
    # its training distribution.
    diffusion_limit: float | None = 0.1
    last_step: str = "mean"
    last_step_size: float = 0.04
    rtol: float = 1e-3
    atol: float = 1e-6

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            ValueError: naming the first invalid value.
        """
        for name, known in (
            ("sampler", tuple(METHODS)),
            ("method", METHODS.get(self.sampler, ())),
            ("diffusion", DIFFUSIONS),
            ("last_step", LAST_STEPS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"sampling: {name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.steps < 2:
            raise ValueError(f"sampling: steps must be at least 2, got {self.steps}")
        if not 0 < self.last_step_size < 1:
            raise ValueError(f"sampling: last_step_size must be between 0 and 1, got {self.last_step_size}")
        limit = 1.0 if self.diffusion_limit is None else self.diffusion_limit
        for name, value in (("diffusion_limit", limit), ("rtol", self.rtol), ("atol", self.atol)):
            if not (value > 0 and isfinite(value)):
                raise ValueError(f"sampling: {name} must be positive and finite, got {value}")

    @property
    def total_steps(self) -> int | None:
        """How often `observe` will be called; None if that is not known beforehand ("dopri5")."""
        if self.method == "dopri5":
            return None
        return self.steps if self.sampler == "sde" and self.last_step != "none" else self.steps - 1
