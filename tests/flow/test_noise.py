import numpy as np
import pytest
import torch
from scipy import stats

from gpstoken.flow import SampleNoise


def test_a_draw_is_a_jump_of_numpys_philox():
    noise = SampleNoise(7, [3, 1000], (4, 5))(2)
    for row, index in zip(noise, (3, 1000), strict=True):
        stream = np.random.Philox(key=np.array([7, index], np.uint64)).jumped(2)
        expected = np.random.Generator(stream).standard_normal((4, 5), np.float32)
        assert np.array_equal(row.numpy(), expected)
    assert noise.dtype == torch.float32


def test_a_sample_does_not_depend_on_its_batch_or_on_earlier_draws():
    whole = SampleNoise(0, range(10), (128, 21))
    later = whole(5)
    for batch in ([3], [9, 3, 0], range(2, 7)):
        assert torch.equal(SampleNoise(0, batch, (128, 21))(5), later[list(batch)])
    assert torch.equal(whole(5), later)


def test_seed_index_and_draw_each_change_every_number():
    first = SampleNoise(1, [0], (50,))(0)
    for other in (SampleNoise(2, [0], (50,))(0), SampleNoise(1, [1], (50,))(0), SampleNoise(1, [0], (50,))(1)):
        assert (first != other).all()
    # Seed and index are different words: (1, 2) is not (2, 1). And all 64 bits of a seed count.
    assert (SampleNoise(1, [2], (50,))(0) != SampleNoise(2, [1], (50,))(0)).all()
    assert (SampleNoise(1 + 2**32, [0], (50,))(0) != first).all()


def test_the_numbers_are_normal_and_independent():
    values = torch.stack([SampleNoise(0, range(200), (10, 10))(draw) for draw in range(5)])  # 100,000 numbers
    assert stats.kstest(values.flatten().numpy(), "norm").pvalue > 0.01
    # Correlations between neighbouring draws and indices: deviation 1 / sqrt(80,000), five of them.
    assert abs(float((values[1:] * values[:-1]).mean())) < 5 / 80_000**0.5
    assert abs(float((values[:, 1:] * values[:, :-1]).mean())) < 5 / 80_000**0.5


def test_keys_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"noise: seed must be from 0 to 2\^64 - 1, got -1"):
        SampleNoise(-1, [0], (2,))
    with pytest.raises(ValueError, match="noise: index must be"):
        SampleNoise(0, [0, 2**64], (2,))
