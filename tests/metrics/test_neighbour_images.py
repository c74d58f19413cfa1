import resource
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from gpstoken.metrics import neighbour_images
from gpstoken.metrics.neighbour_features import GRAIN, direction, nearest_by_features
from gpstoken.metrics.neighbour_images import memorisation, nearest, nearest_images, page, pixels_left_out
from tests.faults.forks import forked


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


@pytest.mark.parametrize("rows", [5, 64, 4096])
@pytest.mark.parametrize("width", [3, 512])
def test_chunks_in_float32_find_what_float64_finds_among_near_copies(width, rows):
    # Copies that differ by less than a product in float32 is off, doubles of them, and others.
    base = features(10, 0, width).repeat(30, 1)
    near = base + 1e-6 * features(300, 1, width)
    training = torch.cat([near, features(20, 2, width), near[:50], near[20:70]])
    samples = torch.cat([features(10, 0, width), near[::7] + 1e-6 * features(43, 3, width), features(11, 4, width)])
    index, distance = nearest_by_features(samples, training, rows)
    exact = nearest(direction(samples).double() / GRAIN, direction(training).double() / GRAIN)
    assert index.tolist() == exact[0].tolist()
    assert torch.equal(distance, (exact[1] * GRAIN).square() / 2)
    units = [torch.nn.functional.normalize(side.double()) for side in (samples, training)]
    by_torch = torch.cdist(*units, compute_mode="donot_use_mm_for_euclid_dist").square().amin(dim=1) / 2
    torch.testing.assert_close(distance, by_torch, rtol=0, atol=1e-6)


def peak() -> float:
    """The largest memory that this process had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def search(answer):
    """Writes the peak of a search beside its features; in a process of its own, whose peak is its own."""
    references = torch.empty(60_000, 2048).uniform_(generator=torch.Generator().manual_seed(0))
    queries = references[:16].clone()
    before = peak()
    assert nearest_by_features(queries, references)[0].tolist() == list(range(16))
    answer.write_text(str(peak() - before))


def test_memory_of_a_search_by_features_does_not_grow_with_them(tmp_path):
    # The features are 0.5 GB; ImageNet's would be 10.5 GB.
    assert forked(partial(search, tmp_path / "answer"), tmp_path / "log") == 0, (tmp_path / "log").read_text()
    assert float((tmp_path / "answer").read_text()) < 600


def test_pixels_are_left_out_of_imagenet_and_the_reason_has_the_numbers():
    assert pixels_left_out(3 * 250 + 180, 2000, (64, 64, 3)) is None
    # 50,000 x 1,281,167 x 196,608 by hand
    assert pixels_left_out(50_000, 1_281_167, (256, 256, 3)) == (
        "50,000 samples and test images against 1,281,167 training images of 256 x 256 pixels are 1.3e+16 "
        "multiply-adds, more than 1e+14; the nearest are sought by features alone"
    )
    training = images(3, 0)
    found = nearest_images(training, features(3, 0), training, features(3, 0), pixels=False)
    assert list(found) == ["nearest_by_features", "distance_by_features"]
    parts = page(training, np.arange(3), found, training, 8)
    assert not {"nearest", "distances"} & parts.keys() and parts["nearest_by_features"].shape == (3, 1, 16, 16, 3)


def test_large_pictures_are_compared_in_smaller_blocks(monkeypatch):
    samples, training = images(9, 0), images(11, 1)
    whole = nearest(samples, training)
    for entries in (1, 5 * 768):  # less than a picture, and five
        monkeypatch.setattr(neighbour_images, "ENTRIES", entries)
        assert all(torch.equal(one, other) for one, other in zip(nearest(samples, training), whole, strict=True))


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
