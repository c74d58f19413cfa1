import hashlib
import json
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch_fidelity import calculate_metrics
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from gpstoken import cli
from gpstoken.commands import score
from gpstoken.metrics.frechet import read_statistics
from reports.declared import every_table
from reports.tables.generation_table import generation_table

N = 12  # images a side: the Inception takes 0.15 s for one; its score needs ten, and more for parts of two


class Levels(nn.Module):
    """The mean level of each channel in place of a network."""

    def __init__(self, name, path):
        super().__init__()
        self.name, self.label, self.dimension, self.path = name, name.title(), 3, path
        self.scale = nn.Parameter(torch.tensor(1 / 255))

    def forward(self, images):
        return {"pool": (images.float() * self.scale).mean(dim=(2, 3))}


def make(root, count):
    """Two folders of PNGs of 48 px: patterns of many coarsenesses and colours; those of the reference are darker."""
    for name, seed in (("samples", 0), ("reference", 1)):
        generator = np.random.default_rng(seed)
        (root / name).mkdir()
        for number in range(count):
            side, colour = int(generator.integers(1, 24)), generator.integers(100, 256 - 20 * seed, 3)
            coarse = (generator.random((side, side, 3)) * colour).astype(np.uint8)
            Image.fromarray(coarse).resize((48, 48), Image.Resampling.BICUBIC).save(root / name / f"{number:03}.png")
    return root / "samples", root / "reference"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return make(tmp_path_factory.mktemp("images"), N)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The command with a network of three features, whichever is asked for; returns its file of weights."""
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    monkeypatch.setattr(score, "load_features", lambda name, given=None: Levels(name, given or path))
    return path


def run(*arguments):
    return cli.main(["score", *map(str, arguments)])


# What torch-fidelity calls our columns.
THEIRS = {
    "fid": "frechet_inception_distance",
    "kid": "kernel_inception_distance_mean",
    "is": "inception_score_mean",
    "is_std": "inception_score_std",
    "precision": "precision",
    "recall": "recall",
}


def by_torch_fidelity(samples, reference, **options):
    return calculate_metrics(
        input1=str(samples), input2=str(reference), isc=True, kid=True, prc=True, cuda=False, cache=False,
        verbose=False, save_cpu_ram=True, kid_subsets=1, **options,
    )  # fmt: skip


def test_inception_scores_are_those_of_torch_fidelity(folders, inception_file, tmp_path, capsys):
    # FID itself takes half a minute for two matrices of 2048 x 2048: test_oracles compares it, from fewer features.
    samples, reference = folders
    output = tmp_path / "scores.json"
    options = ("--network", "inception", "--weights", inception_file, "-o", output)
    assert run(samples, "--reference", reference, *options, "--batch-size", 5) == 0
    record = json.loads(output.read_text())
    expected = by_torch_fidelity(
        samples,
        reference,
        feature_extractor="inception-v3-compat",  # else precision and recall are those of a VGG
        feature_extractor_weights_path=str(inception_file),
        kid_subset_size=N,
    )
    assert set(record["metrics"]) == set(THEIRS) - {"fid"} and set(record["left_out"]) == {"fid", "sfid"}
    for name, value in record["metrics"].items():
        # The oracle takes KID, 0.011, in float32: a difference of three means of kernels (d + 1)^3 = 4.5; d = 0.68 is
        # a sum of 2,048 products, which a random walk of roundings puts off by sqrt(2048) 2^-24 d = 1.8e-6. A kernel
        # is off by 3 (d + 1)^2 = 8.5 times that, a mean over 66 pairs by an eighth of it, 1.9e-6, and 1 + 1 - 2 of them
        # by sqrt(6) times that, 4.7e-6. Thrice this is far from a mistake: the biased estimate is 0.038.
        roundings = 1.4e-5 if name == "kid" else 0
        assert value == pytest.approx(expected[THEIRS[name]], rel=1e-4, abs=roundings), name
    assert 0 < record["metrics"]["precision"] < 1
    assert record["network"]["sha256"] == hashlib.sha256(inception_file.read_bytes()).hexdigest()
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert printed["samples"] == printed["reference_images"] == str(N)
    assert float(printed["kid"]) == pytest.approx(record["metrics"]["kid"], rel=1e-5)  # six digits


class TinyInception(FeatureExtractorBase):
    """Outputs of the Inception's names from a random projection of the pixels, for torch-fidelity and for us."""

    dimension, label, path = 20, "Tiny", __file__

    def __init__(self, name="tiny", features_list=("2048", "logits_unbiased"), **_):
        super().__init__(name, features_list)
        widths, generator = {"2048": self.dimension, "logits_unbiased": 10}, torch.Generator().manual_seed(0)
        self.weights = nn.ParameterDict(
            {key: torch.randn(3 * 48 * 48, width, generator=generator) / 20 for key, width in widths.items()}
        )

    def forward(self, images):
        return tuple(images.flatten(1).float() / 255 @ self.weights[key] for key in self.features_list)

    @staticmethod
    def get_provided_features_list():
        return "2048", "logits_unbiased"

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "logits_unbiased" if metric == "isc" else "2048"


