"""Masked samplers on small known distributions: single codes, pairs and all together come out as often as they must."""

import itertools

import pytest
import torch
from torch import nn

from gpstoken.generators.bits import BitGenerator, BitSampling
from gpstoken.generators.masked import MaskedGenerator
from gpstoken.generators.masked_sampling import GUIDANCE_SCHEDULES, MASK_SCHEDULES, GuidedMaskedSampling, MaskedSampling
from gpstoken.generators.titok import OneDPieceGenerator, OneDPieceSampling, TiTokGenerator, UViTGenerator, UViTSampling
from tests.generators.exact_filling import Exact, distribution, random_joint

SAMPLES = 4000
SIZES = {"num_classes": 2, "width": 8, "depth": 1, "heads": 2}
CODES = SIZES | {"shape": (3,), "codebook_size": 3}
OFFSETS = torch.tensor([0.0, 0.8, -0.6])


class ReadsClassFirst(nn.Module):
    """The exact network with MaskGIT's words, codes, classes, mask, or TiTok's, codes, mask, classes, hidden class."""

    def __init__(self, exact, first_class, answers_class):
        super().__init__()
        self.exact, self.first_class, self.answers_class = exact, first_class, answers_class

    def forward(self, words):
        logits = self.exact(words[:, 1:], words[:, 0] - self.first_class)
        if not self.answers_class:
            return logits
        # MaskGIT has logits for all words, also at the place of the class; the others must not be drawn.
        whole = torch.full((len(words), words.shape[1], 6), 9.0, dtype=torch.float64)
        whole[:, 1:, :3] = logits
        return whole


class ReadsBits(nn.Module):
    """The exact network of four groups of a bit: two codes of two bits, the least significant first."""

    def __init__(self, exact):
        super().__init__()
        self.exact = exact
        self.positions = nn.Parameter(torch.zeros(1))

    def forward(self, bits, labels):
        words = torch.where(bits == 0, 2, (bits.flatten(1) > 0).reshape(bits.shape).long()).flatten(1)
        return self.exact(words, labels).reshape(len(bits), 2, 4)


def generator_of(kind):
    """A generator whose network is exact, and the distribution of each class."""
    if kind is BitGenerator:
        joint = random_joint(2, 4, 2, 3)
        generator = kind(shape=(2,), bits=2, groups=2, **SIZES)
        generator.network = ReadsBits(Exact(joint, torch.zeros(4)))
        return generator.eval(), joint
    joint = random_joint(2, 3, 3)
    generator = kind(**CODES)
    maskgit = kind is MaskedGenerator
    generator.network = ReadsClassFirst(Exact(joint, OFFSETS), 3 if maskgit else 4, maskgit)
    return generator.eval(), joint


def drawn(generator, label, options):
    labels = torch.full((SAMPLES,), label)
    codes = generator.sample(labels, range(SAMPLES), 5, options)["codes"]
    return codes if not isinstance(generator, BitGenerator) else generator.words_of(codes)


def agree(found, expected):
    """A share of n samples has a standard error of sqrt(p (1 - p) / n); four of them, and a sample for rare ones."""
    error = (expected * (1 - expected) / SAMPLES).clamp(min=0).sqrt()
    bad = (found - expected).abs() > 4 * error + 1 / SAMPLES
    assert not bad.any(), f"{found[bad].tolist()} for {expected[bad].tolist()}"
    assert (found[expected == 0] == 0).all()


def table(codes, choices):
    """The share of each combination of words: float[choices, ...]."""
    counts = torch.zeros([choices] * codes.shape[1], dtype=torch.float64)
    for row in codes.tolist():
        counts[tuple(row)] += 1
    return counts / len(codes)


def as_table(shares, like):
    expected = torch.zeros_like(like)
    for cell, share in shares.items():
        expected[cell] += share
    assert expected.sum().item() == pytest.approx(1)
    return expected


