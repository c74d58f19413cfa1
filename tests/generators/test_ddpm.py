"""The discrete diffusion against diffusers' scheduler, the formulas of the papers, and Gaussian data solved exactly."""

import math

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers import scheduling_ddpm
from scipy.stats import norm

from gpstoken.flow import SampleNoise
from gpstoken.generators.ddpm import ddpm_loss, guided, noised, sample, split

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


def chain_of(steps):
    """Times, a_t, a of the next state, beta and the least variance of a chain, in ascending order of time."""
    times = torch.tensor([round(999 * step / (steps - 1)) for step in range(steps)])
    a = REMAINING[times]
    before = torch.cat([torch.ones(1, dtype=torch.float64), a[:-1]])
    beta = 1 - a / before
    return times, a, before, beta, beta * (1 - before) / (1 - a)


def slope_of(a, deviation):
    """Slope of the mean of the data given x_t, in x_t."""
    return a**0.5 * deviation**2 / (a * deviation**2 + 1 - a)


def exact_variance(steps, deviation):
    """The variance of the next state given x_t, for Gaussian data; it lies between the least one and beta."""
    _, a, before, beta, least = chain_of(steps)
    return least + before * beta**2 / (1 - a) * deviation**2 / (a * deviation**2 + 1 - a)


def moments_of(steps, fraction=None, tilt=0.0, mean=MEAN, deviation=DEVIATION):
    """Mean and variance of samples of Gaussian data, by the formulas of the papers, in one dimension.

    Every step is linear in the state: the data are predicted as their mean given x_t, the mean of the next state is
    that of equation 7 of DDPM, shifted as in algorithm 1 of Diffusion Models Beat GANs, and the noise has the exact
    variance, or that of a fraction. The start is N(0, 1), and the last step has no noise.
    """
    _, a, before, beta, least = chain_of(steps)
    variances = exact_variance(steps, deviation)
    if fraction is not None:
        variances = torch.exp(fraction * beta.log() + (1 - fraction) * least.clamp(min=1e-30).log())
    centre, variance = 0.0, 1.0
    for step in reversed(range(steps)):
        slope = slope_of(a[step], deviation)
        on_data = before[step].sqrt() * beta[step] / (1 - a[step])
        on_state = (a[step] / before[step]).sqrt() * (1 - before[step]) / (1 - a[step])
        centre = on_data * (mean + slope * (centre - a[step].sqrt() * mean)) + on_state * centre
        centre += variances[step] * tilt * slope
        variance = (on_data * slope + on_state) ** 2 * variance + (variances[step] if step else 0.0)
    return float(centre), float(variance)


def exact_predictor(steps, fraction=None, mean=MEAN, deviation=DEVIATION):
    """The noise in x_t and the fraction of the variance, of a network that knows that the data are Gaussian."""
    times, _, _, beta, least = chain_of(steps)
    lowest = torch.cat([least[1:2], least[1:]]).log()  # the first is 0, and the second stands for it
    needed = (exact_variance(steps, deviation).log() - lowest) / (beta.log() - lowest)

    def predict(x, t):
        a = REMAINING[t].view(-1, *(1,) * (x.dim() - 1)).to(x.dtype)
        noise = (1 - a).sqrt() * (x - a.sqrt() * mean) / (a * deviation**2 + 1 - a)
        share = needed[times == t[0]].to(x.dtype) if fraction is None else torch.tensor(fraction)
        return noise, share.expand(x.shape)

    return predict


def assert_moments(samples, mean, variance):
    """Of independent normal numbers: both within four standard errors."""
    n = samples.numel()
    assert samples.mean().item() == pytest.approx(mean, abs=4 * math.sqrt(variance / n))
    assert samples.var().item() == pytest.approx(variance, abs=4 * variance * math.sqrt(2 / n))


