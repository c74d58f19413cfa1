import math

import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric

from gpstoken.metrics import inception_score, kernel, kernel_distance


def some_features(n, d=5, shift=0.0, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def test_inception_score_by_hand():
    # Sure of one of 4 classes, all equally often: 4. Sure of one class: 1. Unsure: 1.
    sure = 1e3 * torch.eye(4).repeat(50, 1)
    # By parts of 20 of 200 shuffled samples, classes are not equally often: a little below.
    mean, deviation = inception_score(sure)
    assert 3.5 < mean < 4 and 0 < deviation < 0.4
    assert inception_score(sure, splits=1) == pytest.approx((4, 0), rel=1e-12)
    assert inception_score(sure[:1].repeat(20, 1)) == pytest.approx((1, 0))
    assert inception_score(torch.zeros(20, 8)) == pytest.approx((1, 0))


def test_samples_sorted_by_class_are_shuffled():
    classes = torch.eye(4).repeat_interleave(50, dim=0)
    assert inception_score(1e3 * classes)[0] > 3  # 1 for each part without


def test_kernel_distance_by_hand():
    # d = 1, (xy + 1)³. First 0, 1: one pair, (0 + 1)³ = 1. Second 2, 3: 7³ = 343. Across 1, 1, 3³, 4³: mean 93 / 4.
    result = kernel_distance(torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]]))
    assert result["mean"] == pytest.approx(1 + 343 - 2 * 93 / 4, rel=1e-14)
    assert result == {"mean": result["mean"], "standard_deviation": 0.0, "subsets": 1, "subset_size": 2}


def test_kernel_distance_by_loops():
    first, second = some_features(7).double(), some_features(4, shift=1, seed=1).double()

    def mean(x, y):
        values = [
            ((a @ b).item() / 5 + 1) ** 3 for i, a in enumerate(x) for j, b in enumerate(y) if x is not y or i != j
        ]
        return sum(values) / len(values)

    expected = mean(first, first) + mean(second, second) - 2 * mean(first, second)
    assert kernel_distance(first, second)["mean"] == pytest.approx(expected, rel=1e-12)


def test_all_pairs_are_torch_fidelitys_whole_subset():
    first, second = some_features(60).double(), some_features(60, shift=0.3, seed=1).double()
    expected = kid_features_to_metric(first, second, kid_subsets=1, kid_subset_size=60, rng_seed=0, verbose=False)
    assert kernel_distance(first, second)["mean"] == pytest.approx(
        expected["kernel_inception_distance_mean"], rel=1e-11
    )


def test_many_samples_are_compared_by_subsets(monkeypatch):
    first, second = some_features(300), some_features(250, shift=0.3, seed=1)
    whole = kernel_distance(first, second)
    monkeypatch.setattr(kernel, "EXACT", 299)
    result = kernel_distance(first, second, subsets=50, subset_size=100)
    assert (result["subsets"], result["subset_size"]) == (50, 100)
    # Both estimate one number; the mean of subsets has an error of about a seventh of their deviation.
    assert abs(result["mean"] - whole["mean"]) < result["standard_deviation"]
    assert kernel_distance(first, second)["subset_size"] == 250
    again = kernel_distance(first, second, subsets=50, subset_size=100)
    assert again == result != kernel_distance(first, second, subsets=50, subset_size=100, seed=1)


def test_it_is_unbiased():
    # Of two samples of one distribution it is as often negative as not, and zero on average.
    values = [
        kernel_distance(some_features(20, seed=2 * i), some_features(30, seed=2 * i + 1))["mean"] for i in range(60)
    ]
    values = torch.tensor(values)
    assert values.mean().abs() < 3 * values.std() / math.sqrt(60) and values.min() < 0 < values.max()


def test_bad_features():
    with pytest.raises(ValueError, match="9 samples are fewer than the 10 parts"):
        inception_score(torch.zeros(9, 4))
    with pytest.raises(ValueError, match="features of sample 3 are not finite"):
        inception_score(torch.zeros(20, 4).index_fill(0, torch.tensor([3]), math.nan))
    with pytest.raises(ValueError, match=r"got \(4, 5\) and \(4, 6\)"):
        kernel_distance(some_features(4), some_features(4, d=6))
    with pytest.raises(ValueError, match="two samples or more"):
        kernel_distance(some_features(4), some_features(1))
    with pytest.raises(ValueError, match=r"expected \[samples, d\], got shape \(4,\)"):
        kernel_distance(torch.zeros(4), some_features(4))
    with pytest.raises(ValueError, match="features of sample 0 are not finite"):
        kernel_distance(some_features(4), torch.full((4, 5), math.inf))
