"""Flows of other systems: their sizes, their weights, and the direction of their time."""

import math
from pathlib import Path

import pytest
import torch

from gpstoken.baselines.published import read_published
from gpstoken.flow import training_interval
from gpstoken.generators.flow import Flow
from gpstoken.generators.recipes import RECIPES
from gpstoken.profiling.counting import network_counts
from gpstoken.profiling.rows import read_row
from gpstoken.profiling.shapes import without_weights
from gpstoken.sit import SiT
from tests.generators import published_sit

ROWS = Path(__file__).parents[2] / "experiments/generators"

# Sizes


# Millions of parameters and GFLOPs (twice the multiply-adds) of a call, from the measurements of systems.md.
@pytest.mark.parametrize(
    ("row", "millions", "gflops"),
    [("softvq_sit", 674.93, 58.1), ("maetok_sit", 675.00, 116.7), ("grid", 675.13, 237.2), ("repa", 675.11, 237.2)],
)
def test_published_sizes(row, millions, gflops):
    generator = without_weights(read_row(ROWS / f"{row}.yaml").build, ())
    parameters = sum(parameter.numel() for parameter in generator.network.parameters())
    assert parameters / 1e6 == pytest.approx(millions, abs=0.01)
    assert 2 * network_counts(generator).total / 1e9 == pytest.approx(gflops, rel=0.01)


@pytest.mark.parametrize("row", ["softvq_sit", "maetok_sit"])
def test_positions_of_published_sequences_are_not_trained(row):
    assert not without_weights(read_row(ROWS / f"{row}.yaml").build, ()).network.pos_embed.requires_grad


# Published weights

SEQUENCE = {"channels": 3, "shape": (6,), "learn_sigma": False}
GRID = {"channels": 3, "shape": (4, 6), "patch_size": 2}


@pytest.mark.parametrize(
    ("arguments", "direction"),
    [(SEQUENCE, "to_noise"), (GRID | {"learn_sigma": False}, "to_noise"), (GRID, "to_data")],
    ids=["SoftVQ-VAE and MAETok", "REPA", "SiT"],
)
def test_published_weights_predict_what_the_published_network_does(arguments, direction, tmp_path):
    generator = Flow(SiT(**arguments, width=16, depth=2, heads=4, num_classes=5), ["x"], time_direction=direction)
    sequence = "patch_size" not in arguments
    values = (1 if sequence else 4) * 3 * (2 if arguments.get("learn_sigma", True) else 1)
    tensors = published_sit.weights(16, 2, values, 6, 3, 2, 5, sequence)
    # as the training scripts write: raw weights, which must not be taken, beside the averaged
    raw = {name: tensor + 1 for name, tensor in tensors.items()}
    torch.save({"model": raw, "ema": tensors, "opt": {}, "steps": 4}, tmp_path / "last.pt")
    generator.double().load_state_dict(read_published(tmp_path / "last.pt", generator))
    chance = torch.Generator().manual_seed(0)
    x = torch.randn(3, *generator.network.sample_shape, generator=chance, dtype=torch.float64)
    t, label = torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64), torch.tensor([0, 5, 2])
    if direction == "to_noise":  # their time is 0 for data, their velocity noise - data
        expected = -published_sit.forward(tensors, x, 1 - t, label, 2, 4, 2)[0]
    else:
        expected = published_sit.forward(tensors, x, t, label, 2, 4, 2)[0]
    assert expected.std() > 0.1
    with torch.no_grad():
        # The same sums of numbers below 10 in float64; the sinusoid's wavelengths are exp and power of the same.
        torch.testing.assert_close(generator.field(x, t, label=label), expected, rtol=0, atol=1e-11)


def test_weights_come_without_statistics_and_do_not_sample_before_they_have_them(tmp_path):
    generator = Flow(SiT(**SEQUENCE, width=16, depth=1, heads=4, num_classes=5), ["tokens"])
    torch.save(published_sit.weights(16, 1, 3, 6, 3, 1, 5, True), tmp_path / "flat.pt")
    generator.load_state_dict(read_published(tmp_path / "flat.pt", generator))
    with pytest.raises(ValueError, match="its channels have no mean or standard deviation"):
        generator.sample(torch.tensor([0]), [0], 0, generator.options())
    statistics = {"tokens": {"mean": [1.0, 2.0, 3.0], "std": [1.0, 1.0, 1.0]}}
    generator.prepare({"num_classes": 5, "statistics": statistics})
    made = generator.sample(torch.tensor([0]), [0], 0, generator.options(sampler="ode", steps=3))
    assert made["tokens"].shape == (1, 6, 3)


