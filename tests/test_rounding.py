"""Tokens stored in few bits, against typed numbers."""

import pytest
import torch

from gpstoken import Gaussians, Tokens
from gpstoken.rounding import rounded, stored_bits


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


def test_bits_of_an_image():
    assert stored_bits(256, 37, 16) == 256 * 37 * 16
    assert stored_bits(256, 37, 8) == 256 * 37 * 8 + 37 * 2 * 16


def test_what_cannot_be_rounded():
    with pytest.raises(ValueError, match="token_bits: expected 8 or 16, got 4"):
        rounded(torch.zeros(1, 1, 1, 1), 4)
    with pytest.raises(ValueError, match="token_bits: these tokens are indices"):
        rounded(torch.zeros(1, 4, dtype=torch.long), 8)
