import math

import pytest
import torch
from scipy.stats import beta

from gpstoken.metrics import Statistics, frechet_distance, kernel, kernel_distance
from gpstoken.metrics.generation import FeatureSet
from gpstoken.metrics.moments import mean_and_covariance
from gpstoken.metrics.spread import expected_spread, frechet_floor, halves, share_error


def normal(n, d, seed, shift=0.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def features(pool):
    return FeatureSet({"pool": Statistics(*mean_and_covariance(pool), len(pool))}, pool)


def distance(first, second):
    return frechet_distance(*mean_and_covariance(first), *mean_and_covariance(second))


@pytest.mark.parametrize("n", [50, 500])
def test_floor_in_one_dimension(n):
    # Of a sample of a Gaussian of deviation 3 the mean is off by 9 / n squared, and (s - 3)² is 9 (2 - 2 c4) on average
    # with c4 = √(2 / (n - 1)) Γ(n / 2) / Γ((n - 1) / 2). Here 2 - 2 c4 is 1 / (2 n) + 7 / (16 n²) + ...; ours has
    # 1 / (2 (n - 1)) = 1 / (2 n) + 1 / (2 n²) + ..., more by 1 / (16 n²): of 3 / (2 n) that is 1 / (24 n).
    c4 = math.sqrt(2 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))
    floor = frechet_floor(torch.tensor([[9.0]]), n)
    assert floor == pytest.approx(9 / n + 9 * (2 - 2 * c4), rel=1 / (20 * n))
    assert frechet_floor(torch.tensor([[9.0]]), n, n) == pytest.approx(2 * floor, rel=1e-12)


def test_floor_by_drawing():
    # The next order is about d / n = 4 % of it; the mean of 300 draws, whose deviation is a third of it, is off by 2 %.
    scales = torch.tensor([3.0, 1, 1, 0.3, 0.1]).double()
    turn = torch.linalg.qr(normal(5, 5, 0))[0]
    covariance = turn @ scales.square().diag() @ turn.T
    draws = [normal(120, 5, seed + 1) * scales @ turn.T for seed in range(600)]
    one = [frechet_distance(*mean_and_covariance(x), torch.zeros(5), covariance) for x in draws[:300]]
    two = [distance(x, y) for x, y in zip(draws[::2], draws[1::2], strict=True)]
    assert frechet_floor(covariance, 120) == pytest.approx(sum(one) / 300, rel=0.1)
    assert frechet_floor(covariance, 120, 120) == pytest.approx(sum(two) / 300, rel=0.1)


def test_directions_without_spread_add_nothing():
    assert frechet_floor(torch.diag(torch.tensor([9.0, 0, 0])), 50) == frechet_floor(torch.tensor([[9.0]]), 50)


def test_halves_are_disjoint_random_and_repeatable():
    splits = list(halves(7, 3, seed=0))
    for first, second in splits:
        assert sorted([*first.tolist(), *second.tolist()]) == list(range(7)) and len(first) == 3
    assert len({tuple(first.tolist()) for first, _ in splits}) == 3
    assert all(torch.equal(a[0], b[0]) for a, b in zip(splits, halves(7, 3, seed=0), strict=True))


def test_frechet_distance_of_a_shifted_gaussian():
    # One dimension, N(1, 1) against N(0, 1): the distance of n samples is m² + (s - 1)². Its deviation is that of m²,
    # 2 / √n, and it exceeds 1 by 1 / n for m and 1 / (2 n) for s. The squares of 200 splits have Student-like errors of
    # √(2 / 200) = 10 %, so 5 % in the deviation; thrice that, and 3 % for the sample's own variance. The bias is a mean
    # of the same squares.
    n = 2000
    generated = features(normal(n, 1, 0, shift=1))
    real = FeatureSet({"pool": Statistics(torch.zeros(1).double(), torch.eye(1).double())}, None)
    score = frechet_distance(*mean_and_covariance(generated.pool), torch.zeros(1), torch.eye(1))
    spread = expected_spread({"fd_x": score}, generated, real, False, {}, splits=200)["fd_x"]
    assert spread.standard_error == pytest.approx(2 / math.sqrt(n), rel=0.18)
    assert spread.bias == pytest.approx(1.5 / n, rel=0.35)
    assert "do not say of how many" in spread.how
    # The statistics' own bias, if they are of m images, is that of one sample of a Gaussian.
    real.statistics["pool"] = Statistics(torch.zeros(1).double(), torch.eye(1).double(), 100)
    with_count = expected_spread({"fd_x": score}, generated, real, False, {}, splits=200)["fd_x"]
    assert with_count.bias - spread.bias == pytest.approx(1 / 100 + 1 / (4 * 99) * 2, rel=1e-6)