def test_the_first_foreign_tensor_is_named(tmp_path):
    generator = Flow(SiT(**SEQUENCE, width=16, depth=1, heads=4, num_classes=5), ["tokens"])
    torch.save(published_sit.weights(16, 2, 3, 6, 3, 1, 5, True), tmp_path / "deeper.pt")
    with pytest.raises(ValueError, match=r"deeper\.pt: unknown tensor 'network\.blocks\.1\."):
        read_published(tmp_path / "deeper.pt", generator)


# Time: the network is replaced by what it would be for data of a Gaussian, in its own direction of time

SHAPE, SAMPLES = (16, 16), 64  # 64 x 256 independent numbers
COUNT = 64 * 256
SPREAD = 0.6  # of the normalised data of every class
CLASS_MEANS = torch.tensor([0.9, -0.4, 0.3])  # of classes 0 and 1, and without a class
MEAN, STD = 2.0, 0.5  # of the channels, which training divides out


def exact(path, direction):
    """E[dx/dt | x] where x = a data + b noise, data ~ N(m, SPREAD^2): typed for each direction of time."""

    def velocity(x, t, label):
        t = t[:, None, None].double()
        m = CLASS_MEANS[label][:, None, None].double()
        quarter = math.pi / 2
        if path == "linear" and direction == "to_data":
            a, b, a_slope, b_slope = t, 1 - t, 1.0, -1.0
        elif path == "linear":
            a, b, a_slope, b_slope = 1 - t, t, -1.0, 1.0
        elif direction == "to_data":
            a, b = torch.sin(quarter * t), torch.cos(quarter * t)
            a_slope, b_slope = quarter * b, -quarter * a
        else:
            a, b = torch.cos(quarter * t), torch.sin(quarter * t)
            a_slope, b_slope = -quarter * b, quarter * a
        share = (x - a * m) / (a**2 * SPREAD**2 + b**2)
        data, noise = m + a * SPREAD**2 * share, b * share
        return (a_slope * data + b_slope * noise).to(x.dtype)

    return velocity


def analytic(path, direction, recipe="sit"):
    """A flow with the exact network."""
    network = SiT(16, (16,), width=8, depth=1, heads=1, num_classes=2)
    generator = Flow(network, ["tokens"], path=path, time_direction=direction, recipe=recipe).eval()
    statistics = {"tokens": {"mean": [MEAN] * 16, "std": [STD] * 16}}
    generator.prepare({"num_classes": 2, "statistics": statistics})
    network.forward = exact(path, direction)
    return generator


def drawn(generator, label=0, **options):
    """Normalised samples of a class, as float64."""
    labels = torch.full((SAMPLES,), label)
    made = generator.sample(labels, range(SAMPLES), 7, generator.options(**options))["tokens"]
    return (made.double().flatten() - MEAN) / STD


def assert_distributed(values, mean, deviation=SPREAD):
    """Within four standard errors of the mean and of the deviation.

    Those are deviation / sqrt(n) and deviation / sqrt(2 n), n = 16384: .8 and .55 %. Euler's method in 250 steps is off
    by some .3 % of the deviation (the settings of `Sampling`), within the four.
    """
    assert values.mean().item() == pytest.approx(mean, abs=4 * deviation / COUNT**0.5)
    assert values.std().item() == pytest.approx(deviation, abs=4 * deviation / (2 * COUNT) ** 0.5)


@pytest.mark.parametrize("sampler", ["sde", "ode"])
@pytest.mark.parametrize("direction", ["to_data", "to_noise"])
@pytest.mark.parametrize("path", ["linear", "gvp"])
def test_samples_have_the_distribution_of_the_data(path, direction, sampler):
    generator = analytic(path, direction)
    for label in (0, 1):
        values = drawn(generator, label, sampler=sampler, guidance=1.0)
        assert_distributed(values, float(CLASS_MEANS[label]))


