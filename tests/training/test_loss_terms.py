"""The loss is the sum it says, computed a second time here."""

import pytest
import torch
from safetensors.torch import save_file
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from gpstoken.perceptual import InceptionPool, load_lpips


@pytest.fixture
def image():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def close(value: torch.Tensor, expected: torch.Tensor) -> None:
    # The same float32 operations but for the order of a sum of 6144 squares.
    torch.testing.assert_close(value, expected, rtol=2e-6, atol=0)


def test_l2_and_lpips(make_module, image, repository):
    path = repository / "data/networks/lpips_alexnet.safetensors"
    options = {"perceptual_network": "alexnet", "perceptual_weights": str(path)}
    module = make_module(perceptual_weight=0.3, **options)
    module.setup("fit")
    terms = module.autoencoder_terms(image, adversarial=False)
    reconstruction = module.tokenizer(image)
    l2 = ((image - reconstruction) ** 2).mean()
    distances = load_lpips("alexnet", path)(image, reconstruction)
    assert set(terms) == {"loss", "l2", "lpips"}
    close(terms["l2"], l2)
    close(terms["lpips"], distances.mean())
    close(terms["loss"], l2 + 0.3 * distances.mean())
    # The frozen network is no part of what is trained or saved.
    assert not any("lpips" in name or "perceptual" in name for name in module.state_dict())


def test_adversarial_term(make_module, image):
    module = make_module(adversarial_start=0, adversarial_weight=0.5)
    module.setup("fit")
    terms = module.autoencoder_terms(image, adversarial=True)
    reconstruction = module.tokenizer(image)
    l2, adversarial = ((image - reconstruction) ** 2).mean(), -module.discriminator(reconstruction).mean()
    last = module.tokenizer.last_layer
    sizes = [torch.autograd.grad(each, last, retain_graph=True)[0].norm() for each in (l2, adversarial)]
    weight = 0.5 * sizes[0] / (sizes[1] + 1e-4)
    torch.testing.assert_close(terms["adaptive_weight"], weight, rtol=1e-5, atol=0)  # a quotient of two norms
    torch.testing.assert_close(terms["loss"], l2 + weight * adversarial, rtol=1e-5, atol=0)
    assert not terms["adaptive_weight"].requires_grad


def test_inception_needs_its_file(make_module):
    with pytest.raises(ValueError, match="inception_weights: expected the file of the FID"):
        make_module(inception_weight=1.0).setup("fit")
    with pytest.raises(FileNotFoundError, match=r"absent\.pth not found"):
        make_module(inception_weight=1.0, inception_weights="absent.pth").setup("fit")


@pytest.fixture
def inception_file(tmp_path, monkeypatch):
    """The FID Inception with random weights of about unit gain."""
    torch.manual_seed(0)
    with monkeypatch.context() as patched:
        # The extractor's constructor reads a file: here it reads nothing.
        patched.setattr(torch, "load", lambda *_, **__: {})
        patched.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], __file__)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    save_file(network.state_dict(), tmp_path / "inception.safetensors")
    return tmp_path / "inception.safetensors"


def test_inception_term(make_module, image, inception_file):
    module = make_module(inception_weight=0.25, inception_weights=str(inception_file))
    module.setup("fit")
    image = image[:1]
    terms = module.autoencoder_terms(image, adversarial=False)
    network = InceptionPool(inception_file)
    with torch.no_grad():
        features = [network(each) for each in (module.tokenizer(image), image)]
        expected = ((features[0] - features[1]) ** 2).mean()
    assert features[0].shape == (1, 2048)
    assert expected > 0
    torch.testing.assert_close(terms["inception"], expected, rtol=1e-4, atol=0)  # 48 layers of float32
    torch.testing.assert_close(terms["loss"], terms["l2"] + 0.25 * terms["inception"])
    gradient = torch.autograd.grad(terms["inception"], module.tokenizer.last_layer)[0]
    assert torch.isfinite(gradient).all()
    assert gradient.norm() > 0
