import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from gpstoken.metrics import load_features
from gpstoken.metrics.efficientnet import timm_name
from gpstoken.metrics.networks import Features

ROOT = Path(__file__).parents[2]
NETWORKS = ROOT / "data/networks"


@pytest.fixture(scope="module")
def efficientnet():
    return load_features("efficientnet_lite0", NETWORKS / "efficientnet_lite0.safetensors")


def read(path):
    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)[None]


def test_efficientnet_knows_what_photographs_show(efficientnet):
    with (ROOT / "data/embedded/index.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["domain"] == "labelled"]
    assert len(rows) == 20
    ranks = []
    for row in rows:
        features = efficientnet(read(ROOT / "data/embedded" / row["path"]))["pool"]
        assert features.shape == (1, 1280) and features.dtype == torch.float32
        logits = efficientnet.trunk.classify(features)[0]
        ranks.append(int((logits > logits[int(row["label"])]).sum()))
    # the counts that were measured when the weights were chosen, with another implementation of the network
    assert (sum(rank == 0 for rank in ranks), sum(rank < 5 for rank in ranks)) == (17, 20)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("_conv_stem.weight", "conv_stem.weight"),
        ("_blocks.0._depthwise_conv.weight", "blocks.0.0.conv_dw.weight"),
        ("_blocks.0._bn2.running_var", "blocks.0.0.bn2.running_var"),
        ("_blocks.1._bn0.bias", "blocks.1.0.bn1.bias"),
        ("_blocks.2._project_conv.weight", "blocks.1.1.conv_pwl.weight"),
        ("_blocks.15._bn2.weight", "blocks.6.0.bn3.weight"),  # the last of sixteen blocks
        ("_fc.bias", "classifier.bias"),
    ],
)
def test_names_of_layers_by_hand(name, expected):
    assert timm_name(name) == expected


@pytest.mark.parametrize("name", ["_blocks.16._bn2.weight", "_blocks.0._bn0.weight", "conv_stem.weight", "mystery"])
def test_names_of_no_layer_are_refused(name):
    with pytest.raises(KeyError):
        timm_name(name)


def test_vgg16_ends_at_relu5_3():
    path = NETWORKS / "lpips_vgg16.safetensors"
    network = load_features("vgg16", path)
    assert (network.name, network.label, network.dimension, network.path) == ("vgg16", "VGG16", 512, path)
    images = torch.randint(256, (1, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, deviation = (torch.tensor(x)[:, None, None] for x in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    weights, x = load_file(path), (images / 255 - mean) / deviation
    # Simonyan and Zisserman 2014, column D: 2, 2, 3, 3, 3 convolutions with pooling between
    for index, number in enumerate((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)):
        x = F.relu(F.conv2d(x, weights[f"features.{number}.weight"], weights[f"features.{number}.bias"], padding=1))
        x = F.max_pool2d(x, 2) if index in (1, 3, 6, 9) else x
    expected = x.mean(dim=(2, 3))
    # float32, the scaling rounded otherwise
    torch.testing.assert_close(network(images)["pool"], expected, rtol=1e-4, atol=1e-5)


def test_images_are_resized_as_pil_does():
    network = Features("efficientnet_lite0", nn.Identity(), 0, Path("none"))
    picture = read(sorted((ROOT / "data/embedded/images/natural").iterdir())[0])[:, :, :500, :333]
    levels = network(picture)["pool"][0] * 128 + 127
    expected = Image.fromarray(picture[0].permute(1, 2, 0).numpy()).resize((224, 224), Image.Resampling.BICUBIC)
    difference = (levels.permute(1, 2, 0) - torch.from_numpy(np.array(expected)).float()).abs()
    # PIL rounds after the columns and after the rows: half a level each, the first spread by weights up to 1.2.
    assert difference.max() < 1.2 and difference.mean() < 0.4
    assert levels.min() >= 0 and levels.max() <= 255
    small = torch.randint(256, (1, 3, 224, 224), dtype=torch.uint8)
    torch.testing.assert_close(network(small)["pool"] * 128 + 127, small.float())


def test_features_are_frozen(efficientnet):
    nn.ModuleList([efficientnet]).train()
    assert not any(module.training for module in efficientnet.modules())
    assert not any(parameter.requires_grad for parameter in efficientnet.parameters())
    assert (efficientnet.name, efficientnet.label, efficientnet.dimension) == ("efficientnet_lite0", "EffLite0", 1280)


@pytest.mark.parametrize(("size", "dimension"), [("small", 384), ("base", 768)])
def test_dinov2(tmp_path, size, dimension):
    timm = pytest.importorskip("timm")
    reference = timm.create_model(f"vit_{size}_patch14_dinov2", pretrained=False, num_classes=0).eval()
    weights = reference.state_dict()
    weights["pos_embed"] = torch.randn_like(weights["pos_embed"])
    # Meta's file: 37 x 37 positions and a token for masked patches
    assert weights["pos_embed"].shape == (1, 1 + 37 * 37, dimension)
    torch.save(weights | {"mask_token": torch.zeros(1, dimension)}, tmp_path / "dinov2.pth")
    network = load_features("dinov2", tmp_path / "dinov2.pth")
    assert (network.label, network.dimension) == ("DINOv2", dimension)
    features = network(torch.randint(256, (2, 3, 50, 70), dtype=torch.uint8))["pool"]
    assert features.shape == (2, dimension) and features.std() > 0.1
    # The class token keeps its position; the corner patch lies near the corner of the finer grid.
    positions = network.trunk.pos_embed
    assert torch.equal(positions[:, 0], weights["pos_embed"][:, 0]) and positions.shape[1] == 1 + 16 * 16


def test_dinov2_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    save_file({"cls_token": torch.zeros(1, 1, 384)}, tmp_path / "dinov2.safetensors")
    with pytest.raises(ValueError, match="dinov2 needs the package timm: pip install timm"):
        load_features("dinov2", tmp_path / "dinov2.safetensors")


def test_foreign_files_and_names(tmp_path, efficientnet):
    with pytest.raises(ValueError, match="expected one of inception, efficientnet_lite0, vgg16, dinov2, got 'resnet'"):
        load_features("resnet")
    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    for name in ("efficientnet_lite0", "vgg16"):
        with pytest.raises(ValueError, match=rf"other\.safetensors: not of {name} \((Error|'x')") as caught:
            load_features(name, tmp_path / "other.safetensors")
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"other\.safetensors: not the FID Inception"):
        load_features("inception", tmp_path / "other.safetensors")
    short = load_file(NETWORKS / "lpips_vgg16.safetensors")
    short.pop("features.28.bias")
    save_file(short, tmp_path / "short.safetensors")
    with pytest.raises(ValueError, match="not of vgg16"):
        load_features("vgg16", tmp_path / "short.safetensors")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list\.pth: holds something other than named tensors"):
        load_features("efficientnet_lite0", tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"expected uint8\[B, 3, H, W\], got torch\.float32\[1, 3, 8, 8\]"):
        efficientnet(torch.zeros(1, 3, 8, 8))