def test_a_wrong_direction_does_not_pass():
    right, wrong = analytic("linear", "to_noise"), analytic("linear", "to_data")
    wrong.network.forward = right.network.forward
    with pytest.raises(AssertionError):
        assert_distributed(drawn(wrong, sampler="ode", guidance=1.0), float(CLASS_MEANS[0]))


@pytest.mark.parametrize("direction", ["to_data", "to_noise"])
@pytest.mark.parametrize("path", ["linear", "gvp"])
def test_the_exact_network_has_the_least_loss(path, direction):
    # E |v - E[v | x]|^2 is the variance of v given x, (a' b - b' a)^2 SPREAD^2 / Var x for x = a data + b noise; its
    # mean over t is here a sum over a fine grid.
    generator = analytic(path, direction)
    grid = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    turn = math.pi / 2 * grid
    a, b, determinant = (grid, 1 - grid, 1.0) if path == "linear" else (turn.sin(), turn.cos(), math.pi / 2)
    expected = (determinant**2 * SPREAD**2 / (a**2 * SPREAD**2 + b**2)).mean().item()
    chance = torch.Generator().manual_seed(0)
    data = CLASS_MEANS[0] + SPREAD * torch.randn(2000, 16, 16, generator=chance)
    batch = {"tokens": MEAN + STD * data, "label": torch.zeros(2000, dtype=torch.long)}
    losses = generator.loss(batch, chance).double()
    assert losses.mean().item() == pytest.approx(expected, abs=4 * losses.std().item() / 2000**0.5)
    assert training_interval(path, "velocity") == (0.0, 1.0)


def test_guidance_at_all_times_moves_the_mean():
    # Velocities of Gaussians of one deviation differ by their means alone, so guidance is the flow of another mean.
    generator = analytic("linear", "to_noise")
    mean = CLASS_MEANS[2] + 1.5 * (CLASS_MEANS[0] - CLASS_MEANS[2])
    assert_distributed(drawn(generator), float(mean))  # the recipe "sit" has scale 1.5 from 0 to 1


@pytest.mark.parametrize(("path", "recipe"), [("linear", "repa"), ("gvp", "maetok")])
def test_guidance_of_the_recipe_begins_at_its_time(path, recipe):
    generator = analytic(path, "to_noise", recipe)
    scale = {"repa": 1.8, "maetok": 1.75}[recipe]
    begin = 0.3  # 1 - 0.7 in their time
    a, b = (begin, 1 - begin) if path == "linear" else (math.sin(math.pi * begin / 2), math.cos(math.pi * begin / 2))
    target = float(CLASS_MEANS[2] + scale * (CLASS_MEANS[0] - CLASS_MEANS[2]))
    # The ODE keeps (x - a mean) / sqrt(a^2 SPREAD^2 + b^2). It is turned towards another mean at `begin`.
    apart = a * (float(CLASS_MEANS[0]) - target) / (a**2 * SPREAD**2 + b**2) ** 0.5
    values = drawn(generator, sampler="ode")
    assert_distributed(values, target + SPREAD * apart)
    assert abs(SPREAD * apart) > 0.05  # far more than the tolerance: guidance elsewhere fails


def test_recipes_are_the_published_settings():
    for name in ("sit", "repa", "softvq", "maetok"):
        options = RECIPES[name]()
        assert (options.sampler, options.method, options.steps) == ("sde", "euler", 250)
        assert (options.last_step, options.last_step_size) == ("mean", 0.04)
    assert (RECIPES["sit"]().guidance, RECIPES["sit"]().guidance_interval) == (1.5, (0.0, 1.0))
    assert (RECIPES["repa"]().guidance, RECIPES["repa"]().guidance_interval) == (1.8, (0.3, 1.0))
    assert (RECIPES["maetok"]().guidance, RECIPES["maetok"]().guidance_interval) == (1.75, (0.3, 1.0))
    # What was trained before there were recipes is sampled as before.
    assert (RECIPES["gpstoken"]().guidance, RECIPES["gpstoken"]().guidance_interval) == (1.5, (0.2, 1.0))
    assert Flow(SiT(**SEQUENCE, width=16, depth=1, heads=4), ["x"], recipe="maetok").options is RECIPES["maetok"]