@pytest.mark.parametrize("steps", [50, 250])
def test_samples_of_gaussian_data_are_gaussian_data(steps):
    samples = sample(exact_predictor(steps), SampleNoise(0, range(40), (1000,)), steps).double()
    # With the exact mean and variance of every step, the chain is the reverse of that which makes noise, and draws the
    # data but for its ends. It starts at N(0, 1), not at x_999: a = a_999 = 4e-5 of the variance is missing, and the
    # mean is off by a share a s^2 / (a s^2 + 1 - a) of it, 1e-5. It ends at the mean of the data given x_0, whose
    # variance lacks that of the data given x_0, s^2 (1 - a_0) / (a_0 s^2 + 1 - a_0), 1e-4.
    first = float(REMAINING[0])
    missing = DEVIATION**2 * (1 - first) / (first * DEVIATION**2 + 1 - first)
    mean, variance = moments_of(steps)
    assert mean == pytest.approx(MEAN, abs=1e-5) and variance == pytest.approx(DEVIATION**2 - missing, abs=1e-6)
    assert_moments(samples, mean, variance)


@pytest.mark.parametrize(("fraction", "variance"), [(0.0, 0.196), (1.0, 0.268)])
def test_the_fraction_is_of_the_logarithm_of_the_variance(fraction, variance):
    # Both are off from the data's .25 by more than ten standard errors of .0018.
    samples = sample(exact_predictor(50, fraction), SampleNoise(1, range(40), (1000,)), 50).double()
    expected = moments_of(50, fraction)
    assert expected[1] == pytest.approx(variance, abs=5e-4)
    assert_moments(samples, *expected)


@pytest.mark.parametrize(("steps", "lost"), [(50, 0.1), (250, 0.0207)])
def test_a_classifier_shifts_the_mean(steps, lost):
    """p(class | data) proportional to exp(tilt data): Gaussian data of the class have the mean m + tilt s^2."""
    tilt = 0.8

    def gradient(x, t):  # of log p(class | x_t) = tilt E(data | x_t) + a constant
        return tilt * slope_of(REMAINING[t], DEVIATION)[:, None].expand(x.shape).to(x.dtype)

    samples = sample(exact_predictor(steps), SampleNoise(2, range(40), (1000,)), steps, gradient=gradient).double()
    mean, variance = moments_of(steps, tilt=tilt)
    # A step takes the gradient at its start, where it is smaller than at its end: a share of about 5 / steps is lost.
    assert mean - MEAN == pytest.approx(tilt * DEVIATION**2 * (1 - lost), rel=2e-3)
    assert_moments(samples, mean, variance)


def published_terms(predicted, fraction, data, noise, t):
    """Squared error and bound in bits of one number, from the formulas of the papers."""
    a, before = float(REMAINING[t]), float(REMAINING[t - 1]) if t else 1.0
    beta = float(BETA[t])
    x = math.sqrt(a) * data + math.sqrt(1 - a) * noise
    least = beta * (1 - before) / (1 - a) if t else float(BETA[1] * (1 - REMAINING[0]) / (1 - REMAINING[1]))
    variance = math.exp(fraction * math.log(beta) + (1 - fraction) * math.log(least))
    mean = (x - beta / math.sqrt(1 - a) * predicted) / math.sqrt(1 - beta)  # DDPM, equation 11
    if t == 0:  # equation 13
        upper = norm.cdf(data + 1 / 255, mean, math.sqrt(variance)) if data < 0.999 else 1.0
        lower = norm.cdf(data - 1 / 255, mean, math.sqrt(variance)) if data > -0.999 else 0.0
        return (predicted - noise) ** 2, -math.log2(max(upper - lower, 1e-12))
    true = math.sqrt(before) * beta / (1 - a) * data + math.sqrt(1 - beta) * (1 - before) / (1 - a) * x  # equation 7
    there, here = (torch.distributions.Normal(m, math.sqrt(v)) for m, v in ((true, least), (mean, variance)))
    return (predicted - noise) ** 2, torch.distributions.kl_divergence(there, here).item() / math.log(2)


