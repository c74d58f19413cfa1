"""Pixels: a token is a pixel, and what goes in comes out."""

import pytest
import torch
from safetensors.torch import load_file

from gpstoken.baselines.pixels import Pixels
from gpstoken.commands.shards import Plan, encode


def test_it_is_the_identity():
    tokenizer, image = Pixels(), torch.rand(2, 3, 8, 12) * 2 - 1
    packed = tokenizer.pack(image)
    assert list(packed) == ["latent"] and torch.equal(tokenizer.decode(tokenizer.unpack(packed)), image)
    assert torch.equal(tokenizer(image), image)
    assert tokenizer.code((8, 12)) == (96, (8, 12), 3, None)
    assert not list(tokenizer.parameters()) and Pixels(**tokenizer.config).state_dict() == {}


def test_a_cache_holds_the_pixels_and_their_mirror_images(tmp_path):
    image = torch.rand(2, 3, 4, 6)
    samples = [{"image": image[row], "label": row} for row in range(2)]
    (tmp_path / "val").mkdir()
    encode(Pixels(), Plan("val", samples, 1, True, 8), tmp_path, "abc", 2)  # it has no parameters to tell a device
    held = load_file(tmp_path / "val" / "shard-00000.safetensors")
    assert torch.equal(held["latent"][::2], image) and torch.equal(held["latent"][1::2], image.flip(3))
    assert held["label"].tolist() == [0, 0, 1, 1]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="num_tokens: Pixels has one token for every pixel, cannot make 5"):
        Pixels().pack(torch.zeros(1, 3, 8, 8), 5)
    with pytest.raises(ValueError, match=r"latent: expected float\[B, 3, H, W\], got \[1, 4, 8, 8\]"):
        Pixels().decode(torch.zeros(1, 4, 8, 8))
    with pytest.raises(ValueError, match="Pixels: has no weights to train"):
        _ = Pixels().last_layer
