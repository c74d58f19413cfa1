from datetime import timedelta

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import distributed, multiprocessing, nn

from gpstoken.metrics.frechet import write_statistics
from gpstoken.metrics.generation import compare, extract, measure
from gpstoken.metrics.samples import read_batches

LIMIT = timedelta(seconds=600)


class Levels(nn.Module):
    """The mean level of each channel: features that a test can take from the images by itself."""

    def __init__(self, name="levels"):
        super().__init__()
        self.name, self.label, self.dimension = name, name.title(), 3
        self.scale = nn.Parameter(torch.tensor(1 / 255))

    def forward(self, images):
        x = images.float() * self.scale
        features = {"pool": x.mean(dim=(2, 3))}
        if self.name == "inception":
            features["spatial"] = x[:, 0, :2, :2].flatten(1)
            features["logits"] = 10 * x[:, :, 0, :4].flatten(1)
        return features


def images(n, seed):
    """Flat colours with noise; seed 1 is lighter than seed 0."""
    generator = np.random.default_rng(seed)
    colours = generator.integers(30 * seed, 200 + 20 * seed, (n, 1, 1, 3))
    return (colours + generator.integers(0, 30, (n, 8, 8, 3))).astype(np.uint8)


@pytest.fixture
def sides(tmp_path):
    for name, n, seed in (("samples", 43, 1), ("reference", 37, 0)):
        np.savez(tmp_path / f"{name}.npz", images(n, seed))
    return tmp_path / "samples.npz", tmp_path / "reference.npz"


def frechet_by_sqrtm(features, mean, covariance):
    own = np.cov(features, rowvar=False)
    root = scipy.linalg.sqrtm(own @ covariance).real
    return ((features.mean(0) - mean) ** 2).sum() + np.trace(own + covariance - 2 * root)


def levels(array):
    return array.mean(axis=(1, 2), dtype=np.float64) / 255


def test_scores_of_another_network_carry_its_name(sides):
    result = measure(*sides, Levels(), batch_size=8)
    first, second = levels(images(43, 1)), levels(images(37, 0))
    expected = frechet_by_sqrtm(first, second.mean(0), np.cov(second, rowvar=False))
    assert set(result["metrics"]) == {"fd_levels", "precision_levels", "recall_levels", "kid_levels"}
    assert result["metrics"]["fd_levels"] == pytest.approx(expected, rel=1e-5)  # float32 features
    assert result["left_out"] == {}
    assert result["samples"] == 43 and result["reference"] == {"statistics": 37, "images": 37}
    assert {"read samples", "network on samples", "read reference", "fd_levels", "kid"} <= set(result["seconds"])


def test_scores_of_inception_have_their_own_names(sides):
    metrics = measure(*sides, Levels("inception"))["metrics"]
    assert list(metrics) == ["fid", "sfid", "is", "is_std", "precision", "recall", "kid"]
    corners = [array[:, :2, :2, 0].reshape(-1, 4) / 255 for array in (images(43, 1), images(37, 0))]
    expected = frechet_by_sqrtm(corners[0], corners[1].mean(0), np.cov(corners[1], rowvar=False))
    assert metrics["sfid"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["levels", "inception"])
def test_tables_have_the_numbers_that_a_score_has(sides, name):
    network = Levels(name)
    sets = [extract(side, network, 8, "images", {}) for side in sides]
    told = {}
    found, whole = compare(*sets, name, told=told), measure(*sides, network, batch_size=8)
    expected = whole["metrics"]
    assert found == {key: expected[key if key in expected else key.removesuffix("_inception")] for key in found}
    assert told["kernel"] == whole["kernel"] and told["left_out"] == {}
    assert set(expected) - {key.removesuffix("_inception") for key in found} == ({"is_std"} & set(expected))


def test_precision_is_of_the_samples_and_recall_of_the_reference(tmp_path):
    # Samples: one spot of the reference. All of them are near it, and they cover a part of it.
    wide, narrow = images(40, 0), images(40, 0)[:8].repeat(5, axis=0)
    narrow[:, 0, 0] = np.arange(40)[:, None]  # no two alike
    np.save(tmp_path / "wide.npy", wide)
    np.save(tmp_path / "narrow.npy", narrow)
    metrics = measure(tmp_path / "narrow.npy", tmp_path / "wide.npy", Levels())["metrics"]
    assert metrics["precision_levels"] == 1
    assert metrics["recall_levels"] < 0.5


def test_batches_do_not_matter(sides):
    first, second = (measure(*sides, Levels("inception"), batch_size=size)["metrics"] for size in (1, 64))
    # Features are float32 means over 64 pixels, whose order of summation may follow the batch.
    assert first == pytest.approx(second, rel=1e-6)


