import csv
import json
import shutil

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors

from gpstoken.commands import evaluate_generator, features
from gpstoken.metrics import inception_score, load_features, neighbour_images
from gpstoken.metrics.generation import FeatureSet, Statistics, compare
from gpstoken.metrics.labelled import read_images, read_sets
from reports.declared import every_table
from reports.figures.pictures import samples_page
from reports.tables.generation_table import generation_table
from reports.tables.render import markdown
from reports.tables.results import Result

SIDE, CLASSES = 32, 3
# Wrong samples of each seed after 100 steps and after 20, of twelve.
WRONG = {100: {0: (), 1: (4,), 2: (4, 7, 9)}, 20: {0: range(12), 1: range(6), 2: range(9)}}


def textures(kinds, seed):
    """Red stripes across, green stripes down, blue squares; of random width, place and brightness, with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    images = []
    for kind in kinds:
        width, place = rng.integers(3, 6), rng.integers(8)
        patterns = ((y + place) // width % 2, (x + place) // width % 2, ((x + place) // width + y // width) % 2)
        image = rng.integers(0, 40, (SIDE, SIDE, 3))
        image[..., kind] += patterns[kind] * rng.integers(120, 200)
        images.append(image)
    return np.stack(images).astype(np.uint8)


def write(path, images, labels, manifest):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, images, np.asarray(labels, np.int64))
    path.with_suffix(".json").write_text(json.dumps(manifest))


def manifest(seed, step):
    stages = {
        "layout": {"parameters": 40, "batch_size": 8, "steps": 50, "sha256": f"layout{seed}"},
        "texture": {
            "network": {"shape": [16]},
            "parameters": 200,
            "batch_size": 16,
            "steps": step,
            "sha256": f"texture{seed}-{step}",
        },
    }
    tokenizer = {"class_path": "gpstoken.tokenizer.GPSToken", "sha256": "f00d", "parameters": 7}
    sampling = {
        "sampler": "sde",
        "method": "euler",
        "steps": 250,
        "guidance": 1.5,
        "guidance_interval": [0.2, 1.0],
        "seed": seed,
    }
    return {"generator": {"kind": "two_stage", "stages": stages, "tokenizer": tokenizer}, "sampling": sampling}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Real images, samples of three seeds at two steps of which the wrong ones are known, and reconstructions."""
    root = tmp_path_factory.mktemp("generator")
    labels = np.arange(12) % CLASSES
    train = np.arange(30) % CLASSES
    described = {"classes": ["red", "green", "blue"], "data": {"class_path": "Textures", "fingerprint": "abc"}}
    write(root / "train.npz", textures(train, 0), train, described)
    write(root / "test.npz", textures(labels, 1), labels, described | {"sources": [f"{i // 2}" for i in range(12)]})
    write(root / "decoded.npz", textures([0, 1, 0] * 4, 1), labels, {})  # all of class 2 are lost
    for step, by_seed in WRONG.items():
        for seed, wrong in by_seed.items():
            kinds = [(label + (index in wrong)) % CLASSES for index, label in enumerate(labels)]
            images = textures(kinds, 10 + seed)
            if (step, seed) == (100, 0):
                images[5] = textures(train, 0)[17]  # a copy of a training image of its class, 2
            write(root / f"seed{seed}/step_{step:04}.npz", images, labels, manifest(seed, step))
    return root


def run(root, output, *more, steps="*"):
    samples = sorted(root.glob(f"seed*/step_{steps}.npz"), reverse=True)  # in whatever order
    real = ("--train", root / "train.npz", "--test", root / "test.npz")
    options = ("--row", "two_stage", "--scale", "laptop", *real, "-o", output, *more, *samples)
    return evaluate_generator.main([str(each) for each in options])


@pytest.fixture(scope="module")
def result(root, tmp_path_factory):
    output = tmp_path_factory.mktemp("result") / "generators/two_stage.json"
    assert run(root, output, "--reconstructions", root / "decoded.npz") == 0
    return output


