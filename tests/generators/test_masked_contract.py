"""The masked generators of TiTok, One-D-Piece and MaskBit: loss, batches, caches, previews."""

import math

import pytest
import torch

from gpstoken.baselines.quantisers import Bits
from gpstoken.generators.bits import BitGenerator, BitSampling
from gpstoken.generators.calls import Calls
from gpstoken.generators.masked_sampling import GuidedMaskedSampling
from gpstoken.generators.options import sampling_options
from gpstoken.generators.titok import OneDPieceGenerator, OneDPieceSampling, TiTokGenerator, UViTGenerator

TINY = {"shape": (6,), "num_classes": 3, "width": 8, "depth": 3, "heads": 2}
KINDS = [TiTokGenerator, OneDPieceGenerator, UViTGenerator, BitGenerator]


def tiny(kind, **others):
    torch.manual_seed(0)
    size = {"bits": 4} if kind is BitGenerator else {"codebook_size": 16}
    return kind(**TINY | size | others).eval()


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def generator(request):
    return tiny(request.param)


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def batch_of(count=4, length=6):
    return {"codes": torch.randint(0, 16, (count, length), generator=chance(1)), "label": torch.arange(count) % 3}


def logits_of(generator):
    """The words and labels that the network is given from now on, and what it answers."""
    seen, logits = [], generator.logits

    def record(words, labels):
        seen.append((words.clone(), labels.clone(), logits(words, labels)))
        return seen[-1][2]

    generator.logits = record
    return seen


