"""D2iT's stages: known grain maps and Gaussian codes sampled with exact predictors, and a slow forward pass.

No weights are published, and no code: the oracles are the description (systems.md of the suite) and exact solutions.
"""

import math
from functools import partial
from types import MappingProxyType

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gpstoken.generators.calls import Calls
from gpstoken.generators.content_transformer import ContentTransformer
from gpstoken.generators.dynamic_grain import Content, DynamicGrain
from gpstoken.generators.grain_map import DynamicGrainSampling, Grain
from gpstoken.profiling.counting import network_counts
from gpstoken.profiling.shapes import without_weights
from gpstoken.sit import SiT

SHAPE = (2, 3)
TINY = {
    "channels": 2, "map_shape": SHAPE, "width": 16, "depth": 2, "heads": 2, "refine_width": 8, "refine_depth": 2,
    "refine_heads": 2, "num_classes": 3,
}  # fmt: skip
CELLS = {"channels": 1, "shape": SHAPE, "width": 8, "depth": 1, "heads": 2, "num_classes": 3, "learn_sigma": False}
RECORD = {
    "num_classes": 3,
    "code": {"tokens": 15, "shape": [15], "channels": 2, "codebook_size": None},
    "statistics": {"tokens": {"mean": [1.0, -2.0], "std": [0.5, 4.0]}, "grain": {"mean": [0.5], "std": [0.5]}},
}
# Independent of the code: beta from 0.0001 to 0.02 in 1000 steps.
REMAINING = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)


def randomised(network, seed=0):
    """As made, networks predict zero."""
    chance = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data = 0.4 * torch.randn(parameter.shape, generator=chance)
    return network


@pytest.fixture
def content():
    generator = Content(randomised(ContentTransformer(**TINY))).eval()
    generator.prepare(RECORD)
    return generator


@pytest.fixture
def grain():
    generator = Grain(randomised(SiT(**CELLS))).eval()
    generator.prepare(RECORD)
    return generator


@pytest.fixture
def batch():
    chance = torch.Generator().manual_seed(5)
    maps = torch.stack([torch.randperm(6, generator=chance) < 3 for _ in range(4)]).float().view(4, *SHAPE, 1)
    return {"tokens": torch.randn(4, 15, 2, generator=chance), "grain": maps, "label": torch.tensor([0, 1, 2, 1])}


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_published_sizes():
    with torch.device("meta"):
        content = ContentTransformer()
        grain = SiT(1, (16, 16), width=384, depth=12, heads=6, learn_sigma=False)
    # 687 M in the paper; DiT-S is 32.96 M in systems.md, with a patch of 2 x 2 x 4 values in place of one
    assert sum(parameter.numel() for parameter in content.parameters()) / 1e6 == pytest.approx(687.33, abs=0.005)
    assert sum(parameter.numel() for parameter in grain.parameters()) / 1e6 == pytest.approx(32.95, abs=0.005)
    assert content.sample_shape == (640, 4)
    counted = [
        network_counts(without_weights(partial(make, config), ())).total
        for make, config in ((Content.from_config, {"network": content.config}),
                             (Grain.from_config, {"network": grain.config}))
    ]  # fmt: skip
    # 2 x multiply-adds. systems.md: 237.2 for the DiT of 256 tokens, 12.1 for DiT-S. A block of RefineNet on 512 tokens
    # of 384 channels: 12 * 384^2 for each token, 2 * 512 * 384 for attention, and 6 * 384^2 for the condition.
    refine = 4 * (512 * (12 * 384**2 + 2 * 512 * 384) + 6 * 384**2)
    assert 2 * counted[0] / 1e9 == pytest.approx(237.2 + 2 * refine / 1e9, rel=0.002)
    assert 2 * counted[1] / 1e9 == pytest.approx(12.1, rel=0.002)


