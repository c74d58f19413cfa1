"""Whole metrics against other people's whole implementations, on photographs and on noise, with the same weights."""

from types import SimpleNamespace

import lpips
import pytest
import torch
import torch_fidelity
import torchvision
from safetensors.torch import load_file
from skimage.metrics import peak_signal_noise_ratio
from torchmetrics.functional.image import (
    learned_perceptual_image_patch_similarity,
    structural_similarity_index_measure,
)
from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from gpstoken.metrics import (
    Moments,
    frechet_distance,
    inception_score,
    kernel_distance,
    load_features,
    precision_recall,
    reconstruction_metrics,
    ssim,
)
from gpstoken.perceptual import load_lpips


def degraded(photographs):
    """The photographs at a fourth of their size and back, with noise; then pure noise for the last two."""
    noise = torch.randn(photographs.shape, generator=torch.Generator().manual_seed(0))
    small = torch.nn.functional.interpolate(photographs.float(), scale_factor=0.25, mode="area")
    back = torch.nn.functional.interpolate(small, scale_factor=4.0, mode="bilinear") + 8 * noise
    back[-2:] = 127 + 60 * noise[-2:]
    return back.clamp(0, 255).round().byte()


@pytest.fixture(scope="module")
def pair(photographs):
    return degraded(photographs), photographs


@pytest.fixture(scope="module")
def features(pair, inception_file):
    network = load_features("inception", inception_file)
    return [network(images) for images in pair]


@pytest.fixture(scope="module")
def of_torch_fidelity(pair, inception_file):
    return torch_fidelity.calculate_metrics(
        input1=Images(pair[0]), input2=Images(pair[1]),
        fid=True, isc=True, kid=True, prc=True, isc_splits=3, kid_subsets=1, kid_subset_size=12,
        feature_extractor_weights_path=str(inception_file),
        feature_extractor="inception-v3-compat",  # precision and recall would take VGG16
        cuda=False, cache=False, verbose=False, batch_size=12, save_cpu_ram=True,
    )  # fmt: skip


class Images(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


class Ready(torch.nn.Module):
    """For torchmetrics: features that are there already."""

    num_features = 300

    def forward(self, features):
        return features


def fid(pools):
    moments = [Moments(pool.shape[1]) for pool in pools]
    for each, pool in zip(moments, pools, strict=True):
        for batch in pool.split(5):
            each.add(batch)
    return frechet_distance(moments[0].mean, moments[0].covariance, moments[1].mean, moments[1].covariance)


def test_torch_fidelity(features, of_torch_fidelity):
    pools, expected = [side["pool"] for side in features], of_torch_fidelity
    # 11 directions in 2,048: the oracle takes roots of some 2,000 eigenvalues that are rounding, 1e-16 of the largest.
    assert fid(pools) == pytest.approx(expected["frechet_inception_distance"], rel=1e-4)
    mean, deviation = inception_score(features[0]["logits"], splits=3)
    assert mean == pytest.approx(expected["inception_score_mean"], rel=1e-4)
    assert deviation == pytest.approx(expected["inception_score_std"], rel=1e-4)
    assert kernel_distance(*pools)["mean"] == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-4)
    assert precision_recall(pools[1], pools[0]) == (expected["precision"], expected["recall"])


def test_torchmetrics_has_the_same_features(pair, features, inception_file):
    # With TensorFlow's resize: its own default, antialiased, is another metric.
    names = ["2048", "logits_unbiased"]
    network = NoTrainInceptionV3("inception-v3-compat", names, str(inception_file), antialias=False)
    pool, logits = network._torch_fidelity_forward(pair[0][:3])
    for found, expected in ((features[0]["pool"][:3], pool), (features[0]["logits"][:3], logits)):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


# of the deviation over splits, which is none of one
@pytest.mark.filterwarnings(r"ignore:std\(\). degrees of freedom is <= 0")
@pytest.mark.filterwarnings("ignore:Metric `.*` will save all extracted features in buffer")
def test_torchmetrics(features):
    # 300 of the 2,048: its roots of non-symmetric products take a quarter of a minute
    pools = [side["pool"][:, :300] for side in features]
    metrics = (
        FrechetInceptionDistance(feature=Ready()).set_dtype(torch.float64),
        KernelInceptionDistance(feature=Ready(), subsets=1, subset_size=12),
    )
    for metric in metrics:
        metric.update(pools[1].double(), real=True)
        metric.update(pools[0].double(), real=False)
    assert fid(pools) == pytest.approx(metrics[0].compute().item(), rel=1e-4)
    assert kernel_distance(*pools)["mean"] == pytest.approx(metrics[1].compute()[0].item(), rel=1e-4)
    score = InceptionScore(feature=Ready(), splits=1)  # its shuffle has no seed
    score.update(features[0]["logits"])
    assert inception_score(features[0]["logits"], splits=1)[0] == pytest.approx(score.compute()[0].item(), rel=1e-4)


@pytest.mark.parametrize("network", ["alexnet", "vgg16"])
def test_lpips(pair, network, monkeypatch):
    path = f"data/networks/lpips_{network}.safetensors"
    ours = load_lpips(network, path)
    with torch.device("meta"):
        trunk = getattr(torchvision.models, network)(weights=None).features
    weights = {name.removeprefix("features."): value for name, value in load_file(path).items()}
    trunk.load_state_dict(weights, assign=True)
    # what both packages would fetch: torchvision's network with these weights
    monkeypatch.setattr(torchvision.models, network, lambda **_: SimpleNamespace(features=trunk))
    short = {"alexnet": "alex", "vgg16": "vgg"}[network]
    images = [x[-4:].float() / 127.5 - 1 for x in pair]  # two photographs, two of noise
    with torch.no_grad():
        rows = reconstruction_metrics(*images, {"lpips": ours})["lpips"]
        of_package = lpips.LPIPS(net=short, verbose=False)(*images).flatten()
        of_torchmetrics = learned_perceptual_image_patch_similarity(*images, net_type=short, reduction="none").flatten()
    assert (rows > 0.05).all()
    for expected in (of_package, of_torchmetrics):
        torch.testing.assert_close(rows, expected, rtol=1e-4, atol=0)


def test_psnr_and_ssim(pair):
    images = [x.double() / 127.5 - 1 for x in pair]
    rows = reconstruction_metrics(*images)
    expected = structural_similarity_index_measure(*(x.double() / 255 for x in pair), data_range=1.0, reduction="none")
    assert expected.min() < 0.2 and expected.max() > 0.5
    # Variances, E[x^2] - E[x]^2 of squares up to 1, are off by some 1e-7, two roundings of float32, against a constant
    # of 9e-4: a pixel by 1e-4, of either sign, and the mean of 3 x 64 x 64 by 1 / 111 of it, 1e-6. Five times that,
    # because which way a pixel rounds is the processor's affair.
    torch.testing.assert_close(rows["ssim"].double(), expected, rtol=0, atol=5e-6)
    first, second = (x.double() / 255 for x in pair)
    torch.testing.assert_close(ssim(first, second), expected, rtol=1e-12, atol=1e-12)
    expected = [peak_signal_noise_ratio(y.numpy(), x.numpy(), data_range=255) for x, y in zip(*pair, strict=True)]
    torch.testing.assert_close(rows["psnr"].double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0)
