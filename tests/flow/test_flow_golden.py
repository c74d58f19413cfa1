"""The released sampler's numbers, with the released network in small (tests/golden, sit_tiny)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gpstoken.flow import Sampling, flow_loss, guided, interpolate, sample
from gpstoken.sit import SiT

GOLDEN = Path(__file__).parents[1] / "golden"
NULL = 10


@pytest.fixture(scope="module")
def vectors():
    def tokens(value):  # [..., C, N, 1] as released -> [..., N, C]
        value = torch.from_numpy(np.asarray(value))
        return value.squeeze(-1).movedim(-2, -1) if value.ndim >= 4 else value

    with np.load(GOLDEN / "sit_tiny_io.npz", allow_pickle=False) as file:
        return {name: tokens(file[name]) for name in file.files}


@pytest.fixture(scope="module")
def model():
    network = SiT(
        channels=13, shape=(32,), patch_size=1, width=64, depth=2, heads=4, num_classes=NULL, layout_channels=5
    )
    weights = load_file(GOLDEN / "sit_tiny_weights_fp16.safetensors")
    network.load_state_dict({name: value.float() for name, value in weights.items()})
    return network.eval()


@pytest.fixture(scope="module")
def guide(model, vectors):
    def network(scale=1.5, low=200, high=1000):
        conditions = {"label": vectors["y_cond"], "layout": vectors["cond"]}
        null = {"label": torch.full_like(vectors["y_cond"], NULL)}
        return guided(model, conditions, null, scale, (low / 1000, high / 1000))

    return network


def assert_close(ours, expected, relative):
    """Against the largest number: float32 sums, where a single small number may have lost its digits."""
    assert float((ours - expected).abs().max() / expected.abs().max()) < relative


@torch.no_grad()
@pytest.mark.parametrize("case", range(4))
def test_guidance(vectors, guide, case):
    t, scale, low, high = vectors[f"cfg{case}_params"].tolist()
    # The release returns both halves of its doubled batch; its samples are the first.
    assert_close(guide(scale, low, high)(vectors["z"], t), vectors[f"cfg{case}_out"][:2], 2e-6)


@torch.no_grad()
def test_guidance_of_two_different_halves(vectors, guide, model):
    # Inside the interval the release duplicates the first half; outside, each half goes its way with its own label, and
    # the second one, which is thrown away at the end, never reaches the first.
    first, second = vectors["zz"].chunk(2)
    network = guide(1.7, 200, 1000)
    assert_close(network(first, 0.5), vectors["cfgzz_in"][:2], 2e-6)
    assert_close(network(first, 0.5), vectors["cfgzz_in"][2:], 2e-6)
    assert_close(network(first, 0.1), vectors["cfgzz_out"][:2], 2e-6)
    null = torch.full_like(vectors["y_cond"], NULL)
    assert_close(model(second, torch.full((2,), 0.1), null, vectors["cond"]), vectors["cfgzz_out"][2:], 2e-6)


def test_euler_ode(vectors, guide):
    states = [vectors["z"]]
    sample(
        guide(),
        lambda _: vectors["z"],
        Sampling("ode", "euler", int(vectors["num_steps"])),
        observe=lambda number, t, x: states.append(x),
    )
    assert_close(torch.stack(states), vectors["ode_euler_xs"], 5e-6)


def test_midpoint_ode(vectors, guide):
    end = sample(guide(), lambda _: vectors["z"], Sampling("ode", "midpoint", int(vectors["num_steps"])))
    assert_close(end, vectors["ode_midpoint_xs"], 5e-6)


def test_adaptive_ode(vectors, guide):
    calls = []

    def network(x, t):
        calls.append(t)
        return guide()(x, t)

    end = sample(network, lambda _: vectors["z"], Sampling("ode", "dopri5"))
    truth = sample(guide(), lambda _: vectors["z"], Sampling("ode", "heun", 151))
    # The released solver steps past t = 1, where its guidance ends, and interpolates: it is 0.8 % off the solution, and
    # ours, which stops there, 0.6 %. (torchdiffeq on the release's doubled batch gives the vector to 1e-6; the solution
    # is known to 0.04 %, for guidance begins with a jump.)
    assert_close(end, vectors["ode_dopri5_xs"], 0.015)
    assert_close(end, truth, 0.008)
    assert max(calls) <= 1.0
    tight = sample(guide(), lambda _: vectors["z"], Sampling("ode", "dopri5", rtol=1e-4))
    assert_close(tight, truth, 0.002)


# Euler: rounding alone. Heun's first step, D dt = 87 with 12 points, goes through states of 4000 and comes back to 0.6:
# 4000 * 2^-24 / 0.6 = 4e-4 is left of float32's digits there.
@pytest.mark.parametrize(("method", "relative"), [("Euler", 2e-5), ("Heun", 1e-3)])
def test_sde(vectors, guide, method, relative):
    noises, states = vectors[f"sde_{method}_noise"], []

    def noise(number):
        return noises[number - 1][:2] if number else vectors["z"]

    sampling = Sampling("sde", method.lower(), int(vectors["num_steps"]), diffusion_limit=None)
    sample(guide(), noise, sampling, observe=lambda number, t, x: states.append(x))
    for index, expected in zip(vectors["sde_saved_indices"], vectors[f"sde_{method}_xs"], strict=True):
        assert_close(states[index], expected, relative)
        relative = min(relative, 2e-4)  # what Heun's first step has left


def test_path_and_loss(vectors, model):
    x0, x1, t = vectors["plan_x0"], vectors["plan_x1"], vectors["plan_t"]
    x_t, velocity = interpolate(x1, x0, t)
    torch.testing.assert_close(x_t, vectors["plan_xt"])
    torch.testing.assert_close(velocity, vectors["plan_ut"])
    loss = flow_loss(lambda x, t: model(x, t, vectors["y"], vectors["cond"]), x1, x0, t)
    torch.testing.assert_close(loss, vectors["training_loss"], rtol=1e-5, atol=0)