class Slow:
    """The forward pass of one sample in float64, region by region, from the description and a state dict."""

    def __init__(self, network):
        self.own = {name: tensor.double() for name, tensor in network.state_dict().items()}
        self.config = network.config

    def linear(self, name, x):
        return x @ self.own[f"{name}.weight"].T + self.own[f"{name}.bias"]

    def modulated(self, x, shift, scale):
        centred = x - x.mean(-1, keepdim=True)
        normal = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return normal * (1 + scale) + shift

    def block(self, name, x, condition, heads):
        activated = condition * torch.sigmoid(condition)
        parts = self.linear(f"{name}.adaLN_modulation.1", activated).view(6, -1)
        query, key, value = self.linear(f"{name}.attn.qkv", self.modulated(x, parts[0], parts[1])).chunk(3, -1)
        size, heard = x.shape[1] // heads, []
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            weights = torch.softmax(query[:, own] @ key[:, own].T / math.sqrt(size), -1)
            heard.append(weights @ value[:, own])
        x = x + parts[2] * self.linear(f"{name}.attn.proj", torch.cat(heard, -1))
        inner = F.gelu(self.linear(f"{name}.mlp.fc1", self.modulated(x, parts[3], parts[4])), approximate="tanh")
        return x + parts[5] * self.linear(f"{name}.mlp.fc2", inner)

    def final(self, name, x, condition):
        shift, scale = self.linear(f"{name}.adaLN_modulation.1", condition * torch.sigmoid(condition)).chunk(2)
        return self.linear(f"{name}.linear", self.modulated(x, shift, scale))

    def __call__(self, codes, t, label, fine):
        """codes: {region: float[1 or 4, C]}, fine: whether each region is; to {region: float[1 or 4, 2 C]}."""
        frequencies = torch.exp(-math.log(10000) * torch.arange(128, dtype=torch.float64) / 128)
        wave = torch.cat([torch.cos(t * frequencies), torch.sin(t * frequencies)])
        first = self.linear("t_embedder.mlp.0", wave)
        condition = self.linear("t_embedder.mlp.2", first * torch.sigmoid(first))
        condition = condition + self.own["y_embedder.weight"][label]
        rows = []
        for region in range(len(fine)):
            row = self.linear("fine_embedder" if fine[region] else "coarse_embedder", codes[region].flatten())
            rows.append(row + self.own["pos_embed"][region])
        hidden = torch.stack(rows)
        for number in range(self.config["depth"]):
            hidden = self.block(f"blocks.{number}", hidden, condition, self.config["heads"])
        found = {r: self.final("final_layer", hidden[r : r + 1], condition) for r in range(len(fine)) if not fine[r]}
        busy, rows = [region for region in range(len(fine)) if fine[region]], []
        for region in busy:
            token = self.linear("refine.token_embedder", hidden[region])
            for place in range(4):
                code = self.linear("refine.code_embedder", codes[region][place])
                rows.append(token + code + self.own["refine.pos_embed"][region, place])
        parts, condition = torch.stack(rows), self.linear("refine.condition_embedder", condition)
        for number in range(self.config["refine_depth"]):
            parts = self.block(f"refine.blocks.{number}", parts, condition, self.config["refine_heads"])
        values = self.final("refine.final_layer", parts, condition)
        return found | {region: values[4 * place : 4 * place + 4] for place, region in enumerate(busy)}


@torch.no_grad()
def test_the_forward_pass_is_that_of_the_description(content, batch):
    network = content.network.double()
    x, t, label = batch["tokens"].double(), torch.tensor([0, 3, 500, 999]), torch.tensor([0, 3, 2, 1])
    found = network(x, t, label, batch["grain"])
    slow = Slow(network)
    for row in range(4):
        fine = batch["grain"][row].flatten().bool().tolist()
        whole, busy = ([r for r in range(6) if fine[r] is kind] for kind in (False, True))
        codes = {region: x[row, [place]] for place, region in enumerate(whole)}
        codes |= {region: x[row, 3 + 4 * place : 7 + 4 * place] for place, region in enumerate(busy)}
        said = slow(codes, float(t[row]), int(label[row]), fine)
        expected = torch.cat([said[region] for region in (*whole, *busy)])
        # float64; numbers up to some hundreds, and sums of at most 256 terms
        torch.testing.assert_close(found[row], expected, rtol=1e-9, atol=1e-9)
    assert found.std(0).min() > 1e-3  # it depends on what it is given