def test_statistics_of_images_stand_for_the_images(sides, tmp_path):
    network = Levels("inception")
    write_statistics(tmp_path / "s.npz", extract(sides[1], network, 8, "images", {}).statistics)
    whole, result = measure(*sides, network), measure(sides[0], tmp_path / "s.npz", network)
    names = ["fid", "sfid", "is", "is_std"]
    assert result["metrics"] == pytest.approx({name: whole["metrics"][name] for name in names}, rel=1e-9)
    assert result["left_out"] == dict.fromkeys(["precision", "recall", "kid"], "s.npz has statistics, no images")
    assert result["reference"] == {"statistics": 37, "images": None}


def test_adm_reference_takes_fid_from_its_statistics_and_the_rest_from_its_images(sides, tmp_path):
    network, path = Levels("inception"), tmp_path / "VIRTUAL.npz"
    mean, covariance = np.array([0.1, 0.2, 0.3]), np.diag([0.01, 0.02, 0.03])
    np.savez(path, arr_0=images(37, 0), mu=mean, sigma=covariance)
    result, whole = measure(sides[0], path, network), measure(*sides, network)
    assert result["metrics"]["fid"] == pytest.approx(
        frechet_by_sqrtm(levels(images(43, 1)), mean, covariance), rel=1e-5
    )
    for name in ("precision", "recall", "kid"):
        assert result["metrics"][name] == whole["metrics"][name]
    assert result["left_out"] == {"sfid": "VIRTUAL.npz has no spatial statistics"}
    assert result["reference"] == {"statistics": None, "images": 37}


def test_few_images_have_no_frechet_distance_unless_it_is_wanted(sides, tmp_path):
    np.save(tmp_path / "five.npy", images(5, 1))
    few = measure(tmp_path / "five.npy", sides[1], Levels())
    assert "fd_levels" not in few["metrics"] and "5 images" in few["left_out"]["fd_levels"]
    assert "kid_levels" in few["metrics"]
    assert "fd_levels" in measure(tmp_path / "five.npy", sides[1], Levels(), allow_small=True)["metrics"]
    assert "fd_levels" in measure(sides[1], tmp_path / "five.npy", Levels())["left_out"]  # either side
    np.save(tmp_path / "six.npy", images(6, 1))  # twice 3 dimensions
    assert "fd_levels" in measure(tmp_path / "six.npy", sides[1], Levels())["metrics"]


def test_three_images_have_no_neighbours_and_no_inception_score(sides, tmp_path):
    np.save(tmp_path / "three.npy", images(3, 1))
    result = measure(tmp_path / "three.npy", sides[1], Levels("inception"))
    assert set(result["metrics"]) == {"kid"}
    assert set(result["left_out"]) == {"fid", "sfid", "is", "is_std", "precision", "recall"}


def test_one_image_is_no_distribution(sides, tmp_path):
    np.save(tmp_path / "one.npy", images(1, 1))
    with pytest.raises(ValueError, match=r"one\.npy: a single image"):
        measure(tmp_path / "one.npy", sides[1], Levels())


def test_statistics_of_another_network_are_refused_before_the_samples_are_read(tmp_path):
    np.savez(tmp_path / "s.npz", mu=np.zeros(4), sigma=np.eye(4))
    with pytest.raises(ValueError, match=r"s\.npz: statistics of 4 features, but levels has 3"):
        measure("no/such/samples", tmp_path / "s.npz", Levels())


def test_features_keep_the_order_of_the_images(sides):
    features = extract(sides[0], Levels("inception"), 5, "samples", {})
    whole = Levels("inception")(torch.cat(list(read_batches(sides[0], 64))))
    torch.testing.assert_close(features.pool, whole["pool"], rtol=1e-6, atol=0)
    assert torch.equal(features.logits, whole["logits"])


def one_process(rank, folder, sides):
    torch.set_num_threads(1)  # a forked process has lost the others, and would wait for them
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=LIMIT)
    for batch_size in (4, 64):  # 11 batches; one batch, and the second process has none
        result = measure(*sides, Levels("inception"), batch_size)
        torch.save(result["metrics"], folder / f"{rank}-{batch_size}.pt")
    distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # Python 3.12 about any fork
def test_two_processes_give_the_numbers_of_one(sides, tmp_path):
    # forked: a fresh interpreter takes seconds to import torch, and does not find this module
    multiprocessing.start_processes(one_process, (tmp_path, sides), nprocs=2, start_method="fork")
    for batch_size in (4, 64):
        expected = measure(*sides, Levels("inception"), batch_size)["metrics"]
        for rank in range(2):
            actual = torch.load(tmp_path / f"{rank}-{batch_size}.pt", weights_only=True)
            # The features are the same bits; sums in float64 are taken in another order.
            assert actual == pytest.approx(expected, rel=1e-9)
