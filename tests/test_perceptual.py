import pickle
from pathlib import Path

import lpips
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch_fidelity import feature_extractor_inceptionv3

from gpstoken.perceptual import InceptionPool, load_lpips

NETWORKS = Path(__file__).parents[1] / "data" / "networks"
# Layers of torchvision's `features` whose outputs LPIPS compares (Zhang et al. 2018, the last ReLU of each scale).
COMPARED = {"alexnet": (1, 4, 7, 9, 11), "vgg16": (3, 8, 15, 22, 29)}


def prepared(network):
    return NETWORKS / f"lpips_{network}.safetensors"


def some_images():
    return torch.rand(2, 2, 3, 64, 70, generator=torch.Generator().manual_seed(0)) * 2 - 1


def distance_by_definition(network, first, second):
    """LPIPS v0.1 from torchvision's layers and the heads that the lpips package carries."""
    trunk = getattr(torchvision.models, network)(weights=None).features.eval()
    trunk.load_state_dict({k.removeprefix("features."): v for k, v in load_file(prepared(network)).items()})
    short = {"alexnet": "alex", "vgg16": "vgg"}[network]
    heads = torch.load(Path(lpips.__file__).parent / f"weights/v0.1/{short}.pth", map_location="cpu", weights_only=True)
    shift, scale = (torch.tensor(x)[:, None, None] for x in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    pair, total = [(x - shift) / scale for x in (first, second)], 0
    for number, layer in enumerate(trunk):
        pair = [layer(x) for x in pair]
        if number in COMPARED[network]:
            units = [x / (x.norm(dim=1, keepdim=True) + 1e-10) for x in pair]
            head = heads[f"lin{COMPARED[network].index(number)}.model.1.weight"]
            total = total + (head * (units[0] - units[1]) ** 2).sum(1).mean(dim=(1, 2))
            pair = [x.clone() for x in pair]  # the next ReLU works in place
    return total


@pytest.mark.parametrize("network", ["alexnet", "vgg16"])
def test_lpips_is_its_definition(network):
    distance = load_lpips(network, prepared(network))
    assert not distance.training and not any(parameter.requires_grad for parameter in distance.parameters())
    first, second = some_images()
    with torch.no_grad():
        expected = distance_by_definition(network, first, second)
        actual = distance(first, second)
    assert actual.shape == (2, 1, 1, 1) and (actual > 0.1).all()
    # The same float32 layers; heads and means in another order: some hundred terms of one sign.
    torch.testing.assert_close(actual.flatten(), expected, rtol=1e-5, atol=0)
    assert distance(first, first).abs().max() == 0


def test_gradient_of_lpips_reaches_the_image():
    first, second = some_images()
    first.requires_grad_()
    load_lpips("alexnet", prepared("alexnet"))(first, second).sum().backward()
    assert first.grad.isfinite().all() and (first.grad != 0).any(dim=1).float().mean() > 0.9


def test_torchvisions_own_file_serves(tmp_path):
    weights = load_file(prepared("alexnet"))
    torch.save(weights | {"classifier.1.bias": torch.zeros(4096)}, tmp_path / "alexnet-owt-7be5be79.pth")
    first, second = some_images()
    of_both = [
        load_lpips("alexnet", path)(first, second)
        for path in (prepared("alexnet"), tmp_path / "alexnet-owt-7be5be79.pth")
    ]
    assert torch.equal(*of_both)


def test_a_missing_network_says_how_to_get_it(tmp_path):
    for load in (lambda path: load_lpips("vgg16", path), InceptionPool):
        with pytest.raises(
            FileNotFoundError, match=r"none\.safetensors not found: run `python -m datamodules\.prepare"
        ):
            load(tmp_path / "none.safetensors")


def test_foreign_networks_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'alexnet' or 'vgg16', got 'alex'"):
        load_lpips("alex", prepared("alexnet"))
    with pytest.raises(ValueError, match=r"tensor 'features\.0\.weight' is missing or not of vgg16"):
        load_lpips("vgg16", prepared("alexnet"))
    save_file({"features.0.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors: tensor 'features\.0\.weight' is missing or not of al"):
        load_lpips("alexnet", tmp_path / "other.safetensors")
    whole = prepared("alexnet").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.safetensors: not readable"):
        load_lpips("alexnet", tmp_path / "cut.safetensors")
    (tmp_path / "text.pth").write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"text\.pth: not readable"):
        load_lpips("alexnet", tmp_path / "text.pth")


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_in_a_weight_file_is_executed(tmp_path):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Harmful(tmp_path / "harmed"), 2))
    torch.save({"features.0.weight": Harmful(tmp_path / "harmed")}, tmp_path / "evil2.pth")
    for name in ("evil.pth", "evil2.pth"):  # torch warns of pickle protocols other than 2
        with pytest.raises(ValueError, match="not readable"):
            load_lpips("alexnet", tmp_path / name)
        with pytest.raises(ValueError, match="not readable"):
            InceptionPool(tmp_path / name)
    assert not (tmp_path / "harmed").exists()


def test_inception_is_torch_fidelitys(inception_file):
    pixels = torch.randint(256, (1, 3, 40, 33), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    released = feature_extractor_inceptionv3.FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], str(inception_file)
    )
    reader, pool = torch.load, InceptionPool(inception_file)
    assert torch.load is reader  # lent to the extractor and given back
    image = (pixels.float() / 127.5 - 1).requires_grad_()
    features = pool(image)
    (expected,) = released(pixels)
    assert features.shape == (1, 2048) and expected.std() > 0.01
    # x / 127.5 - 1 and back rounds a level of up to 255 by 2e-5, 1e-7 of the range, which some 50 layers pass on.
    assert (features - expected).abs().max() < 1e-5 * expected.abs().max()
    features.sum().backward()
    assert image.grad.isfinite().all() and (image.grad != 0).float().mean() > 0.9
    assert not any(parameter.requires_grad for parameter in pool.parameters())


def test_another_network_is_no_inception(tmp_path):
    save_file({"features.0.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    reader = torch.load
    with pytest.raises(ValueError, match=r"other\.safetensors: not the FID Inception"):
        InceptionPool(tmp_path / "other.safetensors")
    assert torch.load is reader


def test_no_weight_is_drawn_that_the_file_replaces():
    # To draw those of VGG16 takes longer than to read them, and would change what is drawn after it.
    state = torch.random.get_rng_state()
    distance = load_lpips("alexnet", prepared("alexnet"))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(bool(parameter.isfinite().all()) for parameter in distance.parameters())