def test_frechet_distance_of_two_samples_of_one_gaussian():
    # The bias is all there is: the mean score over draws. That mean of 40 scores and of 40 biases is off by some
    # percents; with 20 samples a dimension the extrapolation is good to 2 %.
    scores, biases, errors = [], [], []
    for seed in range(40):
        sides = features(normal(100, 5, 2 * seed)), features(normal(100, 5, 2 * seed + 1))
        scores.append(distance(sides[0].pool, sides[1].pool))
        spread = expected_spread({"fid": scores[-1]}, *sides, True, {})["fid"]
        biases.append(spread.bias)
        errors.append(spread.standard_error**2)
    assert sum(biases) / 40 == pytest.approx(sum(scores) / 40, rel=0.25)
    # Too large by √2 here, as the module says; a deviation of 40 scores is off by 11 %.
    assert 1.0 < math.sqrt(sum(errors) / 40) / torch.tensor(scores).std() < 2.0


def test_reconstructions_are_split_with_their_images():
    # Perfect ones have no distance from their images, for any number of them, and no error.
    side = features(normal(40, 3, 0))
    scores = {"fid": 0.0, "kid": kernel_distance(side.pool, side.pool)["mean"]}
    paired, apart = (expected_spread(scores, side, side, True, {"subsets": 1}, paired) for paired in (True, False))
    assert abs(paired["fid"].bias) < 1e-12 and paired["fid"].standard_error < 1e-12 < 0.1 < apart["fid"].bias


@pytest.mark.parametrize("subsets", [False, True])
def test_kernel_distance_by_drawing(monkeypatch, subsets):
    # The deviation over 60 draws is off by 9 %, that of the error's mean square by 13 % of two splits each: thrice
    # both. By subsets it is an upper bound, which is near where the distributions differ.
    if subsets:
        monkeypatch.setattr(kernel, "EXACT", 100)
    values, squares = [], []
    for seed in range(60):
        sides = features(normal(200, 2, 2 * seed, shift=1)), features(normal(200, 2, 2 * seed + 1))
        told = kernel_distance(sides[1].pool, sides[0].pool, subset_size=50)
        values.append(told["mean"])
        spread = expected_spread({"kid_x": values[-1]}, *sides, True, told)["kid_x"]
        assert spread.bias == 0
        squares.append(spread.standard_error**2)
    ratio = math.sqrt(sum(squares) / 60) / float(torch.tensor(values).std())
    assert 0.6 < ratio < (1.9 if subsets else 1.5)


@pytest.mark.parametrize(("share", "images"), [(0.5, 10), (0.0, 10), (1.0, 7), (0.731, 50_000)])
def test_error_of_a_share(share, images):
    expected = beta(share * images + 1, (1 - share) * images + 1).std()
    assert share_error(share, images) == pytest.approx(expected, rel=1e-9)


def test_every_score_has_a_spread():
    pool, spatial = normal(40, 3, 0), normal(40, 2, 1)
    moments = {name: Statistics(*mean_and_covariance(x), 40) for name, x in (("pool", pool), ("spatial", spatial))}
    side = FeatureSet(moments, pool)
    scores = dict.fromkeys(("fid", "sfid", "is", "is_std", "precision", "recall", "kid"), 0.5)
    spread = expected_spread(scores, side, side, True, {"subsets": 1})
    assert set(spread) == set(scores) - {"is_std"}
    assert spread["is"].standard_error == 0.5 / math.sqrt(10)
    assert spread["sfid"].bias == frechet_floor(moments["spatial"].covariance, 40, 40)
    assert spread["sfid"].standard_error is None
    # of three images no halves can be made
    few = features(pool[:3])
    spread = expected_spread({"fid": 0.5, "kid": 0.5}, few, few, True, {"subsets": 1})
    assert spread["fid"].bias is spread["fid"].standard_error is spread["kid"].standard_error is None
