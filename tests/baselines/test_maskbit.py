import pytest
import torch

from gpstoken.baselines.maskbit import MaskBitAutoencoder
from tests.baselines.test_maskgit import published, reconstructed

TINY = {"bits": 4, "block_out_channels": [4, 8, 8, 12], "layers_per_block": 2, "norm_num_groups": 2}


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return MaskBitAutoencoder(**TINY).eval()


@pytest.fixture
def image():
    return torch.rand(2, 3, 32, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize(("bits", "size"), [(10, 54.47), (14, 54.49), (16, 54.50), (18, 54.51)])
def test_the_published_sizes(bits, size):
    with torch.device("meta"):
        tokenizer = MaskBitAutoencoder(bits).eval()
    # systems.md of the suite, section 2
    assert sum(parameter.numel() for parameter in tokenizer.parameters()) / 1e6 == pytest.approx(size, abs=0.005)
    assert tokenizer.code((256, 256)) == (256, (16, 16), 1, 2**bits)


@torch.no_grad()
def test_published_weights_compute_the_same(tiny, image):
    tiny, image = tiny.double(), image.double()
    weights = published((4, 8, 8, 12), 2, 4, shrinking=True)
    tables = {"quantize.bits_to_indices": 2 ** torch.arange(4), "quantize.codebook": torch.zeros(16, 4)}
    named = tiny.own_names(weights | tables)
    assert named.keys() == tiny.state_dict().keys()
    tiny.load_state_dict(named)
    signs = []

    def of_sign(latents):
        signs.append(latents.sign())
        return latents.sign()

    expected = reconstructed(weights, image, of_sign, (4, 8, 8, 12), 2, 2, shrinking=True)
    torch.testing.assert_close(tiny(image), expected, rtol=0, atol=1e-11)  # doubles of some tens
    # The first channel is the least significant bit.
    indices = sum((signs[0][..., channel] > 0).long() << channel for channel in range(4))
    assert torch.equal(tiny.encode(image), indices) and len(indices.unique()) > 3
    assert tiny.own_names({"encoder.extra.weight": indices}) == {"encoder.extra.weight": indices}


def test_training_reaches_every_weight(tiny, image):
    tiny.train()
    loss = tiny(image).square().mean() + sum(weight * value for value, weight in tiny.latent_terms(image).values())
    loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in tiny.parameters())


def test_config_rebuilds_it(tiny, image):
    twin = MaskBitAutoencoder(**tiny.config)
    twin.load_state_dict(tiny.state_dict())
    assert torch.equal(twin.eval()(image), tiny(image))
    assert tiny.last_layer.shape == (3, 4, 3, 3) and tiny.last_layer.requires_grad
    with pytest.raises(ValueError, match="norm_num_groups=3 does not divide 4"):
        MaskBitAutoencoder(**TINY | {"norm_num_groups": 3})