def test_as_made_it_predicts_zero_and_its_positions_are_those_of_dit():
    network = ContentTransformer(**TINY)
    given = Content(network).inputs(2)
    assert not network(**given).any()
    # The second half of the channels is of the row, the first of the column; sines come first.
    assert network.pos_embed[4, 0].item() == pytest.approx(math.sin(1)) and network.pos_embed[4, 8].item() == (
        pytest.approx(math.sin(1))
    )
    # Region 4 is in row 1 and column 1; its last code is in row 3 and column 3.
    assert network.refine.pos_embed[4, 3, [0, 4]].tolist() == pytest.approx([math.sin(3)] * 2)
    assert network.refine.pos_embed[4, 1, [0, 4]].tolist() == pytest.approx([math.sin(3), math.sin(2)])


MAPS = torch.tensor(
    [[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1], [0, 0, 1, 1]], dtype=torch.float64
)
SHARES = torch.tensor([[0.35, 0.05, 0.1, 0.2, 0.05, 0.25], [0.02, 0.3, 0.03, 0.3, 0.3, 0.05]], dtype=torch.float64)


class ExactCells(nn.Module):
    """The logit of every cell, given its noised map: of all maps, weighted by the probability of the noise."""

    num_classes, shape, channels, sample_shape, layout_channels = 2, (2, 2), 1, (1, 2, 2), 0
    config = MappingProxyType({"learn_sigma": False})

    def forward(self, x, t, label):
        remaining = REMAINING[t][:, None, None]
        apart = (x.double().flatten(1)[:, None] - remaining.sqrt() * (2 * MAPS - 1)).square().sum(-1)
        weights = (SHARES[label].log() - apart / (2 * (1 - remaining[..., 0]))).softmax(1)
        return torch.logit(weights @ MAPS, 1e-12).view(-1, 1, 2, 2)


def test_maps_are_drawn_with_their_probabilities():
    """All maps of two fine cells of four, so that the marginals of cells and pairs are right too."""
    count = 2000
    generator = Grain(ExactCells())
    generator.prepare(RECORD | {"num_classes": 2, "code": RECORD["code"] | {"tokens": 10}})
    labels = torch.arange(2 * count) % 2
    drawn = generator.sample(labels, range(2 * count), 0, DynamicGrainSampling(steps=100))["grain"]
    assert drawn.shape == (2 * count, 2, 2, 1)
    cells = drawn.double().flatten(1)
    for label in range(2):
        own, shares = cells[labels == label], SHARES[label]
        assert torch.equal(own.sum(1), torch.full((count,), 2.0, dtype=torch.float64))
        found = (own[:, None] == MAPS).all(-1).double().mean(0)
        assert ((found - shares).abs() < 4 * (shares * (1 - shares) / count).sqrt()).all()
        marginal = shares @ MAPS
        assert ((own.mean(0) - marginal).abs() < 4 * (marginal * (1 - marginal) / count).sqrt()).all()
    # and they cannot be drawn one by one from these marginals
    assert (SHARES[0] - SHARES[0].flip(0)).abs().max() > 0.05


