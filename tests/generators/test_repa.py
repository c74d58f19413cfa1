"""REPA: its size, its weights, and the alignment of hidden states with features of the image."""

from pathlib import Path

import pytest
import torch

from gpstoken.baselines.published import read_published
from gpstoken.flow import flow_loss
from gpstoken.generators.repa import REPA
from gpstoken.profiling.rows import read_row
from gpstoken.profiling.shapes import without_weights
from gpstoken.sit import SiT
from tests.generators import published_sit

ROW = Path(__file__).parents[2] / "experiments/generators/repa.yaml"
RECORD = {"num_classes": 5, "statistics": {"latent": {"mean": [0.5, 0.0, -0.5], "std": [2.0, 1.0, 0.5]}}}


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    network = SiT(3, (4, 6), 2, width=16, depth=3, heads=4, num_classes=5, learn_sigma=False)
    for parameter in network.parameters():  # as made it predicts zero
        parameter.data += 0.1 * torch.randn_like(parameter)
    generator = REPA(network, block=2, feature_channels=7, projector_width=9)
    generator.prepare(RECORD)
    return generator


def batch(count=4):
    chance = torch.Generator().manual_seed(1)
    return {
        "latent": torch.randn(count, 3, 4, 6, generator=chance),
        "alignment": torch.randn(count, 6, 7, generator=chance).half(),
        "label": torch.arange(count) % 5,
    }


def chance():
    return torch.Generator().manual_seed(2)


def test_the_published_size():
    generator = without_weights(read_row(ROW).build, ())
    # 683.24 M in training, of which the projector 8.13 M (systems.md)
    assert sum(parameter.numel() for parameter in generator.parameters()) / 1e6 == pytest.approx(683.24, abs=0.01)
    projector = sum(parameter.numel() for parameter in generator.projector.parameters())
    assert projector == 1152 * 2048 + 2048 + 2048 * 2048 + 2048 + 2048 * 768 + 768
    assert (generator.block, generator.weight) == (8, 0.5)


def test_published_weights_with_their_projector(tiny, tmp_path):
    tensors = published_sit.weights(16, 3, 12, 6, 3, 2, 5, False)
    draw = torch.Generator().manual_seed(4)
    for number, (out, into) in {0: (9, 16), 2: (9, 9), 4: (7, 9)}.items():
        tensors[f"projectors.0.{number}.weight"] = torch.randn(out, into, generator=draw, dtype=torch.float64)
        tensors[f"projectors.0.{number}.bias"] = torch.randn(out, generator=draw, dtype=torch.float64)
    torch.save({"ema": tensors}, tmp_path / "last.pt")
    tiny.double().load_state_dict(read_published(tmp_path / "last.pt", tiny))
    x = torch.randn(2, 3, 4, 6, generator=draw, dtype=torch.float64)
    t, label = torch.tensor([0.2, 0.7], dtype=torch.float64), torch.tensor([1, 5])
    velocity, hidden = published_sit.forward(tensors, x, 1 - t, label, 3, 4, 2, block=2)
    expected = hidden
    for number in (0, 2, 4):
        expected = published_sit.linear(tensors, f"projectors.0.{number}", expected)
        expected = published_sit.silu(expected) if number < 4 else expected
    with torch.no_grad():
        ours, tokens = tiny.field(x, t, label=label, tap=2)
        # sums of numbers below 100 in float64, in another order
        torch.testing.assert_close(ours, -velocity, rtol=0, atol=1e-10)
        torch.testing.assert_close(tiny.projector(tokens), expected, rtol=0, atol=1e-10)


@torch.no_grad()
def test_the_loss_is_that_of_the_flow_less_half_the_mean_cosine(tiny):
    samples, hidden = batch(), []
    tiny.eval().network.blocks[1].register_forward_hook(lambda _, __, output: hidden.append(output))
    loss = tiny.loss(samples, chance())
    data, noise, t, given = tiny.draw(samples, chance())
    flow = flow_loss(lambda x, t: tiny.field(x, t, **given), data, noise, t)
    projected, features = tiny.projector(hidden[0]), samples["alignment"].float()
    for row in range(4):
        pairs = zip(projected[row], features[row], strict=True)
        cosines = [float(torch.dot(one, other) / (one.norm() * other.norm())) for one, other in pairs]
        assert loss[row].item() == pytest.approx(flow[row].item() - 0.5 * sum(cosines) / 6, rel=1e-5)


def test_features_of_the_tokens_themselves_are_aligned_best(tiny):
    samples, hidden = batch(), []
    tiny.eval().network.blocks[1].register_forward_hook(lambda _, __, output: hidden.append(output))
    before = tiny.loss(samples, chance())
    aligned = samples | {"alignment": 3 * tiny.projector(hidden[0]).detach()}
    # the cosine is 1 whatever the length: the loss falls by half of 1 - cosine, and nothing else changes
    flow = tiny.loss(aligned, chance()) + 0.5
    reverse = tiny.loss(aligned | {"alignment": -aligned["alignment"]}, chance())
    torch.testing.assert_close(reverse, flow + 0.5)
    assert (before > flow - 0.5).all() and (before < flow + 0.5).all()


def test_the_alignment_trains_the_projector_and_the_blocks_before(tiny):
    tiny.weight = 1e6  # the flow's own gradient is nothing beside it
    tiny.loss(batch(), chance()).mean().backward()
    sizes = [block.attn.qkv.weight.grad.norm().item() for block in tiny.network.blocks]
    assert all(parameter.grad.any() for parameter in tiny.projector.parameters())
    assert min(sizes[:2]) > 1e3 * sizes[2]
    assert [*tiny.blocks()][-1] is tiny.projector


def test_sampling_needs_no_features(tiny):
    made = tiny.eval().sample(torch.tensor([1, 2]), [0, 1], 0, tiny.options(steps=3))
    assert set(made) == {"latent"} and made["latent"].shape == (2, 3, 4, 6)
    assert tiny.options().guidance == 1.8


def test_config_rebuilds_it(tiny):
    twin = REPA.from_config(tiny.config)
    twin.load_state_dict(tiny.state_dict())
    assert torch.equal(twin.eval().loss(batch(), chance()), tiny.eval().loss(batch(), chance()))


def test_a_cache_without_its_features_is_refused(tiny):
    samples = batch()
    with pytest.raises(ValueError, match=r"aligns \[6, 7\] positions and channels, but the cache has \[6, 5\]"):
        tiny.loss(samples | {"alignment": samples["alignment"][..., :5]}, chance())
    del samples["alignment"]
    with pytest.raises(ValueError, match="needs alignment in the token cache; `gpstoken cache --features` writes it"):
        tiny.loss(samples, chance())
    with pytest.raises(ValueError, match="block: 4, but the network has 3"):
        REPA(tiny.network, block=4)