def test_class_accuracy_by_hand(result):
    record = json.loads(result.read_text())
    assert record["seeds"] == [0, 1, 2]
    score = record["scores"]["class_accuracy"]
    assert score["per_seed"] == [1, 11 / 12, 9 / 12] and score["mean"] == pytest.approx(32 / 36)
    assert score["count"] == 12 and score["interval"][0] < 32 / 36 < score["interval"][1]
    assert [point["step"] for point in record["curve"]] == [20, 100]
    assert record["curve"][0]["scores"]["class_accuracy"]["per_seed"] == [0, 0.5, 0.25]
    assert record["curve"][1]["scores"] == record["scores"]
    judged = record["classifier"]
    assert judged["chance"] == pytest.approx(1 / 3) and judged["bar"] == pytest.approx(0.5)
    assert judged["above_chance"]
    # Labels 1, 1 and 0 of samples 4, 7 and 9 are missed: 4 by two seeds.
    expected = {"red": 11 / 12, "green": 9 / 12, "blue": 1}
    assert judged["per_class"] == {n: {"accuracy": pytest.approx(e), "samples": 12} for n, e in expected.items()}
    assert judged["real_test"]["accuracy"] == 1 and judged["real_test"]["images"] == 12
    # Six photographs of two views each, all right: Wilson's with n = 6 and t of 5, 2.5706: 6 / (6 + t²).
    assert judged["real_test"]["interval"] == pytest.approx([0.4759, 1], abs=1e-4)
    assert judged["reconstruction"]["accuracy"] == pytest.approx(2 / 3)
    assert judged["reconstruction"]["per_class"]["blue"] == {"accuracy": 0, "samples": 4}


def test_interval_and_standard_error_by_hand(result):
    score = json.loads(result.read_text())["scores"]["class_accuracy"]
    # Between seeds: 1, 11/12, 9/12 have the variance 0.016204, over 3 seeds 0.005401. Images: nine have a mean of 1,
    # two of 2/3, one of 1/3; squared differences from 8/9 sum to 0.518519, · 12/11 / 12² = 0.003928.
    assert score["standard_error"] == pytest.approx(np.sqrt(0.005401 + 0.003928), abs=1e-5)
    # Welch and Satterthwaite: 0.009329² / (0.005401² / 2 + 0.003928² / 11) = 5.448; t = 2.5089 (interpolated from
    # 2.5706 of 5 and 2.4469 of 6: to 0.01). Independent images: 8/9 · 1/9 / 0.009329 = 10.587.
    n, t = 10.587, 2.509
    p = np.linspace(0, 1, 200001)
    inside = p[np.abs(32 / 36 - p) <= t * np.sqrt(p * (1 - p) / n)]  # Wilson's interval is this set
    assert score["interval"] == pytest.approx([inside[0], inside[-1]], abs=2e-3)


@pytest.fixture(scope="module")
def pools(root):
    """Features of the real images and of the first seed's last samples, taken anew."""
    network = load_features("efficientnet_lite0")

    def of(path):
        images = torch.from_numpy(np.load(path)["arr_0"]).permute(0, 3, 1, 2).contiguous()
        with torch.no_grad():
            return torch.cat([network(part)["pool"] for part in images.split(4)]).double()

    return of(root / "train.npz"), of(root / "seed0/step_0100.npz")


def test_distances_are_those_of_the_features(result, pools):
    record = json.loads(result.read_text())
    assert set(record["scores"]) == {
        "kid_efficientnet_lite0", "precision_efficientnet_lite0", "recall_efficientnet_lite0", "class_accuracy",
    }  # fmt: skip
    real, generated = (pool.numpy() for pool in pools)
    for name, value in (("kid_efficientnet_lite0", _kid), ("precision_efficientnet_lite0", _precision)):
        score = record["scores"][name]
        # Features of float32 in another memory layout differ by 1e-6 of their length.
        assert score["per_seed"][0] == pytest.approx(value(real, generated), rel=1e-3)
        assert score["mean"] == pytest.approx(np.mean(score["per_seed"]))
        assert score["standard_error"] == pytest.approx(np.std(score["per_seed"], ddof=1) / 3**0.5)
    assert len(set(record["scores"]["kid_efficientnet_lite0"]["per_seed"])) == 3


