"""Classifier-free guidance within a time interval."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gpstoken.flow.settings import Network


def guided(
    model: Callable[..., Tensor],
    conditions: Mapping[str, Tensor],
    null: Mapping[str, Tensor],
    scale: float = 1.5,
    interval: tuple[float, float] = (0.2, 1.0),
) -> Network:
    """The guided network for sampling: unconditional + scale (conditional - unconditional) inside the interval.

    Source: Ho and Salimans, arXiv 2207.12598, equation 6 in the form of scale = 1 + w; the interval: Kynkaanniemi et
    al., arXiv 2404.07724. Inside the interval, both ends included, one call has the B conditional rows followed by the
    B unconditional rows; outside, or if scale is 1, one call has only the B conditional rows.

    Args:
        model: (x float[R, ...], t float[R], **conditions) -> prediction float[R, ...], row by row.
        conditions: the conditions of the samples, each [B, ...], by the model's argument names.
        null: the values that stand for no condition, each [B, ...]; other conditions are the same in both halves.
        scale: guidance scale; 1 is no guidance.
        interval: first and last t with guidance.

    Returns:
        (x float[B, ...], t) -> prediction float[B, ...].

    Raises:
        ValueError: if null has a name that conditions lacks, or a value of another shape.
    """
    for name, value in null.items():
        if name not in conditions or conditions[name].shape != value.shape:
            expected = list(conditions[name].shape) if name in conditions else "no such condition"
            raise ValueError(f"guidance: null {name!r} is {list(value.shape)}, but conditions have {expected}")
    low, high = interval
    both = {name: torch.cat([value, null.get(name, value)]) for name, value in conditions.items()}

    def network(x: Tensor, t: float) -> Tensor:
        if scale == 1 or not low <= t <= high:
            return model(x, x.new_full((len(x),), t), **conditions)
        output = model(torch.cat([x, x]), x.new_full((2 * len(x),), t), **both)
        conditional, unconditional = output.chunk(2)
        return unconditional + scale * (conditional - unconditional)

    return network