def test_the_loss_is_the_squared_error_and_the_bound():
    t = torch.tensor([0, 0, 1, 2, 500, 999])
    data = seeded(6, 2, 3, seed=1).clamp(-1, 1)
    data[0, 0, 0], data[0, 0, 1], data[1, 0] = 1.0, -1.0, 3.0  # the ends of the range, and a latent beyond
    noise, predicted, fraction = seeded(6, 2, 3, seed=2), seeded(6, 2, 3, seed=3), seeded(6, 2, 3, seed=4)
    losses = ddpm_loss(lambda x, _: (predicted, fraction), data, noise, t)
    for row in range(6):
        numbers = [each[row].flatten().tolist() for each in (predicted, fraction, data, noise)]
        terms = [sum(published_terms(*values, int(t[row]))) for values in zip(*numbers, strict=True)]
        # float32 of torch's Normal, and 1 - a_0 = 1e-4 of float64 numbers: 1e-7 and 1e-12 of each.
        assert losses[row].item() == pytest.approx(sum(terms) / 6, rel=1e-6)


def test_the_bound_trains_the_fraction_alone():
    data, noise, t = seeded(3, 4, seed=1), seeded(3, 4, seed=2), torch.tensor([0, 1, 700])
    predicted, fraction = seeded(3, 4, seed=3).requires_grad_(), seeded(3, 4, seed=4).requires_grad_()
    ddpm_loss(lambda x, _: (predicted, fraction), data, noise, t).sum().backward()
    torch.testing.assert_close(predicted.grad, 2 * (predicted - noise).detach() / 4)
    assert (fraction.grad != 0).all()
    # The derivative of (u - v - 1 + (exp(v) + error^2) / exp(u)) / 2 by u, the logarithm of the variance, at t = 700,
    # by finite differences of the formula above.
    for column in range(4):
        rest = (data[2, column].item(), noise[2, column].item(), 700)
        value = fraction[2, column].item()
        ends = [published_terms(predicted[2, column].item(), value + h, *rest)[1] for h in (1e-2, -1e-2)]
        # Second-order differences of a curve with third derivatives of the value's size: 1e-4 of it; float32: 1e-5.
        assert fraction.grad[2, column].item() == pytest.approx((ends[0] - ends[1]) / 0.02 / 4, rel=1e-2, abs=1e-5)


def test_noised_data_are_those_of_diffusers():
    data, noise, t = seeded(5, *SHAPE), seeded(5, *SHAPE, seed=1), torch.tensor([0, 1, 499, 998, 999])
    expected = scheduler().add_noise(data, noise, t)
    # Its constants are float32: 1 - a_0 = 1e-4 is off by 6e-8, its root by 3e-6, times noise below 5.
    torch.testing.assert_close(noised(data, noise, t), expected, rtol=0, atol=2e-5)


def test_guidance_of_the_first_channels():
    def predict(x, t, label):  # noise and fraction tell the class of the row
        return label.double().view(-1, 1, 1, 1) * x, t.double().view(-1, 1, 1, 1) * label.view(-1, 1, 1, 1) + 0 * x

    x, t, label = seeded(2, 4, 2, 2), torch.tensor([7, 7]), torch.tensor([3, 5])
    null = {"label": torch.tensor([9, 9])}
    factor = torch.tensor([9 + 1.5 * (3 - 9), 9 + 1.5 * (5 - 9)]).view(-1, 1, 1, 1)
    for channels in (None, 3):
        noise, fraction = guided(predict, {"label": label}, null, 1.5, channels)(x, t)
        expected = factor * x
        if channels:
            expected[:, 3:] = (label.view(-1, 1, 1, 1) * x)[:, 3:]
        torch.testing.assert_close(noise, expected, check_dtype=False)
        assert torch.equal(fraction, 7.0 * label.view(-1, 1, 1, 1).expand(x.shape))
    rows = []
    unguided = guided(lambda x, t, label: rows.append(len(x)) or (x, x), {"label": label}, null, 1.0)
    assert unguided(x, t)[0] is x and rows == [2]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"^steps: expected a whole number from 2 to 1000, got 1$"):
        sample(lambda x, t: (x, x), SampleNoise(0, [0], (2,)), 1)
    with pytest.raises(ValueError, match=r"ddpm: the network gave fractions \[1, 1\] for states \[1, 2\]"):
        sample(lambda x, t: (x, x[:, :1]), SampleNoise(0, [0], (2,)), 2)
    with pytest.raises(ValueError, match=r"ddpm: t must be \[3\], a time for each sample, got \[1\]"):
        ddpm_loss(lambda x, t: (x, x), torch.zeros(3, 2), torch.zeros(3, 2), torch.tensor([1]))