@pytest.mark.parametrize("kind", [MaskedGenerator, BitGenerator])
@pytest.mark.parametrize("label", [0, 1])
def test_one_code_a_step_gives_the_distribution_itself(kind, label):
    # With endless noise the order is random whatever is drawn, so that the chain rule holds. Masked after each step:
    # floor(3 cos(pi k / 6)) = 2, 1; floor(4 acos(k / 4) 2 / pi) = 3, 2, 1.
    generator, joint = generator_of(kind)
    joint = joint[label]
    places = joint.dim()
    options = MaskedSampling(places, 1e9) if kind is MaskedGenerator else BitSampling(places, 1e9, guidance=0.0)
    found = table(drawn(generator, label, options), joint.shape[0])
    agree(found, joint)
    for place in range(places):
        others = [axis for axis in range(places) if axis != place]
        agree(found.sum(others), joint.sum(others))
    for pair in itertools.combinations(range(places), 2):
        others = [axis for axis in range(places) if axis not in pair]
        agree(found.sum(others), joint.sum(others))
    # That the pairs are dependent is far from hidden by the errors: an eighth, where they are less than a thirtieth.
    independent = joint.sum(list(range(1, places))).reshape(-1, *[1] * (places - 1))
    for axis in range(1, places):
        marginal = joint.sum([other for other in range(places) if other != axis])
        independent = independent * marginal.reshape(*[-1 if other == axis else 1 for other in range(places)])
    assert (independent - joint).abs().sum() > 0.25


@pytest.mark.parametrize("kind", [MaskedGenerator, BitGenerator])
def test_all_in_one_step_gives_independent_codes_of_the_marginals(kind):
    generator, joint = generator_of(kind)
    options = MaskedSampling(1) if kind is MaskedGenerator else BitSampling(1, guidance=0.0)
    found = drawn(generator, 1, options)
    for place in range(found.shape[1]):
        others = [axis for axis in range(found.shape[1]) if axis != place]
        agree(torch.bincount(found[:, place], minlength=joint.shape[-1]) / SAMPLES, joint[1].sum(others))


