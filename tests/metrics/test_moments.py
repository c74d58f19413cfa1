import datetime

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing

from gpstoken.metrics import Moments


def some_features(n=57, d=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator) @ torch.randn(d, d, generator=generator) + 3


def moments_of(batches, d=6):
    moments = Moments(d)
    for batch in batches:
        moments.add(batch)
    return moments


def assert_same(moments, features, rtol=1e-12):
    features = features.double().numpy()
    assert moments.count == len(features)
    np.testing.assert_allclose(moments.mean, features.mean(axis=0), rtol=rtol)
    np.testing.assert_allclose(moments.covariance, np.cov(features, rowvar=False), rtol=rtol, atol=rtol)


def test_by_hand():
    # (0, 0), (2, 4): mean (1, 2), deviations -+(1, 2), divided by n - 1 = 1.
    moments = moments_of([torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 4.0]])], d=2)
    assert moments.mean.tolist() == [1, 2] and moments.covariance.tolist() == [[2, 4], [4, 8]]


@pytest.mark.parametrize("size", [1, 8, 56, 57])
def test_batches_do_not_matter(size):
    features = some_features()
    # float64 against numpy's in another order: some 60 roundings of 1e-16
    assert_same(moments_of(features.split(size)), features)


def test_moments_merge():
    features = some_features()
    first, second = moments_of([features[:20]]), moments_of(features[20:].split(9))
    first.merge(second)
    first.merge(Moments(6))
    assert_same(first, features)
    empty = Moments(6)
    empty.merge(first)
    empty.add(features[:0])
    assert_same(empty, features)


def test_a_large_mean_does_not_drown_a_small_spread():
    # Mean 1e3, deviation 1e-2. The inputs are rounded at 1e-13, 1e-11 of the deviation, which numpy sees as well.
    features = 1e3 + 1e-2 * torch.randn(4000, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moments = moments_of(features.split(64), d=5)
    expected = np.cov(features.numpy() - 1e3, rowvar=False)
    np.testing.assert_allclose(moments.covariance, expected, rtol=1e-6, atol=1e-6 * 1e-4)
    naive = (features.T @ features - 4000 * torch.outer(moments.mean, moments.mean)) / 3999
    assert np.abs(naive.numpy() / expected - 1).diagonal().max() > 1e-7  # what is avoided does happen


def test_bad_features():
    moments = moments_of([torch.ones(3, 2)], d=2)
    with pytest.raises(ValueError, match=r"expected features\[B, 2\], got shape \(4, 3\)"):
        moments.add(torch.ones(4, 3))
    with pytest.raises(ValueError, match="feature 1 of vector 4 is nan"):
        moments.add(torch.tensor([[1.0, 2.0], [1.0, torch.nan]]))
    assert moments.count == 3
    with pytest.raises(ValueError, match="2 and 3 cannot be merged"):
        moments.merge(Moments(3))
    with pytest.raises(ValueError, match="two vectors or more, got 1"):
        moments_of([torch.ones(1, 2)], d=2).covariance  # noqa: B018


def test_without_a_process_group_nothing_is_reduced():
    features = some_features()
    moments = moments_of([features])
    moments.all_reduce()
    assert_same(moments, features)


def reduce_on(rank, world, store, folder):
    distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=world, timeout=datetime.timedelta(seconds=600)
    )
    # The last process has seen nothing; the others have unequal shares, one with a mean far from the rest.
    share = [slice(0, 40), slice(40, 57), slice(0, 0)][rank]
    moments = moments_of([uneven()[share]])
    moments.all_reduce()
    torch.save({"count": moments.count, "mean": moments.mean, "covariance": moments.covariance}, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def uneven():
    features = some_features()
    features[40:] += 100
    return features


def test_processes_give_the_moments_of_one(tmp_path):
    # forked: a fresh interpreter would take seconds to import torch
    multiprocessing.start_processes(reduce_on, (3, tmp_path / "store", tmp_path), nprocs=3, start_method="fork")
    features = uneven().double().numpy()
    for rank in range(3):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found["count"] == 57
        np.testing.assert_allclose(found["mean"], features.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(found["covariance"], np.cov(features, rowvar=False), rtol=1e-11)