def _kid(real, generated):
    """Bińkowski et al. 2018, with scikit-learn's kernel."""
    total = -2 * polynomial_kernel(real, generated, degree=3, gamma=1 / real.shape[1], coef0=1).mean()
    for x in (real, generated):
        kernel = polynomial_kernel(x, degree=3, gamma=1 / x.shape[1], coef0=1)
        total += (kernel.sum() - kernel.trace()) / (len(x) * (len(x) - 1))
    return total


def _precision(real, generated):
    """Kynkäänniemi et al. 2019: within the ball around a real image that reaches to its third neighbour."""
    radius = NearestNeighbors(n_neighbors=4).fit(real).kneighbors(real)[0][:, 3]
    distances = np.linalg.norm(generated[:, None] - real[None], axis=2)
    return (distances <= radius).any(axis=1).mean()


def test_every_sample_has_its_line(result, root, pools):
    with result.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["seed"]), int(row["index"])) for row in rows] == [(s, i) for s in range(3) for i in range(12)]
    for row in rows:
        seed, index, label = int(row["seed"]), int(row["index"]), int(row["label"])
        wrong = index in WRONG[100][seed]
        assert label == index % 3 and int(row["predicted"]) == (label + wrong) % 3
        # of three classes; ten real images of each leave the classifier unsure
        assert (float(row["probability"]) > 0.4) == (not wrong)
    train = np.load(root / "train.npz")["arr_0"].reshape(30, -1).astype(float)
    for seed in range(3):
        mine = rows[12 * seed : 12 * (seed + 1)]
        samples = np.load(root / f"seed{seed}/step_0100.npz")["arr_0"].reshape(12, -1).astype(float)
        distance, index = NearestNeighbors(n_neighbors=1).fit(train).kneighbors(samples)
        assert [int(row["nearest"]) for row in mine] == index[:, 0].tolist()
        # sklearn takes the square root of what rounding leaves of the copy's zero
        assert [float(row["distance"]) for row in mine] == pytest.approx(distance[:, 0].tolist(), abs=1e-3)
    distance, index = (
        NearestNeighbors(n_neighbors=1, metric="cosine").fit(pools[0].numpy()).kneighbors(pools[1].numpy())
    )
    assert [int(row["nearest_by_features"]) for row in rows[:12]] == index[:, 0].tolist()
    found = [float(row["distance_by_features"]) for row in rows[:12]]
    assert found == pytest.approx(distance[:, 0].tolist(), abs=1e-5)
    copy = rows[5]
    assert (copy["nearest"], copy["distance"], copy["nearest_by_features"]) == ("17", "0.0", "17")


def test_memorisation_is_that_of_the_lines(result, root):
    found = json.loads(result.read_text())["memorisation"]
    with result.with_suffix(".csv").open(newline="") as file:
        distances = [float(row["distance"]) for row in csv.DictReader(file)]
    train, test = (
        np.load(root / f"{name}.npz")["arr_0"].reshape(-1, 3 * SIDE**2).astype(float) for name in ("train", "test")
    )
    of_test = NearestNeighbors(n_neighbors=1).fit(train).kneighbors(test)[0][:, 0]
    assert found["sample_median"] == pytest.approx(np.median(distances))
    assert found["test_median"] == pytest.approx(np.median(of_test))
    threshold = np.percentile(of_test, 1)
    assert found["share_below_first_percentile"] == pytest.approx(np.mean(np.array(distances) < threshold))
    assert found["share_below_first_percentile"] >= 1 / 36  # the copy
    assert found["by_features"]["sample_median"] > 0


def test_page_of_samples(result, root):
    page = np.load(result.with_suffix("").with_suffix(".samples.npz"), allow_pickle=False)
    samples, train = (np.load(root / name)["arr_0"] for name in ("seed0/step_0100.npz", "train.npz"))
    assert page["classes"].tolist() == [0, 1, 2]
    assert page["indices"].tolist() == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]  # four a class is all there are
    assert (page["samples"][2, 1] == samples[5]).all() and (page["nearest"][2, 1] == train[17]).all()
    assert page["distances"][2, 1] == 0 and page["nearest_by_features"].dtype == np.uint8


