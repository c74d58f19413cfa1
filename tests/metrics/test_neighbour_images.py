import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from gpstoken.metrics.neighbour_images import memorisation, nearest, nearest_by_features, nearest_images, page


def images(n, seed, side=16):
    return torch.randint(0, 256, (n, side, side, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def features(n, seed, width=20):
    return torch.rand(n, width, generator=torch.Generator().manual_seed(seed)) - 0.3


def by_sklearn(queries, references, metric):
    search = NearestNeighbors(n_neighbors=1, algorithm="brute", metric=metric).fit(references)
    distance, index = search.kneighbors(queries)
    return index[:, 0], distance[:, 0]


@pytest.mark.parametrize("block", [7, 512])
def test_nearest_pixels_are_those_of_sklearn(block):
    samples, training = images(33, 0), images(41, 1)
    index, distance = nearest(samples, training, block)
    expected = by_sklearn(samples.flatten(1).double().numpy(), training.flatten(1).double().numpy(), "euclidean")
    assert index.tolist() == expected[0].tolist()
    np.testing.assert_allclose(distance, expected[1], rtol=1e-9)
    assert len(set(index.tolist())) > 5


def test_nearest_features_are_those_of_sklearn():
    samples, training = features(33, 0), features(41, 1)
    index, distance = nearest_by_features(samples, training)
    expected = by_sklearn(samples.double().numpy(), training.double().numpy(), "cosine")
    assert index.tolist() == expected[0].tolist()
    # Directions are rounded to 3e-8 a component: 20 of them times differences of about 0.3.
    np.testing.assert_allclose(distance, expected[1], atol=2e-7)


def test_distances_do_not_depend_on_the_block():
    samples, training = images(50, 0), images(60, 1)
    one, other = (nearest(samples, training, block) for block in (1, 13))
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


@pytest.mark.parametrize("block", [1, 3, 512])
def test_of_equal_images_the_first_is_nearest(block):
    training = images(4, 0)[[0, 1, 2, 1, 3, 1]]
    index, distance = nearest(training, training, block)
    assert index.tolist() == [0, 1, 2, 1, 4, 1] and distance.tolist() == [0] * 6
    pool = features(4, 0)[[0, 1, 2, 1, 3, 1]]
    assert (
        nearest_by_features(pool * torch.tensor([[1.0], [2], [4], [8], [16], [1]]), pool)[0].tolist() == index.tolist()
    )


def test_one_level_of_one_pixel_shows():
    # Squares of 64 x 64 x 3 levels sum to 8e8, of which float32 keeps multiples of 64.
    training = torch.full((2, 64, 64, 3), 255, dtype=torch.uint8)
    training[0, 0, 0, 0] = 253
    sample = training[:1].clone()
    sample[0, 0, 0, 0] = 254
    training[0, 0, 0, 1] = 254
    index, distance = nearest(sample, training)
    assert index.tolist() == [1] and distance.tolist() == [1]


def test_columns_of_an_image_by_hand():
    training = torch.stack([torch.zeros(2, 2, 3), torch.full((2, 2, 3), 255.0)]).to(torch.uint8)
    pool = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = nearest_images(training[:1] + 50, torch.tensor([[0.0, 3.0]]), training, pool)
    # Twelve levels of 50: √(12 · 2500).
    assert found["nearest"].tolist() == [0] and found["distance"].tolist() == [pytest.approx(30000**0.5)]
    assert found["nearest_by_features"].tolist() == [1] and found["distance_by_features"].tolist() == [pytest.approx(0)]


def test_features_at_right_angles_and_opposite():
    training = torch.tensor([[1.0, 0.0]])
    assert nearest_by_features(torch.tensor([[0.0, 2.0], [-5.0, 0.0]]), training)[1].tolist() == pytest.approx([1, 2])


def test_copies_are_told_from_new_images():
    training, test = images(300, 0), images(200, 1)
    of_test = nearest(test, training)[1]
    copied = memorisation(nearest(training[:50], training)[1], of_test)
    assert copied["sample_median"] == 0 and copied["share_below_first_percentile"] == 1
    new = memorisation(nearest(images(200, 2), training)[1], of_test)
    assert new["share_below_first_percentile"] < 0.06  # 1 of 100 expected of 200, by a percentile known from 200


def test_memorisation_by_hand():
    found = memorisation(torch.tensor([0.5, 1.5, 7.0, 9.0]), torch.arange(101.0))
    assert found == {
        "sample_median": 4.25, "test_median": 50.0, "test_first_percentile": 1.0, "share_below_first_percentile": 0.25,
    }  # fmt: skip


def test_page_by_hand():
    labels = np.array([2, 0, 2, 0, 0])
    samples, training = images(5, 0), images(6, 1)
    near = {
        "nearest": torch.tensor([5, 4, 3, 2, 1]),
        "distance": torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]),
        "nearest_by_features": torch.tensor([0, 1, 2, 3, 4]),
        "distance_by_features": torch.tensor([0.6, 0.7, 0.8, 0.9, 1.0]),
    }
    found = page(samples, labels, near, training, 8)
    assert found["classes"].tolist() == [0, 2] and found["indices"].tolist() == [[1, 3], [0, 2]]
    assert (found["samples"][0, 1] == samples[3].numpy()).all() and found["samples"].shape == (2, 2, 16, 16, 3)
    assert (found["nearest"][1, 0] == training[5].numpy()).all()
    assert (found["nearest_by_features"][1, 1] == training[2].numpy()).all()
    np.testing.assert_allclose(found["distances"], [[0.2, 0.4], [0.1, 0.3]])
    np.testing.assert_allclose(found["distances_by_features"], [[0.7, 0.9], [0.6, 0.8]])
    assert page(samples, labels, near, training, 1)["indices"].tolist() == [[1], [0]]


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"got \[3, 8, 8, 3\] for \[2, 16, 16, 3\]"):
        nearest(images(2, 0), images(3, 0, side=8))
    with pytest.raises(ValueError, match=r"one or more references"):
        nearest(images(2, 0), images(0, 0))
    with pytest.raises(ValueError, match="finite length above 0"):
        nearest_by_features(torch.zeros(2, 3), torch.ones(2, 3))
