"""MaskGIT: what is masked in training, what a step of sampling keeps, and the published size."""

import math
from itertools import pairwise

import pytest
import torch
from scipy.stats import chisquare

from gpstoken.generators.masked import MaskedGenerator
from gpstoken.generators.masked_sampling import MaskedSampling

TINY = {"shape": (2, 4), "codebook_size": 5, "num_classes": 3, "width": 8, "depth": 1, "heads": 2}


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return MaskedGenerator(**TINY).eval()


def fix_logits(generator, logits):
    """The network gives every place the same logits: its last norm forgets what it is given."""
    head = generator.network.cls.predictions
    with torch.no_grad():
        head.transform.LayerNorm.weight.zero_()
        head.transform.LayerNorm.bias.zero_()
        head.bias.fill_(-50.0)
        head.bias[: len(logits)] = torch.as_tensor(logits)


def inputs_of(generator):
    """What the network is given from now on, call after call."""
    seen = []
    generator.network.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    return seen


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_defaults_are_the_published_size():
    with torch.device("meta"):
        generator = MaskedGenerator()
    # 172.46 M in systems.md of the suite; with the tokenizer 226.97, in the paper's table 227
    assert sum(parameter.numel() for parameter in generator.parameters()) / 1e6 == pytest.approx(172.46, abs=0.005)
    assert (generator.length, generator.mask) == (256, 2024)
    assert generator.network.get_input_embeddings().weight.shape == (2025, 768)


def test_no_word_is_padding(tiny):
    # torch's embedding gives a padding word no gradient, and code 0 is a code like any other.
    embedding = tiny.network.get_input_embeddings()
    assert embedding.padding_idx is None and embedding.weight[0].abs().sum() > 0


def test_the_loss_is_the_cross_entropy_of_what_is_masked(tiny):
    codes = torch.randint(0, 5, (4, 2, 4), generator=chance(1))
    batch = {"codes": codes, "label": torch.tensor([0, 1, 2, 0])}
    seen = inputs_of(tiny)
    loss = tiny.loss(batch, chance())
    (words,) = seen
    assert words[:, 0].tolist() == [5, 6, 7, 5]  # classes come after the codes
    hidden = words[:, 1:] == 8
    assert torch.equal(words[:, 1:][~hidden], codes.flatten(1)[~hidden])
    logits = tiny.network(words)[:, 1:].log_softmax(-1)
    for row in range(4):
        places = hidden[row].nonzero()[:, 0]
        right = codes.flatten(1)[row, places]
        # .9 of the target on the right word, .1 over all nine
        terms = 0.9 * logits[row, places, right] + 0.1 * logits[row, places].mean(-1)
        assert loss[row].item() == pytest.approx(-terms.mean().item(), rel=1e-5)
    assert torch.equal(loss, tiny.loss(batch, chance())) and not torch.equal(loss, tiny.loss(batch, chance(5)))


def test_at_least_half_is_masked_and_the_cosine_of_a_uniform_number_beyond():
    generator = MaskedGenerator(**TINY | {"shape": (1000,)}).eval()
    codes = torch.zeros(200, 1000, dtype=torch.long)
    seen = inputs_of(generator)
    with torch.no_grad():
        generator.loss({"codes": codes, "label": torch.zeros(200, dtype=torch.long)}, chance())
    shares = (seen[0][:, 1:] == generator.mask).float().mean(1)
    assert shares.min() >= 0.5 and shares.max() <= 1
    # cos(pi u / 2) < 1/2 for u > 2/3, a third of all: 67 of 200, by less than four standard deviations of 6.7
    assert (shares == 0.5).sum().item() == pytest.approx(200 / 3, abs=27)
    # P(share < s) = 1 - 2 acos(s) / pi above
    for share in (0.6, 0.8, 0.95):
        expected = 1 - 2 * math.acos(share) / math.pi
        assert (shares < share).float().mean().item() == pytest.approx(expected, abs=4 * (0.25 / 200) ** 0.5)