def test_the_record_says_what_was_measured(result, root):
    record = json.loads(result.read_text())
    assert (record["row"], record["group"], record["scale"]) == ("two_stage", "generators", "laptop")
    assert record["training"] == {"steps": 100, "batch_size": 16}
    assert record["generator"]["parameters_by_stage"] == {"layout": 40, "texture": 200}
    assert record["generator"]["stages"]["texture"]["sha256"] == ["texture0-100", "texture1-100", "texture2-100"]
    assert record["sampling"] == {
        "sampler": "sde",
        "method": "euler",
        "steps": 250,
        "guidance": 1.5,
        "guidance_interval": [0.2, 1.0],
    }
    assert record["data"] == {"class_path": "Textures", "fingerprint": "abc", "image_size": SIDE}
    assert record["reference"]["train"]["images"] == 30 and len(record["reference"]["test"]["sha256"]) == 64
    assert record["metrics"] == {}
    assert {"commit", "versions", "machine", "seconds", "networks"} <= set(record)


def test_the_last_step_alone_gives_the_same_result(result, root, tmp_path):
    again = tmp_path / "generators/two_stage.json"
    run(root, again, steps="0100")
    for suffix in (".csv", ".samples.npz"):
        assert again.with_suffix(suffix).read_bytes() == result.with_suffix(suffix).read_bytes()
    one, other = (json.loads(path.read_text()) for path in (result, again))
    assert one["scores"] == other["scores"] and one["memorisation"] == other["memorisation"]
    assert one["curve"][1:] == other["curve"]


def test_features_beside_the_real_images_are_taken_if_they_are_of_them(result, root, tmp_path):
    copy, again = shutil.copytree(root, tmp_path / "copy"), tmp_path / "generators/two_stage.json"
    assert features.main([str(copy / "train.npz"), str(copy / "test.npz")]) == 0
    of_train, of_test = (copy / f"{name}.features.safetensors" for name in ("train", "test"))
    for content, extracted in ((of_train.read_bytes(), set()), (of_test.read_bytes(), {"network on train"})):
        of_train.write_bytes(content)
        run(copy, again, "--reconstructions", copy / "decoded.npz")
        for suffix in (".csv", ".samples.npz"):
            assert again.with_suffix(suffix).read_bytes() == result.with_suffix(suffix).read_bytes()
        one, other = (json.loads(path.read_text()) for path in (result, again))
        assert {"network on train", "network on test"} & other.pop("seconds").keys() == extracted
        assert one.items() >= other.items()


