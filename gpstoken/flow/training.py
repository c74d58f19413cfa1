"""The loss that fits a network to the field of a path."""

from collections.abc import Callable

from torch import Tensor

from gpstoken.flow.fields import check
from gpstoken.flow.paths import coefficients, interpolate


def flow_loss(
    network: Callable[[Tensor, Tensor], Tensor],
    data: Tensor,
    noise: Tensor,
    t: Tensor,
    path: str = "linear",
    prediction: str = "velocity",
) -> Tensor:
    """Mean squared error of each sample's prediction (SiT, arXiv 2401.08740, section 2.2, without weights).

    The target is the velocity alpha' x1 + sigma' x0 or the noise x0. A score is multiplied by sigma, (sigma s + x0)^2,
    because its target -x0 / sigma is unbounded towards t = 1.

    Args:
        network: (x_t float[B, ...], t float[B]) -> prediction float[B, ...].
        data: x1, float[B, ...].
        noise: x0, of the same shape, standard normal.
        t: float[B], within `training_interval(path, prediction)`.
        path: "linear", "gvp" or "vp".
        prediction: "velocity", "score" or "noise".

    Returns:
        float[B], the mean over all dimensions but the batch, in float32 at least.

    Raises:
        ValueError: if path or prediction is unknown, data and noise differ in shape, t is not [B], or the network's
            output has another shape than the data.
    """
    check(path, prediction)
    if t.shape != data.shape[:1]:
        raise ValueError(f"flow: t must be [{len(data)}], a time for each sample, got {list(t.shape)}")
    x_t, velocity = interpolate(data, noise, t, path)
    output = network(x_t, t)
    if output.shape != data.shape:
        raise ValueError(f"flow: the network gave {list(output.shape)} for states {list(data.shape)}")
    if prediction == "velocity":
        error = output - velocity
    elif prediction == "noise":
        error = output - noise
    else:
        error = coefficients(path, t, data.ndim).sigma * output + noise
    return error.square().flatten(1).mean(1)