class Ours(nn.Module):
    """The same under the names of `load_features`."""

    def __init__(self):
        super().__init__()
        self.name, self.label, self.dimension, self.path = "inception", "Tiny", TinyInception.dimension, __file__
        self.network = TinyInception()

    def forward(self, images):
        x = nn.functional.interpolate(images, (48, 48)) if images.shape[-1] != 48 else images
        return dict(zip(("pool", "logits"), self.network(x), strict=True))


def test_all_scores_are_those_of_torch_fidelity_from_the_same_features(monkeypatch, tmp_path):
    samples, reference = make(tmp_path, 60)
    monkeypatch.setattr(score, "load_features", lambda *_: Ours())
    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "tiny", TinyInception)
    options = ("--network", "inception", "--allow-small", "-o", tmp_path / "r.json")
    assert run(samples, "--reference", reference, *options) == 0
    metrics = json.loads((tmp_path / "r.json").read_text())["metrics"]
    expected = by_torch_fidelity(samples, reference, feature_extractor="tiny", fid=True, kid_subset_size=60)
    assert set(metrics) == set(THEIRS)
    for name, value in metrics.items():
        # They take KID in float32, and square roots of eigenvalues that are zero but for rounding.
        assert value == pytest.approx(expected[THEIRS[name]], rel=1e-4), name
    assert metrics["is"] > 1.01 and metrics["fid"] > 0.01


def test_record_says_where_the_numbers_come_from(folders, small, tmp_path):
    samples, reference = folders
    assert run(samples, "--reference", reference, "--network", "vgg16", "-o", tmp_path / "r.json") == 0
    record = json.loads((tmp_path / "r.json").read_text())
    # coreutils of a folder, as anybody can repeat it
    listing = subprocess.run("sha256sum *.png", shell=True, cwd=samples, capture_output=True, check=True).stdout
    digest = hashlib.sha256(listing).hexdigest()
    assert record["samples"] == {"file": "samples", "sha256": digest, "images": N}
    assert record["reference"]["file"] == "reference" and record["reference"]["sha256"] != digest
    assert record["reference"]["images"] == record["reference"]["statistics"] == N
    assert record["network"]["name"] == "vgg16" and record["network"]["file"] == "weights.pth"
    assert set(record["metrics"]) == {"fd_vgg16", "precision_vgg16", "recall_vgg16", "kid_vgg16"}
    assert {"commit", "versions", "machine", "kernel", "batch_size"} <= set(record)
    assert record["seconds"]["network on samples"] >= 0 and "hashes" in record["seconds"]