@pytest.mark.parametrize(("steps", "expected"), [(1, [16]), (4, [16, 14, 11, 6]), (40, None)])
def test_as_many_stay_masked_as_the_cosine_says_and_at_least_one_less_in_every_step(steps, expected):
    torch.manual_seed(0)
    generator = MaskedGenerator(**TINY | {"shape": (4, 4)}).eval()
    seen = inputs_of(generator)
    codes = generator.sample(torch.tensor([2, 0]), [0, 1], 0, MaskedSampling(steps=steps))["codes"]
    assert codes.shape == (2, 4, 4) and codes.min() >= 0 and codes.max() < 5
    masked = [(words[:, 1:] == generator.mask).sum(1).tolist() for words in seen]
    assert len(seen) == generator.calls(MaskedSampling(steps=steps)) == steps
    if expected is not None:  # floor(16 cos(pi / 2 * k / 4))
        assert masked == [[count] * 2 for count in expected]
    else:  # more steps than codes: one is left for the last ones
        counts = [count for count, _ in masked]
        assert counts == sorted(counts, reverse=True) and counts[-1] == 1
    for before, after in pairwise(seen):  # what was filled in stays
        kept = before != generator.mask
        assert torch.equal(after[kept], before[kept])


def test_codes_are_drawn_by_their_probability(tiny):
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0, 0.5])
    fix_logits(tiny, logits)
    codes = tiny.sample(torch.zeros(500, dtype=torch.long), range(500), 3, MaskedSampling(steps=1))["codes"]
    counts = torch.bincount(codes.flatten(), minlength=5)
    assert chisquare(counts.numpy(), (4000 * logits.double().softmax(0)).numpy()).pvalue > 1e-3


def test_the_surest_stay(tiny):
    # Without noise in the choice: code 1 has nine tenths of the probability, and stays before any other.
    fix_logits(tiny, torch.tensor([0.025, 0.9, 0.025, 0.025, 0.025]).log())
    seen = inputs_of(tiny)
    tiny.sample(torch.zeros(50, dtype=torch.long), range(50), 0, MaskedSampling(steps=2, temperature=0.0))
    after = seen[1][:, 1:]
    others = ((after != 1) & (after != tiny.mask)).sum(1)
    masked = (after == tiny.mask).sum(1)
    assert (masked == 5).all()  # floor(8 cos(pi / 4))
    # Of eight codes drawn three stay: another than 1 only where fewer than three were 1, in less than 1 of 4,000.
    assert others.sum() == 0


def test_a_sample_does_not_depend_on_its_batch(tiny):
    tiny.double()
    labels, how = torch.tensor([0, 1, 2, 1]), MaskedSampling(steps=3)
    together = tiny.sample(labels, [4, 7, 2, 9], 1, how)["codes"]
    alone = tiny.sample(labels[2:3], [2], 1, how)["codes"]
    assert torch.equal(together[2:3], alone)
    assert not torch.equal(together, tiny.sample(labels, [4, 7, 2, 9], 2, how)["codes"])


def test_only_a_cache_of_its_codes_will_do(tiny):
    record = {"num_classes": 3, "code": {"tokens": 8, "shape": [2, 4], "channels": 1, "codebook_size": 5}}
    tiny.prepare(record)
    for change, said in (
        ({"num_classes": 4}, "3 classes, but the cache has 4"),
        ({"code": record["code"] | {"codebook_size": 6}}, r"a codebook of 5, but the cache has .* 6 codes"),
        ({"code": record["code"] | {"codebook_size": None}}, r"but the cache has \[2, 4\] tokens, no codes"),
        ({"code": record["code"] | {"shape": [8]}}, r"but the cache has \[8\] tokens"),
        ({"code": record["code"] | {"channels": 6}}, r"makes codes alone, but a token has 5 numbers beside one"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            tiny.prepare(record | change)


def test_config_rebuilds_it(tiny):
    twin = MaskedGenerator(**tiny.config)
    twin.load_state_dict(tiny.state_dict())
    how = MaskedSampling(steps=2)
    assert torch.equal(
        twin.eval().sample(torch.tensor([1]), [0], 0, how)["codes"],
        tiny.sample(torch.tensor([1]), [0], 0, how)["codes"],
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "steps: expected a whole number of at least 1, got 0"),
        ({"temperature": -1.0}, "temperature: expected a finite number of at least 0"),
    ],
)
def test_options_out_of_range(options, said):
    with pytest.raises(ValueError, match=said):
        MaskedSampling(**options)
    with pytest.raises(ValueError, match="width: 9 is not a multiple of heads 2"):
        MaskedGenerator(**TINY | {"width": 9})
