import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from scipy.stats import binomtest
from torch.nn.functional import cross_entropy

from gpstoken.metrics.classifier import (
    accuracy,
    accuracy_on_real,
    against_chance,
    fit_classifier,
    per_class,
    thumbnails,
    wilson,
)


def clusters_of_points(n, classes=3, width=6, apart=12.0, seed=0):
    """Standard normal points around one corner a class, and their labels in turn."""
    labels = np.arange(n) % classes
    points = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    points[torch.arange(n), torch.from_numpy(labels)] += apart
    return points, labels


def test_classes_that_lie_apart_are_all_told():
    classify = fit_classifier(*clusters_of_points(60))
    points, labels = clusters_of_points(90, seed=1)
    probabilities = classify(points)
    assert probabilities.shape == (90, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.argmax(axis=1) == labels).all()


def test_probabilities_are_those_of_the_penalised_maximum_likelihood():
    points, labels = clusters_of_points(80, apart=1.5)  # overlapping, so that the optimum is far from 0 and 1
    others, _ = clusters_of_points(40, apart=1.5, seed=1)
    found = fit_classifier(points, labels)(others)
    mean, deviation = points.double().mean(0), points.double().std(0, correction=0)
    x, y = (points.double() - mean) / deviation, torch.from_numpy(labels)
    # The kernel exp(-|x - x'|^2 / d) through all training points: features K(x, X) K(X, X)^(-1/2), so that their inner
    # products are the kernel's.
    root = torch.from_numpy(np.linalg.inv(sqrtm(np.exp(-cdist(x, x, "sqeuclidean") / 6)).real))
    to_features = lambda points: torch.from_numpy(np.exp(-cdist(points, x, "sqeuclidean") / 6)) @ root  # noqa: E731
    standardised, features = (others.double() - mean) / deviation, to_features(x)
    weight, bias = torch.zeros(80, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    parameters = [weight.requires_grad_(), bias.requires_grad_()]
    newton = torch.optim.LBFGS(parameters, max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def loss():
        newton.zero_grad()
        value = cross_entropy(features @ weight + bias, y, reduction="sum") + weight.square().sum() / 2
        value.backward()
        return value

    newton.step(loss)
    expected = (to_features(standardised) @ weight + bias).softmax(1).detach().numpy()
    # scikit-learn stops at a gradient of 1e-4 of the mean loss.
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert 0.3 < expected.max(axis=1).mean() < 0.95


def test_a_thumbnail_is_the_means_of_its_cells():
    images = torch.zeros(1, 16, 16, 3, dtype=torch.uint8)
    images[0, :2, 2:4, 0] = torch.tensor([[0, 255], [255, 255]])  # the second cell of the first row, red
    found = thumbnails(images).reshape(3, 8, 8)
    assert found[0, 0, 1] == 0.75
    assert found.sum() == 0.75


def test_the_unit_of_a_feature_does_not_matter():
    points, labels = clusters_of_points(60, apart=1.5)
    units = torch.tensor([1.0, 1e4, 1e-4, 1.0, 1.0, 1.0])
    # Standardised values differ by rounding of float32, 1e-6.
    np.testing.assert_allclose(
        fit_classifier(points, labels)(points), fit_classifier(points * units, labels)(points * units), atol=1e-4
    )


def test_the_same_images_give_the_same_classifier():
    points, labels = clusters_of_points(60, apart=1.0)
    assert (fit_classifier(points, labels)(points) == fit_classifier(points, labels)(points)).all()


def test_labels_that_say_nothing_are_met_as_often_as_by_chance():
    points, labels = clusters_of_points(600)
    classify = fit_classifier(points, labels)
    shuffled = np.random.default_rng(0).permutation(labels)
    right = np.stack([classify(clusters_of_points(600, seed=seed)[0]).argmax(1) == shuffled for seed in (1, 2, 3)])
    low, high = accuracy(right)["interval"]
    assert low < 1 / 3 < high < 0.42  # ± 4 of 100 for 600 samples
    chance = against_chance(shuffled, (low, high))
    assert chance["chance"] == pytest.approx(1 / 3) and not chance["above_chance"] and not chance["well_above_chance"]


@pytest.mark.parametrize("counts", [[3], [2, 0, 1]])
def test_a_class_without_images_is_refused(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    with pytest.raises(ValueError, match=rf"images of two or more classes, got {counts}".replace("[", r"\[")):
        fit_classifier(torch.randn(len(labels), 4), labels)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (8, 10), (10, 10), (481, 500)])
def test_wilsons_interval_is_that_of_scipy(hits, n):
    expected = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson(hits / n, n, 1.959963984540054) == pytest.approx([expected.low, expected.high], abs=1e-12)


def test_the_interval_of_many_images_of_one_seed_is_the_binomial_one():
    right = np.arange(20000) < 15000
    found = accuracy(right[None])
    expected = binomtest(15000, 20000).proportion_ci(0.95, method="wilson")
    # n - 1 for n and Student's t for the normal quantile: relative 1e-4 of a half width of 0.006.
    assert found["interval"] == pytest.approx([expected.low, expected.high], abs=2e-6)
    assert found["mean"] == 0.75 and found["per_seed"] == [0.75] and found["count"] == 20000
    assert found["standard_error"] == pytest.approx(np.sqrt(0.75 * 0.25 / 20000), rel=1e-4)


def test_views_of_one_photograph_count_once():
    right = np.array([1, 1, 0, 1, 0, 1, 1, 1, 1, 0], dtype=bool)
    alone = accuracy(right[None])
    views = accuracy(np.repeat(right, 7)[None], [str(number // 7) for number in range(70)])
    assert views["interval"] == pytest.approx(alone["interval"]) and views["count"] == 70
    many = accuracy(np.repeat(right, 7)[None])["interval"]
    assert many[1] - many[0] < 0.5 * (views["interval"][1] - views["interval"][0])


def test_seeds_that_differ_widen_the_interval():
    same = np.tile(np.arange(100) < 60, (3, 1))
    rng = np.random.default_rng(0)
    differing = np.stack([rng.permutation(100) < share for share in (40, 60, 80)])
    widths = [high - low for low, high in (accuracy(right)["interval"] for right in (same, differing))]
    assert widths[1] > 2 * widths[0]
    assert accuracy(differing)["per_seed"] == [0.4, 0.6, 0.8]


def test_all_right_or_none_leaves_an_interval():
    # Rule of three and more: Wilson's of 0 of 50 with Student's t of 49, 2.0096: t² / (50 + t²) = 0.0747.
    assert accuracy(np.zeros((3, 50)))["interval"] == pytest.approx([0, 0.0747], abs=5e-5)
    assert accuracy(np.ones((3, 50)))["interval"] == pytest.approx([0.9253, 1], abs=5e-5)
    # Five photographs: t of 4 is 2.7764, 5 / (5 + t²).
    photographs = [str(number % 5) for number in range(50)]
    assert accuracy(np.ones((1, 50)), photographs)["interval"] == pytest.approx([0.3934, 1], abs=5e-5)


def test_the_interval_is_never_narrower_than_that_of_independent_images():
    # Two seeds that are right of opposite images but one: every image's mean is 1/2, and so is nearly every seed's.
    right = np.stack([np.arange(1000) < 500, np.arange(1000) >= 499])
    low, high = accuracy(right)["interval"]
    expected = binomtest(1001, 2000).proportion_ci(0.95, method="wilson")
    assert low <= expected.low and high >= expected.high


def test_the_interval_covers_the_truth():
    # Three seeds whose own accuracies scatter by 0.05 about 0.7, 60 samples each: 2000 draws tell 0.95 to ± 0.01 (2 s).
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        shares = np.clip(rng.normal(0.7, 0.05, 3), 0, 1)
        low, high = accuracy(rng.random((3, 60)) < shares[:, None])["interval"]
        covered += low <= 0.7 <= high
    assert covered / 2000 > 0.94


def test_chance_is_that_of_the_most_frequent_class():
    labels = np.array([0, 0, 0, 1, 2])
    found = against_chance(labels, (0.65, 0.9))
    # A sampler that always makes class 0 is right at 3 of 5; a quarter of the way from there to 1 is 0.7.
    assert found == {
        "chance": 0.6, "above_chance": True, "bar": pytest.approx(0.7), "well_above_chance": False,
    }  # fmt: skip
    assert against_chance(np.arange(4), (0.45, 0.9))["well_above_chance"]  # 0.25 + 0.75 / 4 = 0.4375


def test_by_class_by_hand():
    labels = np.array([0, 1, 0, 2])
    right = np.array([[1, 0, 1, 1], [0, 0, 1, 1]], dtype=bool)
    assert per_class(right, labels, ["a", "b", "c", "absent"]) == {
        "a": {"accuracy": 0.75, "samples": 4},
        "b": {"accuracy": 0.0, "samples": 2},
        "c": {"accuracy": 1.0, "samples": 2},
    }


def test_on_real_images_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5], [0.2, 0.8]])  # a tie goes to the first class
    found = accuracy_on_real(probabilities, np.array([0, 1, 1, 1]), None, ["a", "b"])
    assert found["accuracy"] == 0.75 and found["images"] == 4
    assert found["per_class"]["b"] == {"accuracy": pytest.approx(2 / 3), "samples": 3}
    assert found["interval"][0] < 0.75 < found["interval"][1] and found["photographs"] == 4
    views = accuracy_on_real(probabilities, np.array([0, 1, 1, 1]), ["x", "x", "y", "y"], ["a", "b"])
    assert views["accuracy"] == 0.75 and views["photographs"] == 2