class ExactCodes(nn.Module):
    """Predicts the noise, and the variance of a step of a chain, for independent Gaussian codes."""

    num_classes, map_shape, channels, fine, shape, layout_channels = 2, (2, 2), 2, 2, (10,), 0
    sample_shape, config = (10, 2), MappingProxyType({})

    def __init__(self, times, mean, deviation):
        super().__init__()
        self.times, self.deviation, self.mean = times, deviation, mean

    def forward(self, x, t, label, grain):
        remaining = REMAINING[t][:, None, None]
        spread = remaining * self.deviation**2 + 1 - remaining
        noise = (1 - remaining).sqrt() * (x.double() - remaining.sqrt() * self.mean(label, grain)) / spread
        step = self.times.index(int(t[0]))
        now = REMAINING[self.times[step]]
        before = REMAINING[self.times[step - 1]] if step else torch.ones((), dtype=torch.float64)
        beta = 1 - now / before
        least = beta * (1 - before) / (1 - now)
        # The posterior's variance, and that of the data given the state, times the square of its factor.
        exact = least + (before.sqrt() * beta / (1 - now)) ** 2 * self.deviation**2 * (1 - now) / spread[:1]
        fraction = ((exact.log() - least.log()) / (beta.log() - least.log())) if step else torch.zeros(1, 1, 1)
        return torch.cat([noise, (2 * fraction - 1).expand_as(noise)], dim=-1)


@pytest.mark.parametrize("guidance", [1.0, 1.5])
def test_codes_are_drawn_from_their_distribution(guidance):
    """Means of a class and of the map; guidance moves them away from the mean without a class."""
    count, deviation, steps = 1000, 0.5, 50

    def mean(label, grain):
        classes = torch.tensor([[1.0, -0.5], [-1.0, 0.5], [0.0, 0.0]], dtype=torch.float64)[label]
        return classes[:, None] + 0.3 * grain[:, 0, 0, 0, None, None] + torch.arange(10.0)[:, None] / 10

    times = torch.linspace(0, 999, steps, dtype=torch.float64).round().long().tolist()
    generator = Content(ExactCodes(times, mean, deviation))
    generator.prepare(RECORD | {"num_classes": 2, "code": RECORD["code"] | {"tokens": 10}})
    labels = torch.arange(2 * count) % 2
    grain = torch.zeros(2 * count, 2, 2, 1)
    grain[:count, 0], grain[count:, 1] = 1.0, 1.0
    how = DynamicGrainSampling(steps, guidance)
    parts = generator.sample(labels, range(2 * count), 0, how, grain=grain)
    assert parts["grain"] is grain
    codes = (parts["tokens"].double() - torch.tensor([1.0, -2.0])) / torch.tensor([0.5, 4.0])
    # Guided noise is the exact noise of a Gaussian whose mean is the class's plus half of its difference to no class's:
    # it is linear in the mean, of one deviation for all classes.
    hidden = mean(torch.full_like(labels, 2), grain)
    expected = hidden + guidance * (mean(labels, grain) - hidden)
    for first in (0, count):  # each kind of map, and in it each class
        for label in range(2):
            own = [row for row in range(first, first + count) if labels[row] == label]
            number = len(own)
            error = (codes[own] - expected[own]).mean(0)
            # The start is N(0, 1) and not N(0.006 mean, 1): less than 1e-4. 4 errors of 20 means each.
            assert error.abs().max() < 4 * deviation / number**0.5 + 1e-4
            ratio = codes[own].var(0) / deviation**2
            # The last step leaves out its noise of variance 1e-4, a share 4e-4.
            assert (ratio - 1).abs().max() < 4 * (2 / (number - 1)) ** 0.5 + 1e-3


