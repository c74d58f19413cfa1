import pytest
import torch

from gpstoken.baselines.vq import VQAutoencoder

TINY = {
    "codebook_size": 5, "latent_channels": 3, "block_out_channels": [4, 8, 8], "layers_per_block": 1,
    "norm_num_groups": 2,
}  # fmt: skip


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return VQAutoencoder(**TINY)


@pytest.fixture
def image():
    return torch.rand(2, 3, 32, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


def fix_latent(tokenizer, latent):
    """The same latent for every image and place: the encoder's last layer forgets what it is given."""
    last = tokenizer.autoencoder.quant_conv
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor(latent))


def test_the_defaults_are_the_published_size():
    with torch.device("meta"):
        tokenizer = VQAutoencoder()
        indices = tokenizer.eval().encode(torch.empty(1, 3, 256, 256))
    # Of the published configuration, systems.md of the suite: 72.14 M with the codebook
    assert sum(parameter.numel() for parameter in tokenizer.parameters()) / 1e6 == pytest.approx(72.14, abs=0.005)
    assert indices.shape == (1, 16, 16) and tokenizer.factor == 16


@torch.no_grad()
def test_tokens_are_the_nearest_entries(tiny, image):
    tiny.eval()
    indices = tiny.encode(image)
    assert indices.shape == (2, 8, 6) and indices.dtype == torch.long
    assert tiny.decode(indices).shape == image.shape
    assert torch.equal(tiny(image), tiny.decode(indices))
    tiny.quantiser.layer.codebook.copy_(torch.arange(15.0).reshape(5, 3))
    fix_latent(tiny, [6.2, 6.6, 8.4])  # the third entry is (6, 7, 8)
    assert torch.equal(tiny.encode(image), torch.full_like(indices, 2))
    before = tiny.decode(indices)
    tiny.quantiser.layer.codebook[indices[0, 0, 0]] += 1
    assert not torch.equal(tiny.decode(indices), before)


def test_training_has_the_losses_of_taming_and_a_straight_gradient(tiny, image, monkeypatch):
    tiny.quantiser.load_state_dict(tiny.quantiser.state_of(torch.arange(15.0).reshape(5, 3)))
    (weight,) = tiny.quantiser.parameters()
    fix_latent(tiny, [6.2, 6.6, 8.4])
    monkeypatch.setattr(tiny, "image_of", lambda entries: entries)
    entries = tiny(image)
    assert torch.equal(entries[0, :, 0, 0], torch.tensor([6.0, 7.0, 8.0]))
    value, factor = tiny.latent_terms(image)["codebook"]
    # mean (z - e)^2 = (.04 + .16 + .16) / 3 = .12, once whole and once with beta = .25
    assert value.item() == pytest.approx(0.15, rel=1e-5) and factor == 1.0
    bias = tiny.autoencoder.quant_conv.bias
    # d/dz of the whole term: 2 (z - e) / 3; d/de of the other: .25 * 2 (e - z) / 3
    to_bias, to_weight = torch.autograd.grad(value, [bias, weight], retain_graph=True)
    assert to_bias.tolist() == pytest.approx([0.4 / 3, -0.8 / 3, 0.8 / 3], rel=1e-4)
    assert to_weight[0, 2].tolist() == pytest.approx([-0.1 / 3, 0.2 / 3, -0.2 / 3], rel=1e-4)
    assert to_weight[0, [0, 1, 3, 4]].abs().sum() == 0
    # What the decoder wants of an entry, the encoder is told: a sum over 2 * 8 * 6 places.
    (straight,) = torch.autograd.grad(entries.sum(), bias)
    assert straight.tolist() == [96.0] * 3


def test_half_precision_finds_the_same_entries(tiny, image):
    with torch.no_grad():
        # In bfloat16 all five entries are one, and the first of them would be chosen.
        tiny.quantiser.layer.codebook.copy_(torch.tensor([[1.003, 1, 1]] * 4 + [[1.0, 1, 1]]))
    fix_latent(tiny, [1.0, 1.0, 1.0])
    with torch.autocast("cpu", torch.bfloat16):
        entries, indices, _ = tiny.eval().quantise(image)
    assert entries.dtype == torch.float32 and (indices == 4).all()


def test_config_rebuilds_it(tiny, image):
    twin = VQAutoencoder(**tiny.config)
    twin.load_state_dict(tiny.state_dict())
    assert torch.equal(twin.eval()(image), tiny.eval()(image))
    assert tiny.last_layer.shape == (3, 4, 3, 3) and tiny.last_layer.requires_grad


def test_tokens_that_are_no_indices(tiny):
    with pytest.raises(ValueError, match=r"\Aindices: expected long\[B, h, w\], got torch.float32 \[1, 3, 8, 8\]\Z"):
        tiny.decode(torch.zeros(1, 3, 8, 8))
