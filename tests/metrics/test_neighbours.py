import math

import pytest
import torch

from gpstoken.metrics import neighbours, precision_recall


def some_features(n, d, shift=0.0, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def share_inside(members, samples, k):
    """By the definition, one pair after the other."""
    inside = 0
    for sample in samples:
        for i, member in enumerate(members):
            others = sorted(math.dist(member, other) for j, other in enumerate(members) if j != i)
            if math.dist(sample, member) <= others[k - 1]:
                inside += 1
                break
    return inside / len(samples)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("block", [7, 1000])
def test_by_the_definition(k, block, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    real, generated = some_features(40, 3), some_features(31, 3, shift=1, seed=1)
    precision, recall = precision_recall(real, generated, k=k)
    assert precision == pytest.approx(share_inside(real.tolist(), generated.tolist(), k))
    assert recall == pytest.approx(share_inside(generated.tolist(), real.tolist(), k))
    assert precision != recall and 0 < precision < 1 and 0 < recall < 1


def test_a_block_of_distances_is_no_larger_for_more_samples(monkeypatch):
    seen, part = [], neighbours.calculate_precision_recall_part

    def spy(*sides, batch_size, **options):
        seen.append(batch_size)
        return part(*sides, batch_size=batch_size, **options)

    monkeypatch.setattr(neighbours, "calculate_precision_recall_part", spy)
    real, generated = some_features(40, 3), some_features(31, 3, shift=1, seed=1)
    whole = precision_recall(real, generated)
    monkeypatch.setattr(neighbours, "ENTRIES", 240)
    assert precision_recall(real, generated) == whole
    assert seen == [neighbours.BLOCK, 6]


def test_by_hand():
    # On a line, k = 1. Real 0, 1, 10 have balls of 1, 1, 9, which hold 5, 19, -1 and not -2 nor 20.
    real = torch.tensor([[0.0], [1.0], [10.0]])
    generated = torch.tensor([[-2.0], [-1.0], [5.0], [19.0], [20.0]])
    # Generated balls: 1, 1, 6, 1, 1: 0 lies on the border of that of -1, 1 and 10 in that of 5.
    assert precision_recall(real, generated, k=1) == pytest.approx((3 / 5, 1))


def test_one_mode_of_two():
    # Generated samples of one of two real modes: precise, and half of what there is.
    real = torch.cat([some_features(60, 4), some_features(60, 4, shift=30, seed=1)])
    precision, recall = precision_recall(real, real[:60].clone(), k=3)
    assert precision == 1 and recall == 0.5


def test_far_from_the_origin_as_near_it():
    # Squares of 1e4 hide differences of 1 in float32; both sides shifted by one number, exact in float32.
    real, generated = ((some_features(50, 8, seed=seed) * 64).round() / 64 for seed in (0, 1))
    assert precision_recall(real + 8192, generated + 8192) == precision_recall(real, generated)


def test_bad_features():
    for real, generated in ((3, 9), (9, 3)):
        with pytest.raises(ValueError, match=r"more than 3 .* samples of width 4"):
            precision_recall(some_features(real, 4), some_features(generated, 4))
    with pytest.raises(ValueError, match=r"generated samples of width 4, got shape \(9, 5\)"):
        precision_recall(some_features(9, 4), some_features(9, 5))
    with pytest.raises(ValueError, match="real features are not finite"):
        precision_recall(torch.full((9, 4), math.nan), some_features(9, 4))
