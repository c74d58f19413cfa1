"""Diffusion in 1000 discrete steps with a learned variance: the training loss and the sampler in fewer steps.

Sources: DDPM (Ho et al., arXiv 2006.11239), Improved DDPM (Nichol and Dhariwal, arXiv 2102.09672), and Diffusion Models
Beat GANs (Dhariwal and Nichol, arXiv 2105.05233), whose code trains DiT too. With a_t the product of 1 - beta_s over
s <= t and beta from 0.0001 to 0.02 in equal steps, the state at time t is x_t = sqrt(a_t) data + sqrt(1 - a_t) noise.
Times are 0 to 999: 999 is noise, and 0 is nearly data, against the direction of `gpstoken.flow`.

All functions take a predictor, predict(x float[B, ...], t long[B]) -> (noise, fraction), each of the shape of x: the
noise in x_t, and where the logarithm of the variance of a step lies, from 0, its least value, to 1, its largest.
`split` makes the pair from the output of a network, and `guided` a predictor for classifier-free guidance.

`diffusers.DDPMScheduler` computes the same numbers in float32 (the tests compare them), but it draws the noise itself,
from one generator for the whole batch, and it gives neither the mean nor the variance that a classifier guides.
"""

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from gpstoken.flow import Noise
from gpstoken.limits import at_least

TIMES = 1000  # times of training
PIXEL = 1 / 255  # half the distance of two values of a pixel in [-1, 1]
END = 0.999  # values beyond are the first or the last value of a pixel

Prediction = tuple[Tensor, Tensor]
Predict = Callable[[Tensor, Tensor], Prediction]


class Steps(NamedTuple):
    """The constants of a chain of n steps from noise to data, in ascending order of time.

    Attributes:
        times: long[n], the times 0 to 999 at which the predictor is called.
        remaining: float64[n], a_t, the share of the data in the variance of x_t.
        on_data: float64[n], factor of the data in the mean of the next state, given the data and x_t.
        on_state: float64[n], factor of x_t in that mean.
        least: float64[n], logarithm of the variance of the next state, given the data and x_t. The first is 0 in truth
            and has no logarithm: the second stands for it, as in the published code.
        most: float64[n], logarithm of the variance of x_t given the next state, beta of the chain.
    """

    times: Tensor
    remaining: Tensor
    on_data: Tensor
    on_state: Tensor
    least: Tensor
    most: Tensor


@cache
def steps_of(count: int) -> Steps:
    """The chain of `count` times that lie evenly from 0 to 999 and are rounded (Improved DDPM, section 4).

    Beta and the posterior are those of the chain itself: a step between distant times has a larger beta.

    Raises:
        ValueError: for fewer than 2 steps, with which no step would begin at the noise, or more than 1000.
    """
    at_least(2, TIMES).check("steps", count)
    exact = {"dtype": torch.float64, "device": "cpu"}  # even where a network is built on the meta device
    times = torch.linspace(0, TIMES - 1, count, **exact).round().long()
    remaining = (1 - torch.linspace(1e-4, 0.02, TIMES, **exact)).cumprod(0)[times]
    before = torch.cat([torch.ones(1, **exact), remaining[:-1]])
    beta = 1 - remaining / before
    least = beta * (1 - before) / (1 - remaining)  # DDPM, equation 7, as are the two factors
    least[0] = least[1]
    on_data, on_state = before.sqrt() * beta / (1 - remaining), (1 - beta).sqrt() * (1 - before) / (1 - remaining)
    return Steps(times, remaining, on_data, on_state, least.log(), beta.log())


def split(output: Tensor, axis: int = 1) -> Prediction:
    """A network's output, twice the channels of x along `axis`, to (noise, fraction); -1 to 1 becomes 0 to 1."""
    noise, fraction = output.chunk(2, dim=axis)
    return noise, (fraction + 1) / 2


