import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from gpstoken.baselines.kl import KLAutoencoder

TINY = {"latent_channels": 3, "block_out_channels": [4, 8, 8], "layers_per_block": 1, "norm_num_groups": 2}


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return KLAutoencoder(**TINY)


@pytest.fixture
def image():
    return torch.rand(2, 3, 32, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


def fix_posterior(tokenizer, mean, log_variance):
    """The same posterior for every image and place: the encoder's last layer forgets what it is given."""
    last = tokenizer.autoencoder.quant_conv
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([mean] * 3 + [log_variance] * 3))


def test_the_defaults_are_stable_diffusions():
    with torch.device("meta"):
        tokenizer = KLAutoencoder()
        latent = tokenizer.eval().encode(torch.empty(1, 3, 256, 256))
    # Parameters of stabilityai/sd-vae-ft-mse
    assert sum(parameter.numel() for parameter in tokenizer.parameters()) == 83_653_863
    assert latent.shape == (1, 4, 32, 32) and tokenizer.factor == 8


def test_the_published_size_of_vavae():
    with torch.device("meta"):
        tokenizer = KLAutoencoder(32, (128, 128, 256, 256, 512), attention_levels=1)
        latent = tokenizer.eval().encode(torch.empty(1, 3, 256, 256))
    # systems.md of the suite
    assert sum(parameter.numel() for parameter in tokenizer.parameters()) / 1e6 == pytest.approx(69.84, abs=0.005)
    assert latent.shape == (1, 32, 16, 16) and tokenizer.factor == 16


def test_attention_is_of_the_coarsest_levels():
    for levels, names in ((0, set()), (1, {"encoder.down_blocks.2", "decoder.up_blocks.0"})):
        autoencoder = KLAutoencoder(**TINY, attention_levels=levels).autoencoder
        found = {name.rsplit(".attentions", 1)[0] for name, _ in autoencoder.named_modules() if ".attentions" in name}
        assert found == names | {"encoder.mid_block", "decoder.mid_block"}
    with pytest.raises(ValueError, match=r"\Aattention_levels: expected 0 to 3, got 4\Z"):
        KLAutoencoder(**TINY, attention_levels=4)


def test_tokens_are_the_mean_and_decode_to_the_size(tiny, image):
    tiny.eval()
    with torch.no_grad():
        latent = tiny.encode(image)
        assert latent.shape == (2, 3, 8, 6)
        assert tiny.decode(latent).shape == image.shape
        assert torch.equal(tiny(image), tiny.decode(latent))
        fix_posterior(tiny, 1.5, 3.0)
        assert torch.equal(tiny.encode(image), torch.full_like(latent, 1.5))


def test_training_draws_from_the_posterior_and_keeps_its_divergence(tiny, image, monkeypatch):
    fix_posterior(tiny, 1.5, math.log(4.0))
    monkeypatch.setattr(tiny, "decode", lambda latent: latent)
    torch.manual_seed(0)
    draws = tiny(image.repeat(100, 1, 1, 1))
    # 28,800 draws of N(1.5, 2): the errors of mean and deviation are 0.012 and 0.008; four of them
    assert draws.numel() == 28_800
    assert draws.mean().item() == pytest.approx(1.5, abs=0.05)
    assert draws.std().item() == pytest.approx(2.0, abs=0.035)
    # (1.5^2 + 4 - 1 - ln 4) / 2 for each of 3 * 8 * 6 numbers; a float32 sum of 144
    assert tiny.divergence.tolist() == pytest.approx([144 * 1.9318528] * 200, rel=1e-5)


def test_divergence_is_that_of_torch(tiny, image):
    posterior = tiny.posterior(image)
    expected = kl_divergence(Normal(posterior.mean, posterior.std), Normal(0.0, 1.0)).flatten(1).sum(1)
    tiny(image)
    torch.testing.assert_close(tiny.divergence, expected, rtol=1e-5, atol=0)  # float32 sums of 144
    (gradient,) = torch.autograd.grad(tiny.divergence.sum(), tiny.autoencoder.encoder.conv_in.weight)
    assert gradient.norm() > 0


def test_divergence_is_exact_in_half_precision(tiny, image):
    fix_posterior(tiny, 1.5, math.log(4.0))
    with torch.autocast("cpu", torch.bfloat16):
        tiny(image)
    # ln 4 itself is rounded to bfloat16, by up to 1/512; a sum of 144 in bfloat16 would be off by more.
    assert tiny.divergence.dtype == torch.float32
    assert tiny.divergence.tolist() == pytest.approx([144 * 1.9318528] * 2, rel=4e-3)


def test_config_rebuilds_it(tiny, image):
    twin = KLAutoencoder(**tiny.config)
    twin.load_state_dict(tiny.state_dict())
    assert torch.equal(twin.encode(image), tiny.encode(image))
    assert tiny.last_layer.shape == (3, 4, 3, 3) and tiny.last_layer.requires_grad


@pytest.mark.parametrize("size", [(32, 30), (33, 32), (0, 32)])
def test_sides_that_do_not_fit(tiny, size):
    with pytest.raises(ValueError, match=rf"\Aimage: sides must be multiples of 4 pixels, got {size[0]}x{size[1]}\Z"):
        tiny.encode(torch.zeros(1, 3, *size))


def test_latents_of_another_shape(tiny):
    with pytest.raises(ValueError, match=r"\Alatent: expected float\[B, 3, h, w\], got \[1, 4, 8, 8\]\Z"):
        tiny.decode(torch.zeros(1, 4, 8, 8))


def test_groups_that_do_not_fit():
    with pytest.raises(ValueError, match="norm_num_groups=32 does not divide 48"):
        KLAutoencoder(block_out_channels=(32, 48))