def test_too_many_pixels_are_left_out_and_said_so(result, root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(neighbour_images, "MOST_PRODUCTS", 48 * 30 * 3 * SIDE**2 - 1)  # 36 samples and 12 test images
    output = tmp_path / "results/laptop/generators/two_stage.json"
    assert run(root, output, steps="0100") == 0
    one, other = (json.loads(path.read_text()) for path in (result, output))
    (said,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("gpstoken: "))
    reason = other["memorisation"].pop("left_out")
    assert said == f"gpstoken: the nearest images by pixels are left out: {reason}" and reason.startswith(
        "48 samples and test images"
    )
    assert other["memorisation"] == {"by_features": one["memorisation"]["by_features"]}
    with output.with_suffix(".csv").open(newline="") as file, result.with_suffix(".csv").open(newline="") as whole:
        for found, expected in zip(csv.DictReader(file), csv.DictReader(whole), strict=True):
            assert found == {name: value for name, value in expected.items() if name not in ("nearest", "distance")}
    text = markdown(generation_table("generation", every_table()["generation"], tmp_path / "results", ["laptop"]))
    assert f"GPSToken two-stage: no distance in pixel values, because {reason}." in text
    assert "| GPSToken two-stage | pixel values | - | - | - |" in text
    figure = samples_page(Result(output, other))
    assert "1 - cosine of features" in " ".join(" ".join(each.get_text().split()) for each in figure.texts)


@pytest.mark.parametrize("count", [5, 6])
def test_a_frechet_distance_needs_two_images_a_dimension(count):
    points = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    moved = points * 2 + 1

    def features(pool):
        return FeatureSet({"pool": Statistics(pool.double().mean(0), pool.double().T.cov(), len(pool))}, pool, None)

    scores = compare(features(moved), features(points), "efficientnet_lite0")
    assert ("fd_efficientnet_lite0" in scores) == (count == 6)
    if count == 6:
        covariances = points.double().T.cov().numpy(), moved.double().T.cov().numpy()
        expected = float((moved.double().mean(0) - points.double().mean(0)).square().sum())
        expected += np.trace(covariances[0] + covariances[1] - 2 * sqrtm(covariances[0] @ covariances[1]).real)
        assert scores["fd_efficientnet_lite0"] == pytest.approx(expected)


def frechet_of_few(first, second):
    """With covariances Xᵀ X / (n - 1) the trace of their product's root is the sum of singular values of X1 X2ᵀ."""
    first, second = first.double(), second.double()
    centred = [(each - each.mean(0)) / (len(each) - 1) ** 0.5 for each in (first, second)]
    traces = sum(each.square().sum() for each in centred)
    overlap = torch.linalg.matrix_norm(centred[0] @ centred[1].T, "nuc")
    return ((first.mean(0) - second.mean(0)).square().sum() + traces - 2 * overlap).item()


def test_with_inception_at_hand_the_papers_columns_have_numbers(root, tmp_path, monkeypatch, inception_file):
    monkeypatch.setenv("GPSTOKEN_INCEPTION_WEIGHTS", str(inception_file))
    copy, output = shutil.copytree(root, tmp_path / "copy"), tmp_path / "results/laptop/generators/two_stage.json"
    for seed in (0, 2):  # Inception's images are large, and a distance of its 2,048 features takes seconds
        shutil.rmtree(copy / f"seed{seed}")
    labels = np.arange(12) % CLASSES
    for name, seed, count in (("train", 0, 12), ("test", 1, 6)):
        record = json.loads((root / f"{name}.json").read_text()) | {"sources": None}
        write(copy / f"{name}.npz", textures(labels[:count], seed), labels[:count], record)
    assert features.main([str(copy / "train.npz")]) == 0  # both networks, which are at hand
    assert run(copy, output, "--allow-small", steps="0100") == 0
    record = json.loads(output.read_text())
    assert set(record["networks"]) == {"inception", "efficientnet_lite0"}
    assert "network on train" not in record["seconds"]  # its features lay beside it
    network = load_features("inception")
    samples, train = (
        network(torch.from_numpy(np.load(copy / name)["arr_0"]).permute(0, 3, 1, 2).contiguous())
        for name in ("seed1/step_0100.npz", "train.npz")
    )
    expected = {"fid": frechet_of_few(samples["pool"], train["pool"])}
    expected["sfid"] = frechet_of_few(samples["spatial"], train["spatial"])
    expected["is"] = inception_score(samples["logits"])[0]
    for name, value in expected.items():
        assert record["scores"][name]["per_seed"] == [pytest.approx(value, rel=1e-5)], name
    table = generation_table("generation", every_table()["generation"], tmp_path / "results", ["laptop"])
    row = next(row for row in table.rows if row.row == "two_stage")
    for name in ("fid", "sfid", "is", "precision_inception", "recall_inception", "kid_inception"):
        assert row.cells[name].value == pytest.approx(record["scores"][name]["mean"]), name


def test_one_seed_has_no_error_between_seeds():
    scores = {"kid_efficientnet_lite0": 0.5}
    judged = evaluate_generator.Judged(torch.zeros(4, 1), scores, np.array([0, 0, 0, 1]), np.ones(4))
    found = evaluate_generator.over_seeds([judged], np.zeros(4, int))
    assert found["kid_efficientnet_lite0"] == {"mean": 0.5, "standard_error": None, "per_seed": [0.5], "count": 4}
    assert found["class_accuracy"]["per_seed"] == [0.75]


GENERATOR, SAMPLING = manifest(1, 100).values()


def changed(root, tmp_path, name="seed1/step_0100", **changes):
    """A copy of the files with one manifest changed."""
    shutil.copytree(root, tmp_path / "copy")
    path = tmp_path / f"copy/{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return tmp_path / "copy"


def sets_of(root):
    return read_sets(sorted(root.glob("seed*/*.npz")))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sampling": {**SAMPLING, "steps": 50}}, r"differs from .* in sampling steps: 50, not 250"),
        ({"sampling": {"sampler": "sde"}}, "does not state the seed and the training steps"),
        ({"generator": {**GENERATOR, "tokenizer": {"sha256": "beef"}}}, "in tokenizer: beef, not f00d"),
        ({"generator": manifest(1, 20)["generator"]}, "seed 1, step 20 is given twice, also as"),
        ({"generator": manifest(0, 100)["generator"]}, "comes from the same checkpoint as .*seed0"),
        ({"generator": None}, "has no 'generator'"),
        ({"generator": {"stages": {}}}, "does not state the seed and the training steps"),
    ],
)  # fmt: skip
def test_samples_of_another_generator_are_refused(change, said, root, tmp_path):
    with pytest.raises(ValueError, match=said) as raised:
        sets_of(changed(root, tmp_path, **change))
    assert "\n" not in str(raised.value) and "step_0100" in str(raised.value)


