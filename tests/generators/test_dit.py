"""DiT against a slow forward pass over tensors with the published names, and its generator on Gaussian latents."""

import math

import pytest
import torch
import torch.nn.functional as F

from gpstoken.baselines.published import read_published
from gpstoken.generators.calls import Calls
from gpstoken.generators.ddpm import TIMES, guided
from gpstoken.generators.dit import DiT, DiTNetwork, DiTSampling

TINY = {"channels": 4, "shape": (4, 6), "patch_size": 2, "width": 16, "depth": 2, "heads": 2, "num_classes": 3}
RECORD = {"num_classes": 3, "statistics": {"latent": {"mean": [0.5, 0.0, -1.0, 2.0], "std": [2.0, 1.0, 0.5, 1.0]}}}


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def tiny():
    generator = DiT(DiTNetwork(**TINY))
    generator.prepare(RECORD)
    with torch.no_grad():
        for seed, parameter in enumerate(generator.parameters()):  # as made it predicts zero
            parameter += 0.1 * seeded(*parameter.shape, seed=seed)
    return generator.eval()


def published_weights(channels=4, shape=(4, 6), patch=2, width=16, depth=2, classes=3):
    """Random weights by published name: systems.md, section 5, of the suite's notes."""
    positions = shape[0] * shape[1] // patch**2
    shapes = {
        "pos_embed": (1, positions, width),
        "x_embedder.proj.weight": (width, channels, patch, patch), "x_embedder.proj.bias": (width,),
        "y_embedder.embedding_table.weight": (classes + 1, width),
    }  # fmt: skip

    def linear(name, inputs, outputs):
        shapes.update({f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)})

    linear("t_embedder.mlp.0", 256, width)
    linear("t_embedder.mlp.2", width, width)
    for block in range(depth):
        linear(f"blocks.{block}.attn.qkv", width, 3 * width)
        linear(f"blocks.{block}.attn.proj", width, width)
        linear(f"blocks.{block}.mlp.fc1", width, 4 * width)
        linear(f"blocks.{block}.mlp.fc2", 4 * width, width)
        linear(f"blocks.{block}.adaLN_modulation.1", width, 6 * width)
    linear("final_layer.linear", width, patch**2 * 2 * channels)
    linear("final_layer.adaLN_modulation.1", width, 2 * width)
    return {name: 0.2 * seeded(*size, seed=seed) for seed, (name, size) in enumerate(shapes.items())}


