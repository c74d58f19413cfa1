"""`gpstoken score --explain` and `--self-test`, with a network of three features."""

import json

import numpy as np
import pytest
from PIL import Image

from gpstoken.commands import score_self_test
from gpstoken.metrics.frechet import read_statistics
from tests.metrics.test_score import folders, make, run, small  # noqa: F401

LITE = ("--network", "efficientnet_lite0")


def test_explanation_is_printed_and_stored(small, tmp_path, capsys):  # noqa: F811
    samples, reference = make(tmp_path, 12)
    picture = Image.open(samples / "000.png")
    picture.save(samples / "zzz.png")  # a copy, and a JPEG under the name of a PNG
    picture.save(samples / "001.png", format="JPEG")
    output = tmp_path / "r.json"
    assert run(samples, "--reference", reference, *LITE, "--explain", "-o", output) == 0
    printed, record = capsys.readouterr().out, json.loads(output.read_text())
    explained = record["explained"]
    assert (
        f"samples (sha256 {record['samples']['sha256'][:8]}): 13 images of 48 x 48 pixels (12 PNG, 1 JPEG)" in printed
    )
    assert "  protocol   features of efficientnet_lite0: no published protocol; the distance is not FID" in printed
    for finding in (
        "lossy files: 1 of the 13 files of the samples are JPEG. Worth: JPEG of quality 90",
        "repeated samples: 1 of 13 samples repeat an earlier one",
        "number of samples: 13 samples; published scores take 50,000",
        "weights: the weights of efficientnet_lite0 are not the published file",
        "another network: ",
        "crop and resizing: whether samples and reference were cropped and resized alike. Worth: 0.05 to 0.2",
    ):
        assert f"\n  {finding}" in printed
    assert {entry["name"] for entry in explained["deviations"] if entry["state"] == "hidden"} == {"crop and resizing"}
    assert explained["samples"]["formats"] == {"PNG": 12, "JPEG": 1} and explained["reference"]["images"] == 12
    metrics = record["metrics"]
    assert set(explained["spread"]) == set(metrics)
    distance = explained["spread"]["fd_efficientnet_lite0"]
    assert f"fd_efficientnet_lite0: {metrics['fd_efficientnet_lite0']:.6g}, bias {distance['bias']:.3g}, ± " in printed
    assert record["samples"]["images"] == 13 and "explain" in record["seconds"]


def test_statistics_are_explained_as_such(small, tmp_path, capsys):  # noqa: F811
    samples, reference = make(tmp_path, 12)
    assert run(reference, "--write-statistics", tmp_path / "s.npz", *LITE) == 0
    capsys.readouterr()
    assert run(samples, "--reference", tmp_path / "s.npz", *LITE, "--explain") == 0
    printed = capsys.readouterr().out
    assert ": statistics of 12 images\n" in printed and "for the statistics as if Gaussian, of 12 images" in printed
    arrays = dict(np.load(tmp_path / "s.npz"))
    del arrays["count"]
    np.savez(tmp_path / "s.npz", **arrays)
    assert run(samples, "--reference", tmp_path / "s.npz", *LITE, "--explain") == 0
    printed = capsys.readouterr().out
    assert ": statistics of an unknown number of images\n" in printed and "\n  statistics without a number: " in printed


def test_without_explain_nothing_more_is_printed_or_stored(folders, small, tmp_path, capsys):  # noqa: F811
    samples, reference = folders
    assert run(samples, "--reference", reference, *LITE, "-o", tmp_path / "r.json") == 0
    assert "compared" not in capsys.readouterr().out
    assert "explained" not in json.loads((tmp_path / "r.json").read_text())


def test_self_test_of_photographs(small, capsys):  # noqa: F811
    assert run("--self-test", *LITE) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "held-out photographs of 256 x 256 pixels, by Efficientnet_Lite0" in lines[0]
    assert {line.split()[0] for line in lines} == {"ok", "--"} and len(lines) == 12


def test_self_test_of_a_reference_with_images_and_statistics(small, tmp_path, capsys):  # noqa: F811
    _, folder = make(tmp_path, 24)
    images = np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])
    assert run(folder, "--write-statistics", tmp_path / "s.npz", *LITE) == 0
    given = read_statistics(tmp_path / "s.npz")["pool"]
    mu, sigma = given.mean.numpy() + 0.1, given.covariance.numpy()
    np.savez(tmp_path / "r.npz", arr_0=images, mu=mu, sigma=sigma)
    capsys.readouterr()
    assert run("--self-test", "--reference", tmp_path / "r.npz", *LITE) == 0
    printed = capsys.readouterr().out
    assert "24 images of r.npz of 48 x 48 pixels" in printed
    assert "ok      statistics of r.npz against themselves: " in printed
    # means that differ by 0.1 in each of three features, and nothing else
    assert "all 24 images of r.npz against its statistics: Fréchet distance 0.03; so many" in printed


def test_a_failed_check_is_exit_code_1(small, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(score_self_test, "CHANGES", {"nothing (checked)": lambda images: images})
    assert run("--self-test", *LITE) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("failed  the same half, nothing: ")


def test_bad_input_of_the_self_test_is_one_line(small, monkeypatch, tmp_path, capsys):  # noqa: F811
    monkeypatch.setattr(score_self_test, "PHOTOS", tmp_path)
    samples, _ = make(tmp_path, 3)
    np.savez(tmp_path / "wide.npz", mu=np.zeros(4), sigma=np.eye(4))
    for arguments, said in (
        ((), "index.csv: no photographs for the self-test; run `python -m datamodules.prepare"),
        (("--reference", samples), "samples: 3 images; the self-test needs 8"),
        (("--reference", tmp_path / "wide.npz"), "wide.npz: statistics of 4 features, but efficientnet_lite0 has 3"),
        (("--reference", tmp_path / "none"), "none: no such file or folder"),
    ):
        assert run("--self-test", *arguments, *LITE) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("x", "--self-test"),
        ("--self-test", "-o", "r.json"),
        ("--self-test", "--explain"),
        ("--self-test", "--write-statistics", "x.npz"),
        ("--reference", "x"),
        ("x", "--write-statistics", "x.npz", "--explain"),
    ],
)
def test_options_that_contradict_each_other_are_refused(arguments, capsys):
    assert run(*arguments) == 2