def test_seed_and_steps_are_those_of_the_manifest_whatever_the_files_are_called(root, tmp_path):
    copy = changed(root, tmp_path)
    for place, path in enumerate(sorted(copy.glob("seed*/*.npz"))):
        for suffix in (".npz", ".json"):
            path.with_suffix(suffix).rename(copy / f"any {place}{suffix}")
    found = read_sets(sorted(copy.glob("any *.npz")))
    assert {step: list(seeds) for step, seeds in found.items()} == {20: [0, 1, 2], 100: [0, 1, 2]}


def test_files_that_do_not_fit_are_refused(root, tmp_path):
    copy = changed(root, tmp_path)
    path = copy / "seed2/step_0020.npz"
    images, labels = textures(np.arange(12) % 3, 0), np.arange(12) % 3
    for content, said in (
        ((images[:9], labels[:9]), "in number of samples: 9, not 12"),
        ((images, labels[::-1]), "in the labels of its samples"),
        ((images, labels[:9]), "12 images, but 9 labels"),
        ((images, labels - 1), r"expected labels arr_1"),
        ((images,), "has no arr_1"),
        ((images, np.array([{}])), r"not a readable npz \(it holds Python objects"),
    ):
        np.savez(path, *content)
        with pytest.raises(ValueError, match=said):
            sets_of(copy)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"step_0020\.npz: not a readable npz"):
        sets_of(copy)
    path.unlink()
    with pytest.raises(ValueError, match="there are none for seed 2 after 20 training steps"):
        sets_of(copy)
    with pytest.raises(FileNotFoundError, match=r"step_0020\.npz: no such file; `gpstoken generate`"):
        read_sets([path])
    with pytest.raises(ValueError, match="is given twice"):
        read_sets([copy / "seed0/step_0020.npz"] * 2)
    with pytest.raises(ValueError, match=r"train\.json: has no 'sampling'"):
        read_sets([copy / "train.npz"])
    (copy / "seed0/step_0020.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"step_0020\.json: no manifest"):
        sets_of(copy)
    (copy / "train.json").write_text("{")
    with pytest.raises(ValueError, match=r"train\.json: not JSON"):
        read_images(copy / "train.npz")


@pytest.mark.parametrize(
    ("images", "labels", "sources", "said"),
    [
        ((12, 32, 32, 3), [3] * 12, None, "has the label 3, but .* has 3 classes"),
        ((12, 16, 16, 3), [0] * 12, None, r"images of \[16, 16\] pixels, but .* has \[32, 32\]"),
        ((12, 32, 32, 3), [0] * 12, ["a"], "12 images, but its manifest names 1 sources"),
    ],
)
def test_test_images_that_do_not_fit_are_refused(images, labels, sources, said, root, tmp_path):
    copy = changed(root, tmp_path)
    write(copy / "test.npz", np.zeros(images, np.uint8), labels, {"sources": sources} if sources else {})
    with pytest.raises(ValueError, match=said):
        run(copy, tmp_path / "two_stage.json")


def test_reconstructions_of_other_images_and_another_name_are_refused(root, tmp_path):
    with pytest.raises(ValueError, match=r"train\.npz: the labels differ from those of"):
        run(root, tmp_path / "two_stage.json", "--reconstructions", root / "train.npz")
    with pytest.raises(ValueError, match=r"must be named two_stage\.json"):
        run(root, tmp_path / "grid.json")
