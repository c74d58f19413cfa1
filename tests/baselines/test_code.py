"""The rate that every tokenizer says of itself is that of the tokens it makes."""

import pytest
import torch

from gpstoken import GPSToken
from gpstoken.base import Code
from gpstoken.baselines.dc import DCAutoencoder
from gpstoken.baselines.kl import KLAutoencoder
from gpstoken.baselines.vq import VQAutoencoder

NARROW = {
    "num_tokens": 8, "feature_channels": 4, "image_size": 32, "grid_size": 8, "width": 16, "depth": 1, "heads": 2,
    "roi_size": 2, "stem_channels": 4, "decoder_channels": 4, "decoder_blocks": 1, "norm_groups": 2,
    "min_region_size": 4,
}  # fmt: skip
KL = KLAutoencoder(3, (4, 8), 1, 2)
VQ = VQAutoencoder(50, 3, (4, 8), 1, 2)
DC = DCAutoencoder(4, (8, 8, 8), (0, 1, 1), (0, 1, 1), 1, 4)


def test_the_paper_rows():
    with torch.device("meta"):
        codes = [tokenizer.code((256, 256)) for tokenizer in (GPSToken(), KLAutoencoder(), VQAutoencoder())]
        codes.append(DCAutoencoder().code((512, 256)))
    # Of 128 tokens with 16 features each; f8 and 4 channels; f16 and 1024 entries; f32 and 32 channels
    assert codes == [
        Code(128, (128,), 21, None), Code(1024, (32, 32), 4, None), Code(256, (16, 16), 1, 1024),
        Code(128, (16, 8), 32, None),
    ]  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 32), (64, 32), (32, 48)])
def test_gaussians(size):
    tokenizer = GPSToken(**NARROW)
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for num_tokens in (None, 4):
        code = tokenizer.code(size, num_tokens)
        assert tokenizer.encode(image, num_tokens).to_tensor().shape[1:] == (code.tokens, code.channels)
        assert code.shape == (code.tokens,) and code.codebook_size is None
    assert tokenizer.code((64, 32)).tokens == 16 and tokenizer.code((64, 32), 4).tokens == 4


@torch.no_grad()
@pytest.mark.parametrize("tokenizer", [KL, DC], ids=["kl", "dc"])
def test_grids_of_numbers(tokenizer):
    code = tokenizer.code((32, 64))
    assert tokenizer.eval().encode(torch.zeros(1, 3, 32, 64)).shape == (1, code.channels, *code.shape)
    assert code.tokens == code.shape[0] * code.shape[1] and code.codebook_size is None


@torch.no_grad()
def test_grids_of_indices():
    code = VQ.code((32, 64))
    assert VQ.eval().encode(torch.zeros(1, 3, 32, 64)).shape == (1, *code.shape) == (1, 16, 32)
    assert (code.tokens, code.channels, code.codebook_size) == (512, 1, 50)


@pytest.mark.parametrize("tokenizer", [KL, VQ, DC], ids=["kl", "vq", "dc"])
def test_a_fixed_code_has_no_other_number_of_tokens(tokenizer):
    side = tokenizer.factor
    kind = type(tokenizer).__name__
    message = rf"\Anum_tokens: {kind} has one token for every {side}x{side} pixels, cannot make 16; leave it out\Z"
    with pytest.raises(ValueError, match=message):
        tokenizer.code((32, 32), 16)
    with pytest.raises(ValueError, match=rf"\Aimage: sides must be multiples of {side} pixels, got 32x33\Z"):
        tokenizer.encode(torch.zeros(1, 3, 32, 33))


def test_sides_that_do_not_fit_the_gaussians_are_padded():
    tokenizer = GPSToken(**NARROW)
    assert tokenizer.code((30, 32)) == tokenizer.code((32, 32))
    with pytest.raises(ValueError, match="expected at least one pixel, got 0x32"):
        tokenizer.code((0, 32))