def test_the_loss_is_the_cross_entropy_of_what_is_masked(generator):
    batch = batch_of()
    seen = logits_of(generator)
    loss = generator.loss(batch, chance())
    ((words, labels, logits),) = seen
    assert torch.equal(labels, batch["label"])
    if isinstance(generator, BitGenerator):  # by hand: the first word of a code is its two lowest bits
        right = torch.stack([batch["codes"] % 4, batch["codes"] // 4], dim=-1).flatten(1)
    else:
        right = batch["codes"]
    hidden = words == generator.mask
    assert torch.equal(words[~hidden], right[~hidden]) and hidden.any(1).all()
    logarithms = logits.log_softmax(-1)
    for row in range(4):
        places = hidden[row].nonzero()[:, 0]
        # .9 of the target on the right word, .1 over all of them
        terms = 0.9 * logarithms[row, places, right[row, places]] + 0.1 * logarithms[row, places].mean(-1)
        assert loss[row].item() == pytest.approx(-terms.mean().item(), rel=1e-5)
    assert torch.equal(loss, generator.loss(batch, chance())) and not torch.equal(
        loss, generator.loss(batch, chance(5))
    )


def test_training_masks_the_arc_cosine_of_a_uniform_number():
    generator = tiny(TiTokGenerator, shape=(1000,), depth=1)
    seen = logits_of(generator)
    with torch.no_grad():
        generator.loss(batch_of(200, 1000), chance())
    shares = (seen[0][0] == generator.mask).float().mean(1)
    assert shares.min() > 0 and shares.max() <= 1
    for share in (0.2, 0.5, 0.8):  # acos(u) 2 / pi < s where u > cos(pi s / 2)
        expected = 1 - math.cos(math.pi / 2 * share)
        assert (shares < share).float().mean().item() == pytest.approx(expected, abs=4 * (0.25 / 200) ** 0.5)


def test_training_hides_a_tenth_of_the_classes_and_evaluation_none(generator):
    batch = batch_of(1000)
    seen = logits_of(generator)
    with torch.no_grad():
        generator.loss(batch, chance())
        generator.train().loss(batch, chance())
    assert torch.equal(seen[0][1], batch["label"]) and torch.equal(seen[0][0], seen[1][0])
    hidden = seen[1][1] != batch["label"]
    assert (seen[1][1][hidden] == 3).all()
    # A standard deviation of sqrt(1000 * .1 * .9) = 9.5; four of them
    assert hidden.sum().item() == pytest.approx(100, abs=38)


def test_training_reaches_every_parameter(generator):
    generator.train().loss(batch_of(64), chance()).sum().backward()
    none = [name for name, each in generator.named_parameters() if each.grad is None or not each.grad.any()]
    assert none == []


def test_a_sample_does_not_depend_on_its_batch(generator):
    generator.double()
    labels, how = torch.tensor([0, 1, 2, 1]), type(generator).options(steps=3)
    together = generator.sample(labels, [4, 7, 2, 9], 1, how)["codes"]
    assert together.shape == (4, 6) and together.min() >= 0 and together.max() < 16 and together.dtype == torch.long
    assert torch.equal(together[2:3], generator.sample(labels[2:3], [2], 1, how)["codes"])
    assert not torch.equal(together, generator.sample(labels, [4, 7, 2, 9], 2, how)["codes"])
    with pytest.raises(ValueError, match=r"labels: expected long\[B\] of 0 to 2, got \[3\]"):
        generator.sample(torch.tensor([3]), [0], 0, how)  # the hidden class is none to ask for


def test_calls_and_rows(generator):
    how = type(generator).options(steps=4)
    counted = Calls(generator)
    generator.sample(torch.tensor([0, 1]), [0, 1], 0, how)
    assert counted.total == generator.calls(how) == 4
    # Guidance doubles the batch; where it grows from 0, not in the first step.
    assert counted.rows["generator"] == (16 if isinstance(generator, UViTGenerator) else 14)
    counted = Calls(generator)
    generator.sample(torch.tensor([0, 1]), [0, 1], 0, type(generator).options(steps=4, guidance=0.0))
    assert counted.rows["generator"] == 8
    for steps, expected in ((2, 2), (1000, type(generator).options.steps)):
        counted = Calls(generator)
        assert generator.preview(torch.tensor([1]), {}, steps)["codes"].shape == (1, 6)
        assert counted.total == expected


def test_the_options_of_the_command_line(generator):
    how = sampling_options(generator, {"steps": 5, "guidance": 2.5, "temperature": 1.0, "seed": 3})
    assert (how.steps, how.guidance, how.temperature) == (5, 2.5, 1.0)
    assert isinstance(how, GuidedMaskedSampling) and how.guidance_schedule == type(generator).options.guidance_schedule
    with pytest.raises(ValueError, match=r"--sampler: \w+ has no such option, only --steps, --guidance, --temperature"):
        sampling_options(generator, {"sampler": "ode"})


def test_config_rebuilds_it(generator):
    twin = type(generator)(**generator.config).eval()
    twin.load_state_dict(generator.state_dict())
    how = type(generator).options(steps=2)
    found = [each.sample(torch.tensor([1]), [0], 0, how)["codes"] for each in (generator, twin)]
    assert torch.equal(*found)
    given = generator.inputs(2)
    assert len(generator.network(**given)) == 2


def test_only_a_cache_of_its_codes_will_do(generator):
    record = {"num_classes": 3, "code": {"tokens": 6, "shape": [6], "channels": 1, "codebook_size": 16}}
    generator.prepare(record)
    with pytest.raises(
        ValueError, match=r"makes \[6\] codes of a codebook of 16, but the cache has \[6\] tokens, 8 co"
    ):
        generator.prepare(record | {"code": record["code"] | {"codebook_size": 8}})


def test_codes_bits_and_back():
    generator = BitGenerator(shape=(2,), bits=6, groups=3, num_classes=1, width=8, depth=1, heads=2)
    codes = torch.tensor([[0b10_01_11, 0], [63, 0b01_00_10]])
    words = torch.tensor([[3, 1, 2, 0, 0, 0], [3, 3, 3, 2, 0, 1]])
    assert torch.equal(generator.words_of(codes), words) and torch.equal(generator.codes_of(words), codes)
    words[0, 1] = 4  # masked
    # The lowest bit is first.
    bits = [[[1, 1, 0, 0, -1, 1], [-1] * 6], [[1] * 6, [-1, 1, -1, -1, 1, -1]]]
    assert generator.bits_of(words).tolist() == bits


def test_the_bits_are_those_of_the_tokenizer():
    generator = BitGenerator(shape=(64,), bits=6, groups=2, num_classes=1, width=8, depth=1, heads=2)
    codes = torch.arange(64)[None]
    assert torch.equal(generator.bits_of(generator.words_of(codes)), Bits(6).entries_of(codes))


@pytest.mark.parametrize(
    ("kind", "arguments", "said"),
    [
        (TiTokGenerator, {"width": 9}, "width: 9 is not a multiple of heads 2"),
        (UViTGenerator, {"depth": 4}, "depth: 4 is even, but a U-ViT has a block in the middle"),
        (BitGenerator, {"bits": 5}, "bits: 5 is not a multiple of groups 2"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(kind, arguments, said):
    with pytest.raises(ValueError) as caught:
        tiny(kind, **arguments)
    assert str(caught.value) == said


def test_more_steps_than_codes():
    generator = tiny(BitGenerator)
    seen = logits_of(generator)
    generator.sample(torch.tensor([0]), [0], 0, BitSampling(steps=40, guidance=0.0))
    masked = [int((words == generator.mask).sum()) for words, _, _ in seen]
    assert masked[0] == 12 and masked == sorted(masked, reverse=True) and masked[-1] == 1
    assert OneDPieceSampling(steps=40).guidance_at(1.0) == 12.5
