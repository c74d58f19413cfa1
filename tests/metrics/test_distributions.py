import numpy as np
import pytest
import scipy.linalg
import torch
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

from gpstoken.metrics import distributions
from gpstoken.metrics.distributions import networks_at_hand, paired_scores
from gpstoken.metrics.frechet import Statistics, write_statistics

DIMENSIONS = {"inception.pool": 6, "inception.spatial": 4, "vgg16.pool": 5}
LAYERS = {"inception": ["pool", "spatial"], "vgg16": ["pool"]}


@pytest.fixture
def features() -> dict[str, np.ndarray]:
    """Forty images and their reconstructions, a little off."""
    generator = np.random.default_rng(0)
    columns = {}
    for name, dimension in DIMENSIONS.items():
        image = generator.normal(size=(40, dimension)).astype(np.float32)
        columns[f"{name}.image"] = image
        columns[f"{name}.reconstruction"] = (
            0.8 * image + 0.3 + 0.1 * generator.normal(size=image.shape).astype(np.float32)
        )
    return columns


def reader(features: dict[str, np.ndarray]):
    return features.__getitem__


def sides(features: dict[str, np.ndarray]):
    return dict.fromkeys(("image", "reconstruction"), reader(features))


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """By scipy's matrix square root."""
    means = [x.astype(np.float64).mean(0) for x in (first, second)]
    covariances = [np.cov(x.astype(np.float64).T) for x in (first, second)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    return np.sum((means[0] - means[1]) ** 2) + np.trace(covariances[0] + covariances[1] - 2 * root)


def test_distances_are_scipys_and_only_those_of_inception_are_called_fid(features):
    scores = paired_scores(sides(features), LAYERS)
    named = {"rec_fid": "inception.pool", "rec_sfid": "inception.spatial", "rfd_vgg16": "vgg16.pool"}
    assert set(scores) == {*named, "rec_kid", "kid_vgg16"}
    for name, column in named.items():
        expected = frechet(features[f"{column}.image"], features[f"{column}.reconstruction"])
        assert scores[name] == pytest.approx(expected, rel=1e-9), name


def test_kernel_distance_is_torch_fidelitys_over_all_images(features):
    pool = [torch.from_numpy(features[f"vgg16.pool.{side}"]) for side in ("reconstruction", "image")]
    # One subset of all images.
    theirs = kid_features_to_metric(*pool, kid_subsets=1, kid_subset_size=40, verbose=False)[KEY_METRIC_KID_MEAN]
    assert paired_scores(sides(features), LAYERS)["kid_vgg16"] == pytest.approx(theirs, rel=1e-5)


def test_images_may_come_from_files_of_another_seed(features):
    images = {name: values[::-1].copy() for name, values in features.items() if name.endswith(".image")}
    reconstructions = {name: values for name, values in features.items() if name.endswith(".reconstruction")}
    both = {"image": reader(images), "reconstruction": reader(reconstructions)}
    expected = paired_scores(sides(features), LAYERS)
    # Another order of images is the same distribution.
    assert paired_scores(both, LAYERS) == pytest.approx(expected, rel=1e-6)


def test_statistics_of_other_images(features, tmp_path):
    generator = np.random.default_rng(1)
    other = {name: generator.normal(size=(50, DIMENSIONS[f"inception.{name}"])) for name in ("pool", "spatial")}
    path = tmp_path / "reference.npz"
    tensors = {name: [torch.from_numpy(x) for x in (v.mean(0), np.cov(v.T))] for name, v in other.items()}
    write_statistics(path, {name: Statistics(*pair, 50) for name, pair in tensors.items()})
    scores = paired_scores(sides(features), LAYERS, path)
    assert scores["fid"] == pytest.approx(frechet(other["pool"], features["inception.pool.reconstruction"]), rel=1e-9)
    assert scores["sfid"] == pytest.approx(
        frechet(other["spatial"], features["inception.spatial.reconstruction"]), rel=1e-9
    )
    with pytest.raises(ValueError, match="FID against statistics needs the network inception"):
        paired_scores(sides(features), {"vgg16": ["pool"]}, path)


def test_what_is_not_at_hand_is_said(monkeypatch, capsys):
    def find(name):
        if name == "inception":
            raise FileNotFoundError("no weights of inception")

    monkeypatch.setattr(distributions, "find_weights", find)
    assert networks_at_hand() == ("efficientnet_lite0",)
    assert "left out of the scores: no weights of inception" in capsys.readouterr().err
