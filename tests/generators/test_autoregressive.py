"""The autoregressive generator: an exactly known joint distribution, its loss, and the inferred size."""

import itertools
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from gpstoken.generators.autoregressive import AutoregressiveGenerator, AutoregressiveSampling
from gpstoken.generators.calls import Calls
from gpstoken.profiling.counting import network_counts
from gpstoken.profiling.rows import read_row
from gpstoken.profiling.shapes import without_weights

ROW = Path(__file__).parents[2] / "experiments/generators/flextok_ar.yaml"
TINY = {
    "num_tokens": 6, "codebook_size": 5, "num_classes": 3, "width": 16, "depth": 2, "heads": 2, "hidden_width": 24,
}  # fmt: skip


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return AutoregressiveGenerator(**TINY).eval()


def chance():
    return torch.Generator().manual_seed(1)


def test_the_size_is_near_that_of_the_paper():
    generator = without_weights(read_row(ROW).build, ())
    parameters = sum(parameter.numel() for parameter in generator.parameters())
    # 1305.6 M in systems.md, where it is inferred: the paper says 1.33 B
    assert parameters / 1e6 == pytest.approx(1305.6, abs=0.1)
    # A matrix of a x b has a b multiply-adds at each of 256 positions; embeddings are looked up. Attention: every
    # position with all, twice, in 28 layers.
    matrices = 28 * (4 * 1792**2 + 3 * 1792 * 4736) + 65001 * 1792
    assert network_counts(generator).total == 256 * matrices + 28 * 2 * 256**2 * 1792


# A joint of three codes of 0 to 2 for each of two classes, and for no class


class Exact:
    """Logits of the next code of a known joint, from one word a call, as the cached network gives them."""

    def __init__(self, joints):
        """Joints float64[3, 3, 3, 3]: class or none, codes."""
        self.joints, self.calls = joints, 0

    def __call__(self, words, cache=None):
        assert words.shape[1] == 1
        if self.calls == 0:
            assert (words >= 3).all()  # the class comes first
            self.rows = [self.joints[int(word) - 3] for word in words]
        else:
            self.rows = [row[int(word)] for row, word in zip(self.rows, words, strict=True)]
        self.calls += 1
        marginals = torch.stack([row.reshape(3, -1).sum(1) for row in self.rows])
        other = torch.full((len(words), 3), 50.0)  # class words are never codes
        return torch.cat([marginals.log(), other], dim=1)[:, None]


COUNT = 6000


@pytest.fixture(scope="module")
def joints():
    draws = torch.rand(3, 3, 3, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64) ** 3
    return draws / draws.sum((1, 2, 3), keepdim=True)


def sampled(joints, label, **options):
    generator = AutoregressiveGenerator(3, 3, 2, width=4, depth=1, heads=1, hidden_width=4)
    generator.network.forward = Exact(joints)
    labels = torch.full((COUNT,), label)
    return generator.sample(labels, range(COUNT), 0, AutoregressiveSampling(**options))["codes"]


def assert_frequencies(codes, joint):
    """Every marginal and pair within four standard errors, sqrt(p (1 - p) / n)."""
    places = range(codes.shape[1])
    for chosen in (*((place,) for place in places), *itertools.combinations(places, 2)):
        others = [place for place in places if place not in chosen]
        expected = joint.sum(others) if others else joint
        for values in itertools.product(range(3), repeat=len(chosen)):
            found = (codes[:, list(chosen)] == torch.tensor(values)).all(1).double().mean().item()
            p = expected[values].item()
            assert found == pytest.approx(p, abs=4 * (p * (1 - p) / COUNT) ** 0.5), (chosen, values)


@pytest.mark.parametrize("label", [0, 1])
def test_marginals_and_pairs_are_those_of_the_joint(joints, label):
    assert_frequencies(sampled(joints, label, guidance=1.0), joints[label])


def test_the_other_class_does_not_pass(joints):
    with pytest.raises(AssertionError):
        assert_frequencies(sampled(joints, 0, guidance=1.0), joints[1])


def test_a_first_part_has_its_own_marginals(joints):
    codes = sampled(joints, 0, guidance=1.0, num_tokens=2)
    assert codes.shape == (COUNT, 2)
    assert_frequencies(codes, joints[0].sum(2))
    assert torch.equal(codes, sampled(joints, 0, guidance=1.0)[:, :2])  # what the same noise makes of all


def conditionals(joint):
    """p(a), p(b | a), p(c | a, b)."""
    first, pair = joint.sum((1, 2)), joint.sum(2)
    return first, pair / first[:, None], joint / pair[..., None]


@pytest.mark.parametrize(("guidance", "temperature"), [(2.0, 1.0), (1.0, 0.5), (0.0, 1.0), (1.5, 2.0)])
def test_guidance_and_temperature_are_powers_of_each_step(joints, guidance, temperature):
    # u + s (c - u) of logits: each step's probability is proportional to (p_none (p_class / p_none)^s)^(1 / T).
    steps = []
    for given, none in zip(conditionals(joints[0]), conditionals(joints[2]), strict=True):
        power = (none * (given / none) ** guidance) ** (1 / temperature)
        steps.append(power / power.sum(-1, keepdim=True))
    joint = steps[0][:, None, None] * steps[1][..., None] * steps[2]
    assert_frequencies(sampled(joints, 0, guidance=guidance, temperature=temperature), joint)


