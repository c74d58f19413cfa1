"""Pixels: a token is a pixel, and what goes in comes out."""

import pytest
import torch

from gpstoken.baselines.pixels import Pixels


def test_it_is_the_identity():
    tokenizer, image = Pixels(), torch.rand(2, 3, 8, 12) * 2 - 1
    packed = tokenizer.pack(image)
    assert list(packed) == ["latent"] and torch.equal(tokenizer.decode(tokenizer.unpack(packed)), image)
    assert torch.equal(tokenizer(image), image)
    assert tokenizer.code((8, 12)) == (96, (8, 12), 3, None)
    assert not list(tokenizer.parameters()) and Pixels(**tokenizer.config).state_dict() == {}


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="num_tokens: Pixels has one token for every pixel, cannot make 5"):
        Pixels().pack(torch.zeros(1, 3, 8, 8), 5)
    with pytest.raises(ValueError, match=r"latent: expected float\[B, 3, H, W\], got \[1, 4, 8, 8\]"):
        Pixels().decode(torch.zeros(1, 4, 8, 8))
    with pytest.raises(ValueError, match="Pixels: has no weights to train"):
        _ = Pixels().last_layer
