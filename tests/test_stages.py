from pathlib import Path

import numpy as np
import pytest
import torch

from gpstoken.stages import channel_statistics, condition_of, data_of, denormalise, normalise

GOLDEN = Path(__file__).parent / "golden" / "sit_tiny_io.npz"
STATISTICS = {
    "layout": {"mean": [1.0, 2, 3, 4, 5], "std": [1.0, 1, 1, 1, 1]},
    "residual": {"mean": [6.0, 7, 8, 9, 10], "std": [2.0, 2, 2, 2, 2]},
    "geometry": {"mean": [0.0] * 5, "std": [3.0] * 5},
    "features": {"mean": [11.0, 12], "std": [4.0, 4]},
}


def batch(tokens=3):
    generator = torch.Generator().manual_seed(0)
    shapes = {"geometry": 5, "layout": 5, "features": 2}
    drawn = {name: torch.rand(2, tokens, width, generator=generator) * 0.8 + 0.1 for name, width in shapes.items()}
    return drawn | {"label": torch.tensor([0, 1]), "index": torch.tensor([4, 5])}


def test_denormalised_tokens_are_those_of_the_release():
    golden = {name: torch.from_numpy(value) for name, value in np.load(GOLDEN).items() if name.startswith("post_")}
    latent = golden["post_latent"][..., 0].transpose(1, 2)
    tokens = denormalise("texture", latent, golden["post_mean"], golden["post_std"], golden["post_ginit"])
    # the same three float32 operations on the same numbers; a fused multiply-add may round once less
    torch.testing.assert_close(tokens, golden["post_tokens"], rtol=0, atol=1e-6)
    assert (tokens[..., :2] == 0.99999).any()  # the clamp is a part of what is compared


def test_the_texture_stage_models_the_residual_and_then_the_features():
    mean, std = channel_statistics("texture", STATISTICS)
    assert mean.tolist() == [6, 7, 8, 9, 10, 11, 12]
    assert std.tolist() == [2, 2, 2, 2, 2, 4, 4]
    samples = batch()
    data = data_of("texture", samples)
    assert torch.equal(data[..., :5], samples["geometry"] - samples["layout"])
    assert torch.equal(data[..., 5:], samples["features"])
    assert set(condition_of("texture", samples)) == {"label", "layout"}
    assert set(condition_of("one_stage", samples)) == {"label"}


@pytest.mark.parametrize("stage", ["layout", "texture", "one_stage"])
def test_denormalise_undoes_normalise(stage):
    samples = batch()
    statistics = channel_statistics(stage, STATISTICS)
    latent = normalise(stage, data_of(stage, samples), *statistics)
    layout = samples["layout"] if stage == "texture" else None
    tokens = denormalise(stage, latent, *statistics, layout)
    whole = samples["layout"] if stage == "layout" else torch.cat([samples["geometry"], samples["features"]], dim=-1)
    # three roundings of float32 on numbers up to 12
    torch.testing.assert_close(tokens, whole, rtol=0, atol=4e-6)


def test_a_grid_is_normalised_channel_by_channel():
    latent = torch.arange(2 * 3 * 4.0).reshape(1, 2, 3, 4)
    mean, std = channel_statistics("grid", {"latent": {"mean": [1.0, 2.0], "std": [2.0, 4.0]}})
    normal = normalise("grid", data_of("grid", {"latent": latent}), mean, std)
    assert torch.equal(normal[0, 0], (latent[0, 0] - 1) / 2)
    assert torch.equal(normal[0, 1], (latent[0, 1] - 2) / 4)
    assert torch.equal(denormalise("grid", normal, mean, std), latent)


def test_wild_latents_become_valid_tokens():
    latent = torch.tensor([-1e4, 1e4]).repeat_interleave(7).reshape(1, 2, 7)
    tokens = denormalise("texture", latent, *channel_statistics("texture", STATISTICS), torch.zeros(1, 2, 5))
    assert tokens[..., :2].min() >= 1e-5
    assert tokens[..., :2].max() < 1
    assert tokens[..., 2].abs().max() < 1


@pytest.mark.parametrize(
    "stage, statistics, message",
    [
        ("textures", STATISTICS, "stage: expected one of layout, texture, one_stage, grid, got 'textures'"),
        ("grid", STATISTICS, "stage grid: needs latent, but the cache holds layout, residual, geometry, features"),
    ],
)
def test_a_stage_that_does_not_fit_the_cache_is_refused(stage, statistics, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        channel_statistics(stage, statistics)