@pytest.mark.parametrize("training", [False, True])
def test_the_loss_of_a_map_is_its_cross_entropy(grain, batch, training):
    many = {name: value.repeat_interleave(200, 0) for name, value in batch.items()}
    seen = []
    grain.network.register_forward_hook(lambda _, given, found: seen.append((*given, found)))
    loss = grain.train(training).loss(many, chance())
    ((x, t, label, logits),) = seen
    cells = many["grain"][..., 0][:, None]
    probability = torch.sigmoid(logits.double())  # float32 would lose the probability of what is nearly sure
    terms = cells * probability.log() + (1 - cells) * (1 - probability).log()
    torch.testing.assert_close(loss.double(), -terms.flatten(1).mean(1), rtol=1e-5, atol=1e-6)
    assert loss.shape == (800,) and torch.equal(loss, grain.loss(many, chance()))
    # the state: maps of -1 and 1 with noise, times evenly from 0 to 999
    remaining = REMAINING[t].float().view(-1, 1, 1, 1)
    noise = (x - remaining.sqrt() * (2 * cells - 1)) / (1 - remaining).sqrt()
    assert noise.mean().item() == pytest.approx(0, abs=4 / 4800**0.5)
    assert noise.var().item() == pytest.approx(1, abs=4 * (2 / 4800) ** 0.5)
    assert t.min() >= 0 and t.max() <= 999
    assert t.float().mean().item() == pytest.approx(499.5, abs=4 * 288.7 / 800**0.5)
    hidden = (label == 3).float().mean().item()
    # a tenth of 800, by four standard deviations of .0106
    assert hidden == pytest.approx(0.1, abs=0.0425) if training else torch.equal(label, many["label"])


class Wrong(nn.Module):
    """Predicts the noise, in some codes one more than it is, and the least variance."""

    num_classes, map_shape, channels, fine, shape, layout_channels = 3, SHAPE, 2, 3, (15,), 0
    sample_shape, config = (15, 2), MappingProxyType({})

    def __init__(self, data, codes):
        super().__init__()
        self.data, self.codes = data, codes

    def forward(self, x, t, label, grain):
        remaining = REMAINING[t][:, None, None]
        noise = (x.double() - remaining.sqrt() * self.data) / (1 - remaining).sqrt()
        noise[:, self.codes] += 1
        return torch.cat([noise, -torch.ones_like(noise)], dim=-1)


def test_every_code_counts_once(batch):
    """The dynamic-grain loss: three coarse codes count a quarter of the twelve codes of three fine regions."""
    data = (batch["tokens"] - torch.tensor([1.0, -2.0])) / torch.tensor([0.5, 4.0])
    losses = []
    for codes in (slice(0, 3), slice(3, 15), slice(0, 0)):
        generator = Content(Wrong(data, codes)).eval()
        generator.prepare(RECORD)
        losses.append(generator.loss(batch, chance(1)))
    coarse, fine, none = losses
    # Beyond time 0, both terms of the loss are quadratic in the error. Noise of 1e-3 and more is known to 1e-4 of it.
    torch.testing.assert_close(4 * (coarse - none), fine - none, rtol=1e-2, atol=1e-4)
    assert none.abs().max() < 1e-3 and coarse.min() > 3 / 15


