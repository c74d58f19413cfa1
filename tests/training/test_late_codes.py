"""The part of a training before its codebook."""

import pytest
import torch
from lightning.pytorch.callbacks import Callback, LambdaCallback

from gpstoken.baselines.maskbit import MaskBitAutoencoder
from gpstoken.baselines.quantisers import Bits, NearestCodes
from gpstoken.baselines.vq import VQAutoencoder
from gpstoken.training import LateCodes, TokenizerModule
from tests.training.conftest import MODULE

SIZES = {"codebook_size": 6, "latent_channels": 4, "block_out_channels": (8, 8), "layers_per_block": 1}


class Watch(Callback):
    """Whether each step had terms of the codebook, and the entries after it."""

    def __init__(self):
        self.terms, self.entries = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.terms.append(bool(pl_module.tokenizer.terms))
        self.entries.append(pl_module.tokenizer.quantiser.entries.detach().clone())


def test_the_codebook_begins_after_its_share_of_the_steps(noise, fit):
    torch.manual_seed(0)
    module, watch = TokenizerModule(VQAutoencoder(**SIZES, norm_num_groups=4), **MODULE), Watch()
    fit(module, noise(), [LateCodes(0.5), watch], max_steps=6)
    assert watch.terms == [False] * 3 + [True] * 3
    assert torch.equal(watch.entries[0], watch.entries[2])  # neither a gradient nor clusters until then
    assert not torch.equal(watch.entries[2], watch.entries[3])


@pytest.mark.parametrize("normalised", [False, True])
def test_a_bypassed_codebook_lets_vectors_and_their_gradient_through(normalised):
    torch.manual_seed(0)
    codes = NearestCodes(6, 4, normalised).train()
    codes.bypassed = True
    vectors = torch.randn(2, 12, 4)
    found = codes(vectors)
    expected = vectors / vectors.norm(dim=-1, keepdim=True) if normalised else vectors
    torch.testing.assert_close(found.entries, expected)
    assert found.terms == {} and not codes.layer._codebook.initted
    # Evaluation shows what the codes make of an image.
    assert torch.equal(codes.eval()(vectors).entries, codes.entries_of(codes(vectors).indices))


def test_bypassed_bits_are_the_tangents_of_their_channels():
    torch.manual_seed(0)
    bits = Bits(4).train()
    bits.bypassed = True
    vectors = torch.randn(2, 12, 4, requires_grad=True)
    found = bits(vectors)
    torch.testing.assert_close(found.entries, vectors.tanh())
    powers = torch.tensor([1, 2, 4, 8])
    assert found.terms == {} and torch.equal(found.indices, ((vectors > 0) * powers).sum(-1))
    found.entries.sum().backward()
    torch.testing.assert_close(vectors.grad, 1 / vectors.detach().cosh() ** 2)


def test_bits_begin_after_their_share_of_the_steps(noise, fit):
    torch.manual_seed(0)
    sizes = {"bits": 3, "block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4}
    module, terms = TokenizerModule(MaskBitAutoencoder(**sizes), **MODULE), []
    watch = LambdaCallback(on_train_batch_end=lambda trainer, module, *_: terms.append(bool(module.tokenizer.terms)))
    fit(module, noise(), [LateCodes(0.5), watch], max_steps=4)
    assert terms == [False] * 2 + [True] * 2


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_bad_arguments(share):
    with pytest.raises(ValueError, match=r"share: expected .*, got "):
        LateCodes(share)