# The network


def test_the_loss_is_the_cross_entropy_given_the_true_codes_before(tiny):
    codes, labels = torch.randint(0, 5, (4, 6), generator=chance()), torch.tensor([0, 1, 2, 0])
    loss = tiny.loss({"codes": codes, "label": labels}, chance())
    for row in range(4):
        total = 0.0
        for place in range(6):  # the words up to this place alone: what comes later must not matter
            words = torch.cat([5 + labels[row : row + 1], codes[row, :place]])[None]
            logits = tiny.network(words)[0, -1, :5]
            total -= F.log_softmax(logits, dim=-1)[codes[row, place]].item()
        # float32 sums of 24 numbers below 10
        assert loss[row].item() == pytest.approx(total / 6, rel=1e-5)


def test_a_class_is_hidden_in_a_tenth_of_training_alone(tiny):
    seen = []
    tiny.network.register_forward_pre_hook(lambda _, given: seen.append(given[0][:, 0]))
    batch = {"codes": torch.zeros(400, 6, dtype=torch.long), "label": torch.ones(400, dtype=torch.long)}
    for training in (True, False):
        tiny.train(training).loss(batch, chance())
    assert set(seen[0].tolist()) == {6, 8}
    # a tenth of 400, by four standard deviations of .015
    assert (seen[0] == 8).float().mean().item() == pytest.approx(0.1, abs=0.06)
    assert (seen[1] == 6).all()


def test_sampling_with_the_cache_takes_the_likeliest_code_of_the_whole_network(tiny):
    tiny.double()
    labels = torch.tensor([0, 2])
    cold = tiny.sample(labels, [3, 4], 0, AutoregressiveSampling(temperature=1e-6, guidance=1.0))["codes"]
    words = 5 + labels[:, None]
    for _ in range(6):  # without a cache
        words = torch.cat([words, tiny.network(words)[:, -1:, :5].argmax(-1)], dim=1)
    assert torch.equal(cold, words[:, 1:])


def test_a_sample_does_not_depend_on_its_batch(tiny):
    tiny.double()
    labels, how = torch.tensor([0, 1, 2, 1]), AutoregressiveSampling()
    together = tiny.sample(labels, [4, 7, 2, 9], 1, how)["codes"]
    assert together.min() >= 0 and together.max() < 5
    assert torch.equal(together[2:3], tiny.sample(labels[2:3], [2], 1, how)["codes"])
    assert not torch.equal(together, tiny.sample(labels, [4, 7, 2, 9], 2, how)["codes"])


@pytest.mark.parametrize("options", [{}, {"num_tokens": 2}, {"num_tokens": 4, "guidance": 1.0}])
def test_calls_are_known_beforehand(tiny, options):
    seen, how = Calls(tiny), AutoregressiveSampling(**options)
    tiny.sample(torch.tensor([0, 1]), [0, 1], 0, how)
    assert seen.total == tiny.calls(how)
    assert seen.rows["generator"] == seen.total * (2 if options.get("guidance") == 1.0 else 4)


def test_previews_are_first_parts(tiny):
    assert tiny.preview(torch.tensor([0, 1]), {}, 4)["codes"].shape == (2, 4)
    assert tiny.preview(torch.tensor([0, 1]), {}, 25)["codes"].shape == (2, 6)


def test_only_a_cache_of_its_codes_will_do(tiny):
    record = {"num_classes": 3, "code": {"tokens": 6, "shape": [6], "channels": 1, "codebook_size": 5}}
    tiny.prepare(record)
    for change, message in (
        ({"num_classes": 4}, "3 classes, but the cache has 4"),
        ({"code": record["code"] | {"codebook_size": 6}}, r"a codebook of 5, but the cache has .* 6 codes"),
        ({"code": record["code"] | {"codebook_size": None}}, "no codes"),
        ({"code": record["code"] | {"shape": [2, 3]}}, r"makes \[6\] codes"),
        ({"code": record["code"] | {"channels": 6}}, "tokens of 6 numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny.prepare(record | change)


def test_config_rebuilds_it(tiny):
    twin = AutoregressiveGenerator.from_config(tiny.config)
    twin.load_state_dict(tiny.state_dict())
    batch = {"codes": torch.ones(2, 6, dtype=torch.long), "label": torch.tensor([0, 1])}
    assert torch.equal(twin.eval().loss(batch, chance()), tiny.loss(batch, chance()))


def test_options_out_of_range(tiny):
    for options, message in (
        ({"num_tokens": 0}, "num_tokens: expected a whole number of at least 1"),
        ({"temperature": 0.0}, "temperature: expected a finite number above 0"),
        ({"guidance": -1.0}, "guidance: expected a finite number of at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            AutoregressiveSampling(**options)
    with pytest.raises(ValueError, match="num_tokens: an image has 6 codes, asked for 7"):
        tiny.sample(torch.tensor([0]), [0], 0, AutoregressiveSampling(num_tokens=7))
    with pytest.raises(ValueError, match="width: 18 is not a multiple of twice heads 2"):
        AutoregressiveGenerator(**TINY | {"width": 18})