def test_every_weight_is_trained(content, grain, batch):
    both = DynamicGrain(content, grain)
    loss = both.train().loss(batch, chance())
    expected = grain.loss(batch, stream := chance()) + content.loss(batch, stream)
    assert torch.equal(loss, expected)
    loss.sum().backward()
    fixed = {"grain.network.pos_embed"}
    missing = {name for name, weight in both.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert missing == fixed


def test_a_sample_does_not_depend_on_its_batch(content, grain):
    both, how = DynamicGrain(content, grain), DynamicGrainSampling(steps=6)
    labels = torch.tensor([0, 1, 2, 1])
    seen = Calls(both)
    together = both.sample(labels, [4, 7, 2, 9], 1, how)
    assert seen.calls == {"grain": 6, "content": 6} and both.calls(how) == 12
    assert seen.rows == {"grain": 24, "content": 48}  # only the codes are guided
    assert {name: tuple(part.shape) for name, part in together.items()} == {
        "tokens": (4, 15, 2), "grain": (4, *SHAPE, 1)
    }  # fmt: skip
    assert together["grain"].sum((1, 2, 3)).tolist() == [3] * 4
    alone = both.sample(labels[2:3], [2], 1, how)
    assert torch.equal(together["grain"][2:3], alone["grain"])
    # float32 states, which a network of random weights may magnify a hundredfold in six steps
    scale = alone["tokens"].abs().max()
    torch.testing.assert_close(together["tokens"][2:3] / scale, alone["tokens"] / scale, rtol=0, atol=1e-3)
    other = both.sample(labels, [4, 7, 2, 9], 2, how)["tokens"]
    assert ((other - together["tokens"]).abs().amax((1, 2)) > 1e-2).all()


def test_previews(content, grain, batch):
    assert grain.preview(batch["label"], {}, 3)["grain"].shape == (4, *SHAPE, 1)
    for generator in (content, DynamicGrain(content, grain)):
        assert torch.equal(generator.preview(batch["label"], batch, 3)["grain"], batch["grain"])


def test_config_rebuilds_a_stage(content, grain, batch):
    for stage in (content, grain):
        twin = type(stage).from_config(stage.config)
        twin.load_state_dict(stage.state_dict())
        assert torch.equal(twin.eval().loss(batch, chance()), stage.loss(batch, chance()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 4}, "3 classes, but the cache has 4"),
        ({"code": {"tokens": 6}}, "3 of 2 x 3 regions fine make 15 codes, but the cache has 6"),
        ({"statistics": {"latent": {}}}, "needs tokens, but the cache holds latent"),
        ({"statistics": {"tokens": {"mean": [0.0], "std": [1.0]}, "grain": {}}}, "2 channels, but tokens have 1"),
    ],
)
def test_only_a_cache_of_its_codes_will_do(content, change, message):
    with pytest.raises(ValueError, match=message):
        content.prepare(RECORD | change)


def test_what_does_not_belong_together_is_refused(content, grain):
    assert isinstance(content.complete(None, grain), DynamicGrain)
    with pytest.raises(ValueError, match=r"\Agenerator: grain maps alone make no image"):
        grain.complete(None)
    with pytest.raises(ValueError, match=r"\Agenerator: Content needs a Grain stage before it, got none\Z"):
        content.complete(None)
    with pytest.raises(ValueError, match=r"needs a Grain stage before it, got a Content\Z"):
        content.complete(None, content)
    other = Grain(SiT(**CELLS | {"shape": (3, 2)}))
    with pytest.raises(ValueError, match=r"are \(\(2, 3\), 3, 3\), those of its Grain \(\(3, 2\), 3, 3\)\Z"):
        content.complete(None, other)
    with pytest.raises(ValueError, match=r"\Anetwork: Grain needs channels 1, shape \(h, w\) and learn_sigma false\Z"):
        Grain(SiT(**CELLS | {"learn_sigma": True}))
    with pytest.raises(ValueError, match=r"\Arefine_width: 6 is not a multiple of heads 2 and of 4\Z"):
        ContentTransformer(**TINY | {"refine_width": 6})
    with pytest.raises(ValueError, match=r"\Ax: expected samples of shape \(15, 2\), got \(14, 2\)\Z"):
        content.network(torch.zeros(1, 14, 2), torch.zeros(1), torch.zeros(1).long(), torch.zeros(1, *SHAPE, 1))
    with pytest.raises(ValueError, match=r"\Agrain: expected \(1, 2, 3, 1\), got \(1, 3, 2, 1\)\Z"):
        content.network(torch.zeros(1, 15, 2), torch.zeros(1), torch.zeros(1).long(), torch.zeros(1, 3, 2, 1))
    for options, said in (({"steps": 1}, "steps: expected a whole number from 2"), ({"guidance": -1}, "guidance: ")):
        with pytest.raises(ValueError, match=said):
            DynamicGrainSampling(**options)
    content.std.zero_()
    with pytest.raises(ValueError, match=r"\Agenerator: untrained, or damaged"):
        content.sample(torch.tensor([0]), [0], 0, DynamicGrainSampling(), grain=torch.zeros(1, *SHAPE, 1))