def published_forward(weights, x, t, label, heads=2, patch=2):
    """DiT's paper, section 3, loop by loop; t in 0 to 999."""

    def linear(name, values):
        return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(values, shift, scale):
        deviation = (values.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
        return (values - values.mean(-1, keepdim=True)) / deviation * (1 + scale[:, None]) + shift[:, None]

    hidden = F.conv2d(x, weights["x_embedder.proj.weight"], weights["x_embedder.proj.bias"], stride=patch)
    rows, columns = hidden.shape[-2:]
    hidden = hidden.flatten(2).transpose(1, 2) + weights["pos_embed"]
    angle = t[:, None] * 10000.0 ** (-torch.arange(128) / 128)
    time = linear("t_embedder.mlp.0", torch.cat([angle.cos(), angle.sin()], 1))
    condition = linear("t_embedder.mlp.2", F.silu(time)) + weights["y_embedder.embedding_table.weight"][label]
    width = hidden.shape[-1]
    for block in range(2):
        name = f"blocks.{block}"
        modulation = linear(f"{name}.adaLN_modulation.1", F.silu(condition)).chunk(6, 1)
        joint = linear(f"{name}.attn.qkv", norm(hidden, *modulation[:2]))
        query, key, value = joint[..., :width], joint[..., width : 2 * width], joint[..., 2 * width :]
        heard = []
        for head in range(heads):
            part = slice(head * width // heads, (head + 1) * width // heads)
            scores = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(width // heads)
            heard.append(scores.softmax(-1) @ value[..., part])
        hidden = hidden + modulation[2][:, None] * linear(f"{name}.attn.proj", torch.cat(heard, -1))
        wide = linear(f"{name}.mlp.fc1", norm(hidden, *modulation[3:5]))
        wide = 0.5 * wide * (1 + torch.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))
        hidden = hidden + modulation[5][:, None] * linear(f"{name}.mlp.fc2", wide)
    shift, scale = linear("final_layer.adaLN_modulation.1", F.silu(condition)).chunk(2, 1)
    patches = linear("final_layer.linear", norm(hidden, shift, scale))
    made = torch.empty(len(x), 2 * x.shape[1], *x.shape[2:])
    for place in range(rows * columns):  # values of a patch: row, column, channel
        row, column = divmod(place, columns)
        values = patches[:, place].reshape(-1, patch, patch, made.shape[1]).permute(0, 3, 1, 2)
        made[:, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] = values
    return made


def test_published_weights_give_the_published_output(tmp_path):
    weights = published_weights()
    torch.save(weights, tmp_path / "DiT.pt")
    generator = DiT(DiTNetwork(**TINY))
    generator.load_state_dict(read_published(tmp_path / "DiT.pt", generator))
    x, t, label = seeded(3, 4, 4, 6), torch.tensor([0, 400, 999]), torch.tensor([0, 3, 2])
    expected = published_forward(weights, x, t, label)
    with torch.no_grad():
        output = generator.network(x, t, label)
    # Angles up to 999 are off by 3e-5 in float32 in both, in another order of rounding; the other numbers are below 10
    # and sums of 64 terms are off by 8 * 6e-8 of them.
    torch.testing.assert_close(output, expected, rtol=0, atol=2e-4)
    assert (output[:, 4:] - output[:, :4]).abs().max() > 0.1
    assert generator.std.tolist() == pytest.approx([1 / 0.18215] * 4) and generator.widths.tolist() == [4]
    generator.check_trained()


def test_the_loss_is_of_normalised_latents_and_both_outputs(tiny, monkeypatch):
    seen = []

    def keep(predict, data, noise, t):
        seen.append((data, t, predict(noise, t)))
        return data.flatten(1).mean(1)

    monkeypatch.setattr("gpstoken.generators.dit.ddpm_loss", keep)
    latent = seeded(200, 4, 4, 6)
    tiny.loss({"latent": latent, "label": torch.zeros(200, dtype=torch.long)}, torch.Generator().manual_seed(0))
    ((data, t, (noise, fraction)),) = seen
    mean, std = (torch.tensor(RECORD["statistics"]["latent"][name]).view(4, 1, 1) for name in ("mean", "std"))
    torch.testing.assert_close(data, (latent - mean) / std)
    assert t.dtype == torch.long and t.min() < 50 and t.max() > 949 and t.max() < TIMES  # each missed in e^-10
    assert noise.shape == fraction.shape == data.shape and noise.dtype == torch.float32


def test_samples_of_latents_have_the_statistics_of_the_cache(tiny):
    """With a network that knows that normalised latents are N(0, 1), samples are N(mean, std^2) of the cache."""

    class Exact(torch.nn.Module):
        channels, shape, sample_shape = 4, (4, 6), (4, 4, 6)

        def forward(self, x, t, label):
            a = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)[t].view(-1, 1, 1, 1)
            # The noise in x_t is sqrt(1 - a) x_t for such data, and the variance of a step is beta: fraction 1.
            return torch.cat([(1 - a).sqrt() * x, torch.ones_like(x)], 1)

    tiny.network = Exact()
    n = 500
    options = DiTSampling(steps=50, guidance=1.0)
    latent = tiny.sample(torch.zeros(n, dtype=torch.long), range(n), 0, options)["latent"].double()
    for channel in range(4):
        mean, std = (RECORD["statistics"]["latent"][name][channel] for name in ("mean", "std"))
        values, count = latent[:, channel], n * 24
        # The last step loses 1e-4 of the variance, less than a hundredth of the standard error.
        assert values.mean().item() == pytest.approx(mean, abs=4 * std / math.sqrt(count))
        assert values.var().item() == pytest.approx(std**2, abs=4 * std**2 * math.sqrt(2 / count))


def test_a_sample_does_not_depend_on_its_batch(tiny):
    labels, options = torch.tensor([0, 1, 2, 1]), DiTSampling(steps=5)
    together = tiny.sample(labels, [4, 7, 2, 9], 1, options)["latent"]
    alone = tiny.sample(labels[2:3], [2], 1, options)["latent"]
    # The first step divides by sqrt(a_999) = 0.006 what differs by some 1e-6 in another order of sums.
    torch.testing.assert_close(together[2:3], alone, rtol=1e-3, atol=1e-3)
    assert (together - tiny.sample(labels, [4, 7, 2, 9], 2, options)["latent"]).abs().max() > 0.1


def test_calls_and_guidance(tiny):
    seen = Calls(tiny)
    for guidance, rows in ((1.5, 4), (1.0, 2)):
        before = seen.rows["generator"]
        tiny.sample(torch.tensor([0, 1]), range(2), 0, DiTSampling(steps=6, guidance=guidance))
        assert seen.rows["generator"] - before == 6 * rows
    assert seen.total == 2 * tiny.calls(DiTSampling(steps=6)) and DiT.options() == DiTSampling(250, 1.5, 3)
    assert tiny.preview(torch.tensor([0, 1]), {}, 3)["latent"].shape == (2, 4, 4, 6)
    assert tiny.network(**tiny.inputs(2)).shape == (2, 8, 4, 6) and len(list(tiny.blocks())) == 2


def test_three_channels_are_guided_by_default(tiny):
    x, t, label = seeded(1, 4, 4, 6), torch.tensor([0]), torch.tensor([1])
    conditional, null = (tiny.network(x, t, torch.tensor([each]))[:, :4] for each in (1, 3))
    assert (conditional - null).abs().max() > 1e-3
    expected = null + 1.5 * (conditional - null)
    expected[:, 3] = conditional[:, 3]
    how = DiTSampling()
    predict = guided(tiny._predict, {"label": label}, {"label": torch.tensor([3])}, how.guidance, how.guided_channels)
    torch.testing.assert_close(predict(x, t)[0], expected)


def test_config_rebuilds_it(tiny):
    twin = DiT.from_config(tiny.config)
    twin.load_state_dict(tiny.state_dict())
    options = DiTSampling(steps=2)
    pair = [each.eval().sample(torch.tensor([1]), [0], 0, options)["latent"] for each in (twin, tiny)]
    assert torch.equal(*pair)


def test_what_does_not_fit_is_refused(tiny):
    with pytest.raises(ValueError, match=r"^learn_sigma: DiT expects true"):
        DiT(DiTNetwork(**TINY, learn_sigma=False))
    with pytest.raises(ValueError, match=r"^shape: DiT expects a grid"):
        DiT(DiTNetwork(**TINY | {"shape": (8,)}))
    with pytest.raises(ValueError, match=r"^guided_channels: expected a whole number of at least 1, or null, got 0"):
        DiTSampling(guided_channels=0)
    with pytest.raises(ValueError, match="untrained, or damaged"):
        DiT(DiTNetwork(**TINY)).sample(torch.tensor([0]), [0], 0, DiTSampling(steps=2))
