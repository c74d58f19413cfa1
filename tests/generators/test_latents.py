"""What each flow of the paper models: tokens as latents of mean 0 and deviation 1, and back."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gpstoken import GPSToken
from gpstoken.generators.flow import Flow
from gpstoken.generators.two_stage import Layout, Texture, TwoStage, TwoStageSampling
from gpstoken.sit import SiT

GOLDEN = Path(__file__).parents[1] / "golden" / "sit_tiny_io.npz"
STATISTICS = {
    "layout": {"mean": [1.0, 2, 3, 4, 5], "std": [1.0, 1, 1, 1, 1]},
    "residual": {"mean": [6.0, 7, 8, 9, 10], "std": [2.0, 2, 2, 2, 2]},
    "geometry": {"mean": [0.0] * 5, "std": [3.0] * 5},
    "features": {"mean": [11.0, 12], "std": [4.0, 4]},
}
RECORD = {"num_classes": 3, "statistics": STATISTICS}


def network(channels, tokens=3, layout_channels=0):
    return SiT(channels, (tokens,), width=8, depth=1, heads=1, num_classes=3, layout_channels=layout_channels)


def stage(name, record=RECORD, tokens=3):
    """A stage that knows the statistics of a cache."""
    made = {
        "layout": lambda: Layout(network(5, tokens)),
        "texture": lambda: Texture(network(7, tokens, 5)),
        "one_stage": lambda: Flow(network(7, tokens), ("geometry", "features")),
    }[name]()
    made.prepare(record)
    return made.eval()


def batch(tokens=3):
    generator = torch.Generator().manual_seed(0)
    shapes = {"geometry": 5, "layout": 5, "features": 2}
    drawn = {name: torch.rand(2, tokens, width, generator=generator) * 0.8 + 0.1 for name, width in shapes.items()}
    return drawn | {"label": torch.tensor([0, 1]), "index": torch.tensor([4, 5])}


def sampled(generator, latent, monkeypatch, **condition):
    """What a flow makes of a latent that its sampler has come to."""
    monkeypatch.setattr("gpstoken.generators.flow.sample", lambda *_: latent)
    labels = torch.zeros(len(latent), dtype=torch.long)
    return generator.sample(labels, range(len(latent)), 0, generator.options(), **condition)


def latents_of(generator, samples):
    """What the network of a flow is trained on, at the time of data and with noise of size 0."""
    seen = []

    def keep(predict, data, *_):
        seen.append(data)
        return data.flatten(1).mean(1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gpstoken.generators.flow.flow_loss", keep)
        generator.loss(samples, torch.Generator().manual_seed(0))
    return seen[0]


def test_generated_tokens_are_those_of_the_release(monkeypatch):
    golden = {name: torch.from_numpy(value) for name, value in np.load(GOLDEN).items() if name.startswith("post_")}
    latent = golden["post_latent"][..., 0].transpose(1, 2)
    tokens, channels = latent.shape[1:]
    mean, std = golden["post_mean"].flatten().tolist(), golden["post_std"].flatten().tolist()
    halves = {"residual": slice(0, 5), "features": slice(5, channels)}
    statistics = {name: {"mean": mean[part], "std": std[part]} for name, part in halves.items()}
    texture = Texture(network(channels, tokens, 5)).eval()
    texture.prepare(RECORD | {"statistics": statistics})
    parts = sampled(texture, latent, monkeypatch, layout=golden["post_ginit"])
    found = GPSToken.unpack(None, parts).to_tensor()
    # the same three float32 operations on the same numbers; a fused multiply-add may round once less
    torch.testing.assert_close(found, golden["post_tokens"], rtol=0, atol=1e-6)
    assert (found[..., :2] == 0.99999).any()  # the clamp is a part of what is compared


def test_the_texture_stage_models_the_residual_and_then_the_features():
    texture, samples = stage("texture"), batch()
    assert texture.mean.tolist() == [6, 7, 8, 9, 10, 11, 12] and texture.std.tolist() == [2, 2, 2, 2, 2, 4, 4]
    data = texture.data(samples)
    assert torch.equal(data[..., :5], samples["geometry"] - samples["layout"])
    assert torch.equal(data[..., 5:], samples["features"])
    assert torch.equal(texture.condition(samples)["layout"], samples["layout"])
    assert stage("one_stage").condition(samples) == {}


@pytest.mark.parametrize("name", ["layout", "texture", "one_stage"])
def test_samples_undo_what_training_does(name, monkeypatch):
    generator, samples = stage(name), batch()
    latent = latents_of(generator, samples)
    condition = {"layout": samples["layout"]} if name == "texture" else {}
    parts = sampled(generator, latent, monkeypatch, **condition)
    assert set(parts) == ({"layout"} if name == "layout" else {"geometry", "features"})
    for part, value in parts.items():
        # three roundings of float32 on numbers up to 12
        torch.testing.assert_close(value, samples[part], rtol=0, atol=4e-6)


def test_a_grid_is_normalised_channel_by_channel(monkeypatch):
    latent = torch.arange(2 * 3 * 4.0).reshape(1, 2, 3, 4)
    grid = Flow(SiT(2, (3, 4), width=8, depth=1, heads=1, num_classes=3), ("latent",)).eval()
    grid.prepare(RECORD | {"statistics": {"latent": {"mean": [1.0, 2.0], "std": [2.0, 4.0]}}})
    normal = latents_of(grid, {"latent": latent, "label": torch.tensor([0])})
    assert torch.equal(normal[0, 0], (latent[0, 0] - 1) / 2)
    assert torch.equal(normal[0, 1], (latent[0, 1] - 2) / 4)
    assert torch.equal(sampled(grid, normal, monkeypatch)["latent"], latent)


def test_wild_latents_become_valid_tokens(monkeypatch):
    latent = torch.tensor([-1e4, 1e4]).repeat_interleave(7).reshape(1, 2, 7)
    parts = sampled(stage("texture", tokens=2), latent, monkeypatch, layout=torch.zeros(1, 2, 5))
    tokens = GPSToken.unpack(None, parts).to_tensor()
    assert tokens[..., :2].min() >= 1e-5
    assert tokens[..., :2].max() < 1
    assert tokens[..., 2].abs().max() < 1


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            {"statistics": {"latent": STATISTICS["layout"]}},
            "generator: needs geometry, features, but the cache holds latent",
        ),
        ({"num_classes": 4}, "generator: 3 classes, but the cache has 4"),
        (
            {"statistics": STATISTICS | {"features": {"mean": [0.0] * 3, "std": [1.0] * 3}}},
            "network: 7 channels, but geometry and features have 8",
        ),
    ],
)  # fmt: skip
def test_a_cache_that_does_not_fit_is_refused(record, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        stage("one_stage", RECORD | record)


def test_a_network_has_a_layout_where_its_stage_is_given_one():
    with pytest.raises(ValueError, match="layout_channels: Texture expects 5, got 0"):
        Texture(network(7))
    with pytest.raises(ValueError, match="layout_channels: Layout expects 0, got 5"):
        Layout(network(5, layout_channels=5))


def test_both_stages_can_be_trained_as_one():
    texture, layout, samples = stage("texture"), stage("layout"), batch()
    both = TwoStage(texture, layout, {"image_size": 32, "min_region_size": 4, "sigma_rule": "released"})
    chance = torch.Generator().manual_seed(7)
    expected = layout.loss(samples, chance) + texture.loss(samples, chance)
    assert torch.equal(both.loss(samples, torch.Generator().manual_seed(7)), expected)
    assert both.calls(TwoStageSampling(steps=9)) == 18


def test_classes_are_hidden_in_training_alone():
    generator, seen = stage("one_stage"), []
    generator.network.register_forward_pre_hook(lambda _, __, given: seen.append(given["label"]), with_kwargs=True)
    samples = {name: value.repeat_interleave(200, 0) for name, value in batch().items()}
    for training in (True, False):
        generator.train(training).loss(samples, torch.Generator().manual_seed(0))
    hidden = (seen[0] == 3).float().mean().item()
    # a tenth of 400, by four standard deviations of .015
    assert hidden == pytest.approx(0.1, abs=0.06)
    assert torch.equal(seen[1], samples["label"])


def test_a_flow_says_what_it_models():
    with pytest.raises(ValueError, match="parts: expected a list of names of a token cache"):
        Flow(network(5))
    assert Layout(network(5)).parts == ("layout",)
    assert Texture(network(7, layout_channels=5)).parts == ("residual", "features")
