"""The quantities that a network may predict, the conversions between them, and the times at which these are defined.

Velocity, score and noise predictions are three forms of the same unknown: with e = E[x0 | x_t] the score is -e / sigma
and the velocity alpha' E[x1 | x_t] + sigma' e (SiT, arXiv 2401.08740, section 2.2).
"""

from torch import Tensor

from gpstoken.flow.paths import PATHS, coefficients

PREDICTIONS = ("velocity", "score", "noise")

# Where the formulas divide by zero: alpha(0) = 0 ("linear", "gvp"; score or noise to velocity), sigma(1) = 0 (all; any
# score), d_sigma(1) ("vp"). Training and sampling keep this distance from those times, the margins of SiT's code.
_WHOLE, _INSIDE = (0.0, 1.0), (1e-3, 1 - 1e-3)
TRAINING_INTERVALS = {
    "linear": {"velocity": _WHOLE, "score": _INSIDE, "noise": _INSIDE},
    "gvp": {"velocity": _WHOLE, "score": _INSIDE, "noise": _INSIDE},
    "vp": dict.fromkeys(PREDICTIONS, (0.0, 1 - 1e-5)),
}
SAMPLING_INTERVALS = {
    "linear": TRAINING_INTERVALS["linear"],
    "gvp": TRAINING_INTERVALS["gvp"],
    "vp": dict.fromkeys(PREDICTIONS, (0.0, 1 - 1e-3)),
}


def check(path: str, prediction: str) -> None:
    """Raises a ValueError for a path or a prediction that does not exist."""
    for name, value, known in (("path", path, tuple(PATHS)), ("prediction", prediction, PREDICTIONS)):
        if value not in known:
            raise ValueError(f"flow: {name} must be one of {', '.join(known)}, got {value!r}")


def training_interval(path: str = "linear", prediction: str = "velocity") -> tuple[float, float]:
    """The first and last t of training.

    Raises:
        ValueError: if the path or the prediction is unknown.
    """
    check(path, prediction)
    return TRAINING_INTERVALS[path][prediction]


def sampling_interval(path: str = "linear", prediction: str = "velocity") -> tuple[float, float]:
    """The first and last t at which a prediction gives the velocity, where an ODE sampler starts and ends.

    Raises:
        ValueError: if the path or the prediction is unknown.
    """
    check(path, prediction)
    return SAMPLING_INTERVALS[path][prediction]


def convert(value: Tensor, x: Tensor, t: float | Tensor, source: str, target: str, path: str = "linear") -> Tensor:
    """Converts one kind of prediction to another, at the same state and time.

    Args:
        value: the prediction, float[B, ...].
        x: the state x_t, of the same shape.
        t: one time for all, or float[B]; it must not be a time at which a conversion divides by zero: alpha = 0 when
            velocity or data are computed from score or noise, sigma = 0 for the score.
        source: the kind of `value`: "velocity", "score" or "noise".
        target: the kind to return: one of those, or "data", E[x1 | x_t].
        path: "linear", "gvp" or "vp".

    Returns:
        float[B, ...]; `value` itself if source equals target.

    Raises:
        ValueError: if source, target or path is unknown.
    """
    check(path, source)
    if target not in (*PREDICTIONS, "data"):
        raise ValueError(f"flow: target must be one of {', '.join(PREDICTIONS)}, data, got {target!r}")
    if source == target:
        return value
    alpha, sigma, d_alpha, d_sigma = coefficients(path, t, x.ndim)
    # x = alpha x1 + sigma x0 and v = alpha' x1 + sigma' x0, solved for x0 and x1; the determinant is never 0.
    determinant = alpha * d_sigma - d_alpha * sigma
    if source == "velocity" and target == "data":
        return (d_sigma * x - sigma * value) / determinant
    if source == "velocity":
        noise = (alpha * value - d_alpha * x) / determinant
    else:
        noise = value if source == "noise" else -sigma * value
    if target == "velocity":
        return (d_alpha * x + determinant * noise) / alpha
    if target == "data":
        return (x - sigma * noise) / alpha
    return noise if target == "noise" else -noise / sigma
