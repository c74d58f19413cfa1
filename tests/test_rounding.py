"""Tokens stored in few bits, against typed numbers."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from gpstoken import Gaussians, Tokens
from gpstoken.base import Code
from gpstoken.rounding import rounded, stored_bits


class Pairs(NamedTuple):
    numbers: Tensor
    indices: Tensor


def test_eight_bits_are_256_steps_of_each_channel():
    latent = torch.tensor([[[[0.0, 255.0], [1.4, 100.6]], [[-1.0, 1.0], [0.001, 0.003]]]])
    found = rounded(latent, 8)
    torch.testing.assert_close(found[0, 0], torch.tensor([[0.0, 255.0], [1.0, 101.0]]))
    step = 2 / 255
    torch.testing.assert_close(found[0, 1], torch.tensor([[-1.0, 1.0], [step / 2, step / 2]]), rtol=0, atol=1e-6)
    assert rounded(torch.full((1, 2, 2, 2), 0.5), 8).eq(0.5).all()  # a channel without a range


def test_sixteen_bits_are_float16():
    latent = torch.tensor([[[[1.0, 1 + 2**-11 + 2**-13]]]])
    assert rounded(latent, 16).tolist() == [[[[1.0, 1 + 2**-10]]]]


def test_tokens_stay_tokens():
    chance = torch.Generator().manual_seed(0)
    mu = 2 * torch.rand(2, 40, 2, generator=chance) - 1
    sigma = 0.01 + 0.5 * torch.rand(2, 40, 2, generator=chance)
    rho = 2 * torch.rand(2, 40, generator=chance) - 1
    features = torch.randn(2, 40, 3, generator=chance)
    tokens = Tokens(Gaussians(mu, sigma, rho), features, (64, 48))
    for bits in (8, 16):
        found = rounded(tokens, bits)
        found.check()
        assert found.size == (64, 48)
        for before, after in ((mu, found.gaussians.mu), (sigma, found.gaussians.sigma), (features, found.features)):
            # half a step, and the rounding of the ends of the range to float16, 2^-11 of the largest number
            spread = before.amax(1, keepdim=True) - before.amin(1, keepdim=True)
            error = spread / 510 + before.abs().amax(1, keepdim=True) * 2**-9
            assert ((before - after).abs() <= error).all()
    # the images of a batch have ranges of their own
    alone = rounded(Tokens(Gaussians(mu[1:], sigma[1:], rho[1:]), features[1:]), 8)
    torch.testing.assert_close(rounded(tokens, 8).features[1:], alone.features, rtol=0, atol=0)


def test_indices_beside_numbers_stay():
    numbers = torch.tensor([[[0.0, 5.0], [1.4, 5.0], [255.0, 5.0]], [[0.0, 5.0], [2.0, 5.0], [510.0, 5.0]]])
    tokens = Pairs(numbers, torch.tensor([[3, 700, 0], [1, 2, 1023]]))
    found = rounded(tokens, 8)
    assert isinstance(found, Pairs) and torch.equal(found.indices, tokens.indices)
    # steps of 1 in the first image, and of 2 in the second
    expected = torch.tensor([[[0.0, 5.0], [1.0, 5.0], [255.0, 5.0]], [[0.0, 5.0], [2.0, 5.0], [510.0, 5.0]]])
    torch.testing.assert_close(found.numbers, expected, rtol=0, atol=0)
    assert torch.equal(rounded(numbers, 8), expected)  # vectors without indices
    assert rounded(tokens, 16).numbers[0, 1, 0] == torch.tensor(1.4).half()


def test_bits_of_an_image():
    vectors, pairs = Code(256, (256,), 37, None), Code(100, (100,), 6, 1024)
    assert stored_bits(vectors, 16) == 256 * 37 * 16
    assert stored_bits(vectors, 8) == 256 * 37 * 8 + 37 * 2 * 16
    # 5 numbers and 10 bits; an index has no range
    assert stored_bits(pairs, 16) == 100 * (5 * 16 + 10)
    assert stored_bits(pairs, 8) == 100 * (5 * 8 + 10) + 5 * 2 * 16
    assert stored_bits(Code(16, (4, 4), 1, 1000), 16) == 16 * 10


def test_what_cannot_be_rounded():
    with pytest.raises(ValueError, match="token_bits: expected 8 or 16, got 4"):
        rounded(torch.zeros(1, 1, 1, 1), 4)
    with pytest.raises(ValueError, match="token_bits: these tokens are indices"):
        rounded(torch.zeros(1, 4, dtype=torch.long), 8)