def noised(data: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t of data and noise float[B, ...] at times long[B] (DDPM, equation 4)."""
    remaining = _at(steps_of(TIMES).remaining, t, data)
    return remaining.sqrt() * data + (1 - remaining).sqrt() * noise


def draw(data: Tensor, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """What one step of training draws: standard normal noise of the shape of float[B, ...], and times long[B]."""
    noise = torch.randn(data.shape, generator=chance, device=data.device)
    return noise, torch.randint(TIMES, (len(data),), generator=chance, device=data.device)


def inputs_of(shape: tuple[int, ...], batch: int) -> dict[str, Tensor]:
    """Noise of a sample's shape at random times, the same in each call, as arguments of a network: {"x", "t"}."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {"x": torch.randn(batch, *shape), "t": torch.randint(TIMES, (batch,))}


def ddpm_loss(predict: Predict, data: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """The loss of a network that predicts noise and variance (Improved DDPM, equation 16: L_simple + 0.001 L_vlb).

    The bound's gradient reaches the fraction alone. It is a sum over 1000 times, of which one is drawn, so that its
    weight is 0.001 * 1000 = 1; it is in bits. At time 0 it is the likelihood of the data rounded to 256 values from -1
    to 1, for latents too, whose likelihood it is not, but DiT was trained so.

    Args:
        predict: the predictor.
        data: float[B, ...].
        noise: standard normal, of the same shape.
        t: long[B], 0 to 999.

    Returns:
        float[B], means over all dimensions but the batch.

    Raises:
        ValueError: if the prediction has another shape than the data, or t is not [B].
    """
    if t.shape != data.shape[:1]:
        raise ValueError(f"ddpm: t must be [{len(data)}], a time for each sample, got {list(t.shape)}")
    prediction, fraction = _checked(predict(noised(data, noise, t), t), data)
    error = prediction - noise
    return (error.square() + _bound(error.detach(), fraction, data, t)).flatten(1).mean(1)


def guided(
    predict: Callable[..., Prediction],
    conditions: Mapping[str, Tensor],
    null: Mapping[str, Tensor],
    scale: float,
    channels: int | None = None,
) -> Predict:
    """The predictor for sampling with classifier-free guidance: unconditional + scale (conditional - unconditional).

    The noise is guided, the variance is the conditional one. One call has the B conditional rows followed by the B
    unconditional rows; without guidance, scale 1, it has only the conditional rows.

    Args:
        predict: (x float[R, ...], t long[R], **conditions) -> prediction, row by row.
        conditions: the conditions of the samples, each [B, ...], by name.
        null: the values that stand for no condition; other conditions are the same in both halves.
        scale: guidance scale; 1 is no guidance.
        channels: how many of the first channels (axis 1) are guided, None for all. Published DiT guides 3 of the 4
            channels of its latents, and the last one is the conditional prediction.
    """
    if scale == 1:
        return lambda x, t: predict(x, t, **conditions)
    both = {name: torch.cat([value, null.get(name, value)]) for name, value in conditions.items()}

    def network(x: Tensor, t: Tensor) -> Prediction:
        noise, fraction = predict(torch.cat([x, x]), torch.cat([t, t]), **both)
        conditional, unconditional = noise.chunk(2)
        guided_noise = unconditional + scale * (conditional - unconditional)
        if channels is not None:
            guided_noise = torch.cat([guided_noise[:, :channels], conditional[:, channels:]], dim=1)
        return guided_noise, fraction[: len(x)]

    return network


@torch.no_grad()
def sample(
    predict: Predict,
    noise: Noise,
    steps: int,
    clip: bool = False,
    gradient: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Samples by the chain of `steps` steps, without gradients.

    Args:
        predict: the predictor.
        noise: noise(0) is the start and noise(k) that of step k, 1 to steps - 1; the last step has none. Standard
            normal float[B, ...].
        steps: number of calls of the predictor, 2 to 1000.
        clip: clip the data that every step predicts to [-1, 1], as for pixels.
        gradient: classifier guidance: (x float[B, ...], t long[B]) -> the gradient of scale * log p(class | x) by x,
            which, times the variance, shifts the mean of every step (Diffusion Models Beat GANs, algorithm 1).

    Returns:
        float[B, ...], of dtype and device of noise(0).

    Raises:
        ValueError: for another number of steps, or a prediction of another shape than x.
    """
    chain = steps_of(steps)
    state = noise(0)
    for step in reversed(range(steps)):
        remaining, on_data, on_state, least, most = (float(values[step]) for values in chain[1:])
        t = torch.full((len(state),), int(chain.times[step]), device=state.device)
        predicted, fraction = _checked(predict(state, t), state)
        data = (state - math.sqrt(1 - remaining) * predicted) / math.sqrt(remaining)
        mean = on_data * (data.clamp(-1, 1) if clip else data) + on_state * state
        variance = (fraction * most + (1 - fraction) * least).exp()
        if gradient is not None:
            mean = mean + variance * gradient(state, t)
        state = mean + variance.sqrt() * noise(steps - step) if step else mean
    return state


def _bound(error: Tensor, fraction: Tensor, data: Tensor, t: Tensor) -> Tensor:
    """The term of the variational bound of time t in bits, float[B, ...]; `error` is that of the predicted noise."""
    chain = steps_of(TIMES)
    remaining, on_data, _, least, most = (_at(values, t, data) for values in chain[1:])
    logarithm = fraction * most + (1 - fraction) * least
    # Both means have the same share of x_t, so that they differ in the data alone, which differs as the noise does.
    data_error = -((1 - remaining) / remaining).sqrt() * error
    mean_error = on_data * data_error
    divergence = (logarithm - least + (least - logarithm).exp() - 1 + mean_error.square() * (-logarithm).exp()) / 2
    first = _rounded_likelihood(data, data + data_error, (logarithm / 2).exp())
    return torch.where(_spread(t == 0, data), -first, divergence) / math.log(2)


def _rounded_likelihood(data: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Logarithm of the probability of each value of a pixel; the first and the last have all beyond (DDPM, eq. 13)."""

    def below(x: Tensor) -> Tensor:
        return torch.special.ndtr((x - mean) / deviation)

    upper = torch.where(data > END, 1.0, below(data + PIXEL))
    lower = torch.where(data < -END, 0.0, below(data - PIXEL))
    return (upper - lower).clamp(min=1e-12).log()


def _checked(prediction: Prediction, x: Tensor) -> Prediction:
    for name, values in zip(("noise", "fractions"), prediction, strict=True):
        if values.shape != x.shape:
            raise ValueError(f"ddpm: the network gave {name} {list(values.shape)} for states {list(x.shape)}")
    noise, fraction = prediction
    return noise.to(x.dtype), fraction.to(x.dtype)


def _at(values: Tensor, t: Tensor, like: Tensor) -> Tensor:
    return _spread(values.to(t.device)[t].to(like.dtype), like)


def _spread(values: Tensor, like: Tensor) -> Tensor:
    """[B] to [B, 1, ...], as many dimensions as `like` has."""
    return values.reshape(-1, *(1,) * (like.dim() - 1))
