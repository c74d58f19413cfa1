import pytest
import torch

from gpstoken.baselines.dc import DCAutoencoder

TINY = {
    "latent_channels": 4, "block_out_channels": [4, 8, 8], "encoder_layers": [0, 1, 1], "decoder_layers": [0, 1, 1],
    "attention_levels": 1, "attention_head_dim": 4,
}  # fmt: skip


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return DCAutoencoder(**TINY)


@pytest.fixture
def image():
    return torch.rand(2, 3, 32, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_defaults_are_the_published_size():
    with torch.device("meta"):
        tokenizer = DCAutoencoder()
        latent = tokenizer.eval().encode(torch.empty(1, 3, 256, 256))
    # Of dc-ae-f32c32-in-1.0 (sana-1.0 has 312.25), systems.md of the suite: encoder and decoder
    parts = [sum(parameter.numel() for parameter in part.parameters()) / 1e6 for part in tokenizer.networks()]
    assert parts == pytest.approx([123.17, 200.18], abs=0.005)
    assert sum(parts) == pytest.approx(323.36, abs=0.005)
    assert latent.shape == (1, 32, 8, 8) and tokenizer.factor == 32


def test_norms_and_activations_are_those_of_the_published_model():
    with torch.device("meta"):
        decoder = DCAutoencoder().autoencoder.decoder
    kinds = {
        i: {type(module).__name__ for module in level.modules()} & {"BatchNorm2d", "ReLU", "SiLU", "RMSNorm"}
        for i, level in enumerate(decoder.up_blocks)
    }
    # Linear attention itself has a ReLU.
    residual, attention = {"BatchNorm2d", "ReLU"}, {"RMSNorm", "SiLU", "ReLU"}
    assert kinds == {0: set(), 1: residual, 2: residual, 3: attention, 4: attention, 5: attention}


@torch.no_grad()
def test_tokens_and_sizes(tiny, image):
    tiny.eval()
    latent = tiny.encode(image)
    assert latent.shape == (2, 4, 8, 6)
    assert tiny.decode(latent).shape == image.shape
    assert torch.equal(tiny(image), tiny.decode(latent))
    assert tiny.latent_terms(image) == {}


def test_a_finest_level_with_blocks(image):
    tokenizer = DCAutoencoder(**TINY | {"encoder_layers": [1, 1, 1], "decoder_layers": [1, 1, 1]}).eval()
    assert tokenizer(image).shape == image.shape
    assert tokenizer.encode(image).shape == (2, 4, 8, 6)
    assert tokenizer.last_layer.shape == (3, 4, 3, 3)


def test_config_rebuilds_it(tiny, image):
    twin = DCAutoencoder(**tiny.config)
    twin.load_state_dict(tiny.state_dict())
    assert torch.equal(twin.eval()(image), tiny.eval()(image))
    # The last convolution makes four pixels of one.
    assert tiny.last_layer.shape == (12, 8, 3, 3) and tiny.last_layer.requires_grad


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_layers": [1, 1]}, "block_out_channels: 3 levels"),
        ({"attention_levels": 4}, "block_out_channels: 3 levels"),
        ({"latent_channels": 3}, "latent_channels: 3 does not divide the last width, 8"),
        ({"block_out_channels": [4, 6, 16]}, "block_out_channels: 16 does not divide four times its neighbour, 6"),
        ({"attention_head_dim": 3}, "attention_head_dim=3 does not divide 8"),
    ],
)
def test_sizes_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        DCAutoencoder(**TINY | changes)


def test_latents_of_another_shape(tiny):
    with pytest.raises(ValueError, match=r"\Alatent: expected float\[B, 4, h, w\], got \[1, 3, 8, 8\]\Z"):
        tiny.decode(torch.zeros(1, 3, 8, 8))