# Masked after each step, by hand: floor(3 cos(pi / 4)) = 2; floor(3 cos(pi k / 6)) = 2, 1.
# floor(3 acos(1 / 2) 2 / pi) = 2; floor(3 acos(k / 3) 2 / pi) = floor(2.35), floor(1.61). Of four: floor(2.67).
# Guidance before each step, by the weight w, of 2 steps: linear 0, w / 2; cosine 0, w (1 - cos(pi / 8)) / 2;
# power-cosine 1, 1 + (w - 1) (1 - cos(pi / 8)) / 2, where (1 - cos(pi / 8)) / 2 = 0.0380602; of 3 steps: 0, w / 3,
# 2 w / 3; (1 - cos(pi / 27)) / 2 = 0.0033808 and (1 - cos(8 pi / 27)) / 2 = 0.2014207.
LATE = 0.0380602337443566
THIRDS = (0.0033808211290285, 0.2014207041486069)
CASES = {
    "MaskGIT as published, 2 steps": (MaskedGenerator, MaskedSampling(2), [2, 0], [0, 0], [2.25, 0]),
    "MaskGIT, little noise": (MaskedGenerator, MaskedSampling(2, 0.5), [2, 0], [0, 0], [0.25, 0]),
    "MaskGIT, without noise": (MaskedGenerator, MaskedSampling(3, 0.0), [2, 1, 0], [0, 0, 0], [0, 0, 0]),
    "MaskGIT, 3 steps": (MaskedGenerator, MaskedSampling(3, 1.5), [2, 1, 0], [0, 0, 0], [1.0, 0.5, 0]),
    "TiTok-B64 as published, 2 steps": (TiTokGenerator, GuidedMaskedSampling(2), [2, 0], [0, 1.5], [5.5, 0]),
    "TiTok-B64, 3 steps": (TiTokGenerator, GuidedMaskedSampling(3, 1.5), [2, 1, 0], [0, 1, 2], [1.0, 0.5, 0]),
    "TiTok-B64, constant guidance": (
        TiTokGenerator, GuidedMaskedSampling(2, 2.0, 1.5, "constant"), [2, 0], [1.5, 1.5], [1.0, 0],
    ),
    "One-D-Piece as published, 2 steps": (OneDPieceGenerator, OneDPieceSampling(2), [2, 0], [0, 6.25], [5.5, 0]),
    "TiTok-S128 as published, 2 steps": (
        UViTGenerator, UViTSampling(2), [2, 0], [1, 1 + 5.9 * LATE], [1.4, 0],
    ),
    "TiTok-S128, 3 steps": (
        UViTGenerator, UViTSampling(3), [2, 1, 0], [1, 1 + 5.9 * THIRDS[0], 1 + 5.9 * THIRDS[1]],
        [2.8 * 2 / 3, 2.8 / 3, 0],
    ),
    "MaskBit as published, 2 steps": (BitGenerator, BitSampling(2), [2, 0], [0, 7.1 * LATE], [3.9, 0]),
    "MaskBit, little noise": (BitGenerator, BitSampling(2, 0.5), [2, 0], [0, 7.1 * LATE], [0.25, 0]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("label", [0, 1])
def test_the_published_sampler_has_its_exact_distribution(case, label):
    kind, options, masked, guidance, temperatures = CASES[case]
    generator, joint = generator_of(kind)
    offsets = torch.zeros(4) if kind is BitGenerator else OFFSETS
    noise = "confidence" if kind in (MaskedGenerator, BitGenerator) else "codes"
    expected = distribution(joint[label], joint[2], offsets, masked, guidance, temperatures, noise)
    agree(table(drawn(generator, label, options), joint.shape[-1]), as_table(expected, joint[label]))


class OneSureCode(nn.Module):
    """The first code is certain; the others are any of seven."""

    def forward(self, words):
        logits = torch.zeros(len(words), words.shape[1], 10, dtype=torch.float64)
        logits[:, 1, 1:] = -60.0
        return logits


def test_the_noise_on_the_confidence_is_gumbel_noise():
    # One of sixteen codes stays after the first of five steps, floor(16 cos(pi / 10)) = 15 do not. The surest has 0,
    # the others log(1 / 7); with Gumbel noise of temperature 1.25 (1 - 1 / 5) = 1 it stays with 7 / (7 + 15). With the
    # sign of the noise turned round it would in about twice as many, since then the tail that is long is the lower.
    generator = MaskedGenerator(**CODES | {"shape": (16,), "codebook_size": 7, "num_classes": 2}).eval()
    generator.network, seen = OneSureCode(), []
    generator.network.register_forward_pre_hook(lambda _, given: seen.append(given[0][:, 1:].clone()))
    generator.sample(torch.zeros(SAMPLES, dtype=torch.long), range(SAMPLES), 7, MaskedSampling(5, 1.25))
    stays = seen[1] != generator.mask
    assert (stays.sum(1) == 1).all()
    agree(stays.double().mean(0), torch.tensor([7.0, *[1.0] * 15], dtype=torch.float64) / 22)


def test_published_options():
    # systems.md, section 5: steps, guidance, temperature and schedules
    for options, expected in (
        (MaskedSampling(), (12, 4.5, None, None, "cosine")),
        (GuidedMaskedSampling(), (8, 11.0, 3.0, "linear", "arccos")),
        (UViTSampling(), (64, 2.8, 6.9, "power-cosine", "arccos")),
        (OneDPieceSampling(), (16, 11.0, 12.5, "linear", "arccos")),
        (BitSampling(), (64, 7.8, 7.1, "cosine", "arccos")),
    ):
        weights = (getattr(options, "guidance", None), getattr(options, "guidance_schedule", None))
        assert (options.steps, options.temperature, *weights, options.mask_schedule) == expected


def test_schedules_by_hand():
    for name, at_half in (("cosine", 0.5**0.5), ("arccos", 2 / 3)):
        assert [MASK_SCHEDULES[name](progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx([1, at_half, 0])
    for name, expected in (
        ("constant", (4, 4, 4)), ("linear", (0, 2, 4)), ("cosine", (0, 4 * LATE, 4)),
        ("power-cosine", (1, 1 + 3 * LATE, 4)),
    ):  # fmt: skip
        assert [GUIDANCE_SCHEDULES[name](4.0, progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx(expected)
    for kind in (GuidedMaskedSampling, UViTSampling, BitSampling, OneDPieceSampling):
        assert [kind(guidance=0.0).guidance_at(progress) for progress in (0.0, 0.5)] == [0, 0]  # none at all


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "steps: expected a whole number of at least 1, got 0"),
        ({"temperature": -1.0}, "temperature: expected a finite number of at least 0"),
        ({"guidance": -1.0}, "guidance: expected a finite number of at least 0"),
        ({"guidance_schedule": "cosin"}, "guidance_schedule: expected one of 'constant', 'linear', 'cosine', "),
    ],
)
@pytest.mark.parametrize("kind", [GuidedMaskedSampling, UViTSampling, OneDPieceSampling, BitSampling])
def test_options_out_of_range(kind, options, said):
    with pytest.raises(ValueError, match=said):
        kind(**options)
