import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from gpstoken.metrics import load_features
from gpstoken.metrics.inception import Inception


@pytest.fixture(scope="module")
def inception(inception_file):
    return Inception(inception_file)


@pytest.fixture(scope="module")
def pair(photographs):
    return photographs[:2]


@pytest.fixture(scope="module")
def features(inception, pair):
    return inception(pair)


def test_pool_and_logits_are_torch_fidelitys(inception_file, features, pair):
    names = ["2048", "logits_unbiased"]
    pool, logits = FeatureExtractorInceptionV3("inception-v3-compat", names, str(inception_file))(pair)
    assert torch.equal(features["pool"], pool) and torch.equal(features["logits"], logits)
    assert pool.shape == (2, 2048) and logits.shape == (2, 1008)
    assert not any(value.requires_grad for value in features.values())


def test_spatial_is_the_1x1_branch_of_mixed_6d(inception, inception_file, features, pair):
    weights = torch.load(inception_file, weights_only=True)
    entered = []
    handle = inception.network.Mixed_6d.register_forward_pre_hook(lambda module, inputs: entered.append(inputs[0]))
    inception(pair)
    handle.remove()
    # convolution, batch norm (eps 1e-3) and ReLU written out in float64; only the seven channels
    part = {key: weights[f"Mixed_6d.branch1x1.{key}"].double() for key in
            ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")}  # fmt: skip
    y = torch.einsum("bchw,oc->bohw", entered[0].double(), part["conv.weight"][:7, :, 0, 0])
    scale = part["bn.weight"] / (part["bn.running_var"] + 1e-3).sqrt()
    y = (y - part["bn.running_mean"][:7, None, None]) * scale[:7, None, None] + part["bn.bias"][:7, None, None]
    y = y.clamp(min=0)
    assert y.shape == (2, 7, 17, 17) and features["spatial"].shape == (2, 2023)
    assert (y > 0).double().mean() > 0.1
    # 768 products in float32
    tolerance = 1e-5 * y.max().item()
    for channel, row, column in ((0, 0, 0), (1, 0, 0), (0, 0, 1), (0, 1, 0), (6, 16, 16), (3, 5, 11)):
        # as TensorFlow flattens [17, 17, 7]
        found = features["spatial"][:, (row * 17 + column) * 7 + channel]
        torch.testing.assert_close(found.double(), y[:, channel, row, column], rtol=0, atol=tolerance)
    sums = features["spatial"].double().sum(dim=1)
    torch.testing.assert_close(sums, y.sum(dim=(1, 2, 3)), rtol=1e-5, atol=0)


def test_each_image_stands_alone(inception, features, pair):
    alone = inception(pair[1:])
    for name, value in features.items():
        # oneDNN picks other kernels for other batches: sums of up to 4,000 terms, off by sqrt(4000) 2^-24 = 4e-6 each
        torch.testing.assert_close(alone[name][0], value[1], rtol=1e-4, atol=1e-5 * value.abs().max().item())


def test_images_of_any_shape(inception):
    image = torch.full((1, 3, 20, 31), 77, dtype=torch.uint8)
    # a flat image is the same at every size
    same = F.pad(image, (0, 9, 0, 9), value=77)
    torch.testing.assert_close(inception(image), inception(same))


def test_only_bytes_are_images(inception):
    with pytest.raises(ValueError, match="uint8"):
        inception(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="Bx3xHxW"):
        inception(torch.zeros(1, 1, 32, 32, dtype=torch.uint8))
    assert not inception.network.Mixed_6d.branch1x1._forward_hooks  # also after an error


def test_it_is_loaded_by_name(inception_file):
    network = load_features("inception", inception_file)
    assert (network.name, network.label, network.dimension) == ("inception", "Inception", 2048)
    assert network.path == inception_file
    nn.ModuleList([network]).train()
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
