"""Features of places: against timm's own extraction of features, place by place."""

from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from gpstoken.metrics.efficientnet import timm_name
from gpstoken.metrics.patch_features import PatchFeatures

WEIGHTS = Path(__file__).parents[2] / "data/networks/efficientnet_lite0.safetensors"


def image(size):
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_efficientnet_in_the_order_of_rows(monkeypatch):
    monkeypatch.setenv("GPSTOKEN_EFFICIENTNET_LITE0_WEIGHTS", str(WEIGHTS))
    features = PatchFeatures("efficientnet_lite0", 4)
    made = features(image(64))
    assert made.shape == (2, 16, 112) and features.path == WEIGHTS
    network = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(3,)).eval()
    weights = {timm_name(name): value for name, value in load_file(WEIGHTS).items()}
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    with torch.no_grad():
        (expected,) = network((image(64) * 127.5 + 127.5 - 127) / 128)
    for row in range(4):
        for column in range(4):
            # float32 through some forty layers: sums of up to 700 terms, of values below 10
            torch.testing.assert_close(made[:, 4 * row + column], expected[:, :, row, column], rtol=0, atol=1e-3)
    # Another size of the same picture is resized first.
    large = F.interpolate(image(64), (256, 256), mode="nearest")
    assert features(large).shape == made.shape
    assert not any(parameter.requires_grad for parameter in features.parameters()) and not features.training


def test_dinov2_without_its_class_token(tmp_path, monkeypatch):
    reference = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0, img_size=56).eval()
    weights = reference.state_dict()
    whole = torch.randn(1, 1 + 37 * 37, 384, generator=torch.Generator().manual_seed(0))
    torch.save(weights | {"pos_embed": whole, "mask_token": torch.zeros(1, 384)}, tmp_path / "dinov2.pth")
    monkeypatch.setenv("GPSTOKEN_DINOV2_WEIGHTS", str(tmp_path / "dinov2.pth"))
    features = PatchFeatures("dinov2", 4)
    made = features(image(56))
    reference.load_state_dict(weights | {"pos_embed": features.trunk.pos_embed})
    mean, deviation = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        (expected,) = reference.get_intermediate_layers((image(56) / 2 + 0.5 - mean) / deviation, norm=True)
    assert made.shape == (2, 16, 384)
    # float32 through twelve blocks of layer norms
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-4)


def test_other_networks_and_files(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="expected one of efficientnet_lite0, dinov2, got 'vgg16'"):
        PatchFeatures("vgg16", 4)
    torch.save({"cls_token": torch.zeros(1, 1, 384)}, tmp_path / "dinov2.pth")
    monkeypatch.setenv("GPSTOKEN_DINOV2_WEIGHTS", str(tmp_path / "dinov2.pth"))
    with pytest.raises(ValueError, match=r"dinov2\.pth: not of dinov2"):
        PatchFeatures("dinov2", 4)