def test_a_named_result_is_a_row_of_the_report(monkeypatch, tmp_path, capsys):
    samples, reference = make(tmp_path, 60)
    monkeypatch.setattr(score, "load_features", lambda *_: Ours())
    output = tmp_path / "results" / "laptop" / "scored" / "theirs.json"
    output.parent.mkdir(parents=True)
    options = ("--network", "inception", "--allow-small", "--row", "theirs", "--scale", "laptop", "-o", output)
    assert run(samples, "--reference", reference, *options) == 0
    metrics = json.loads(output.read_text())["metrics"]
    declared = every_table()["generation"]
    table = generation_table("generation", declared, tmp_path / "results", ["laptop"])
    (row,) = (row for row in table.rows if row.source == "scored samples, laptop")
    assert (row.cells["method"].text, row.cells["samples"].value) == ("theirs", 60)
    for name in ("fid", "is"):
        assert row.cells[name].value == metrics[name], name
    for name in ("kid", "precision", "recall"):
        assert row.cells[f"{name}_inception"].value == metrics[name], name
    assert any(
        note.startswith("theirs: the samples of samples were scored unchanged against reference of 60")
        for note in table.origins
    )
    record = json.loads(output.read_text())
    for changes, said in (
        ({"row": None}, "does not say its row"),
        ({"row": "other"}, "holds the row 'other' of the group 'scored'"),
        ({"scale": "paper"}, "belongs to the scale 'paper', not 'laptop'"),
        ({"network": record["network"] | {"name": "vgg16"}}, "score 'fid' is of Inception, but the network was vgg16"),
    ):
        output.write_text(json.dumps(record | changes))
        with pytest.raises(ValueError, match=rf"theirs\.json: {said}"):
            generation_table("generation", declared, tmp_path / "results", ["laptop"])


def test_hash_of_an_npz_is_that_of_the_whole_file(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert score.content_hash(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_reference_file_is_made_and_used(folders, small, tmp_path, capsys):
    samples, reference = folders
    statistics = tmp_path / "reference.npz"
    assert run(reference, "--write-statistics", statistics, "--network", "vgg16") == 0
    assert read_statistics(statistics)["pool"].count == N
    assert f"of {N} images" in capsys.readouterr().out
    numbers = []
    for given in (statistics, reference):
        assert run(samples, "--reference", given, "--network", "vgg16") == 0
        captured = capsys.readouterr()
        numbers.append(dict(line.split() for line in captured.out.splitlines())["fd_vgg16"])
        assert ("no kid_vgg16: reference.npz has statistics, no images" in captured.err) == (given == statistics)
    assert numbers[0] == numbers[1]


@pytest.fixture
def no_networks(monkeypatch, tmp_path):
    for name in ("INCEPTION", "EFFICIENTNET_LITE0"):
        monkeypatch.delenv(f"GPSTOKEN_{name}_WEIGHTS", raising=False)
    for name in ("HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_without_inception_another_network_steps_in_and_says_so(no_networks, folders, small, capsys):
    samples, reference = folders
    assert run(samples, "--reference", reference) == 0
    captured = capsys.readouterr()
    assert "features of efficientnet_lite0, whose distances are not FID" in captured.err
    names = [line.split()[0] for line in captured.out.splitlines()]
    assert "fd_efficientnet_lite0" in names and not any("fid" in name for name in names)


def test_without_any_network_one_line_says_how_to_get_one(no_networks, folders, capsys):
    samples, reference = folders
    assert run(samples, "--reference", reference, "--network", "inception") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gpstoken: network weights of inception not found") and "download https://" in line
    assert run(samples, "--reference", reference) == 2
    assert "network weights of efficientnet_lite0 not found" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none", "--reference", "none"), "none: no such file or folder"),
        (
            ("{samples}", "--reference", "{samples}", "-o", "pyproject.toml/r.json"),
            "pyproject.toml/r.json: cannot be written",
        ),
        (("{samples}", "--reference", "{samples}", "-o", "tests"), "tests: is a folder, expected a file"),
        (("{samples}", "--reference", "{samples}", "--device", "abacus"), "--device abacus: "),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, said, folders, small, capsys):
    assert run(*(each.format(samples=folders[0]) for each in arguments), "--network", "vgg16") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gpstoken: {said}")


@pytest.mark.parametrize(
    "arguments",
    [
        ("x",),
        ("x", "--reference", "y", "--write-statistics", "z.npz"),
        ("x", "--reference", "y", "--weights", "w"),
        ("x", "--write-statistics", "z.npz", "-o", "r.json"),
        ("x", "--write-statistics", "z.json"),
        ("x", "--reference", "y", "--batch-size", "0"),
        ("x", "--reference", "y", "--row", "r", "-o", "r.json"),
        ("x", "--reference", "y", "--scale", "laptop", "-o", "r.json"),
        ("x", "--reference", "y", "--scale", "laptop", "--row", "r"),
        ("x", "--reference", "y", "--scale", "laptop", "--row", "r", "-o", "other.json"),
    ],
)
def test_options_that_contradict_each_other_are_refused(arguments):
    assert run(*arguments) == 2
