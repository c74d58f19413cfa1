"""Two runs of one configuration give the same files, but for what tools/same_results.py lists."""

import csv
import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from gpstoken import cli
from tests.training.conftest import arguments_of_a_tiny_fit

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("same_results", ROOT / "tools/same_results.py")
same_results = importlib.util.module_from_spec(spec)
spec.loader.exec_module(same_results)
# The one evaluation of the tests by both.
NETWORKS = {name: f"data/networks/lpips_{name}.safetensors" for name in ("alexnet", "vgg16")}


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """results/ of two runs: a tokenizer is trained for two steps and evaluated, and a network's costs are counted."""
    results = []
    for name in ("first", "second"):
        folder = tmp_path_factory.mktemp(name)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(ROOT)
            patch.setattr("sys.argv", ["gpstoken"])  # else LightningCLI warns of pytest's own arguments
            # What an interrupted test leaves stays out of the repository.
            patch.setattr("gpstoken.commands.fit.SCRATCH", folder / "scratch")
            run, out = str(folder / "runs/row/seed0"), folder / "results"
            changes = {"model": {"init_args": {"evaluation_networks": NETWORKS}}, "trainer": {"max_steps": 2}}
            assert cli.main([*arguments_of_a_tiny_fit(folder, **changes), "--output", run]) == 0
            evaluate = ["evaluate", run, "-o", str(out / "tokenizers/row.json"), "--row", "row", "--scale", "tiny"]
            evaluate += ["--data.init_args.working_size", "128"]
            assert cli.main([*evaluate, "--networks", "--data", "experiments/_data/embedded_retina.yaml"]) == 0
            profile = ["profile", "experiments/generators/layout.yaml", "--row", "layout", "--scale", "laptop"]
            profile += ["-o", str(out / "efficiency/layout.json"), "--batch-size", "1", "--repeats", "2"]
            assert cli.main(profile) == 0
        results.append(out)
    return results


def test_two_runs_are_the_same_but_for_times(twice, capsys):
    assert same_results.main([str(each) for each in twice]) == 0, capsys.readouterr().out
    # and there was something to compare
    with (twice[0] / "tokenizers/row.csv").open() as file:
        assert len(list(csv.DictReader(file))) > 5
    metrics = json.loads((twice[0] / "tokenizers/row.json").read_text())["metrics"]
    assert set(metrics) == {"psnr", "ssim", "lpips_alexnet", "lpips_vgg16"}
    assert json.loads((twice[0] / "efficiency/layout.json").read_text())["measured"]["latency_ms"] > 0


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("tokenizers/row.json", {"metrics": {}}, "tokenizers/row.json: metrics.psnr differs"),
        ("tokenizers/row.json", {"seconds": {"prepare": 9}}, None),
        ("tokenizers/row.json", {"commit": "other"}, "tokenizers/row.json: commit differs"),
        ("efficiency/layout.json", {"measured": {"latency_ms": 1}}, "efficiency/layout.json: measured.device differs"),
        ("efficiency/layout.json", {"counts": None}, "efficiency/layout.json: counts differs"),
    ],
)
def test_what_may_not_differ_is_told(twice, tmp_path, capsys, file, change, told):
    shutil.copytree(twice[0], tmp_path / "copy")
    changed = tmp_path / "copy" / file
    changed.write_text(json.dumps(json.loads(changed.read_text()) | change))
    assert same_results.main([str(twice[0]), str(tmp_path / "copy")]) == (told is not None)
    printed = capsys.readouterr().out
    assert told is None or told in printed


def test_another_csv_and_a_missing_file_are_told(twice, tmp_path, capsys):
    shutil.copytree(twice[0], tmp_path / "copy")
    path = tmp_path / "copy/tokenizers/row.csv"
    path.write_text(path.read_text().replace("0", "1", 1))
    (tmp_path / "copy/efficiency/layout.json").unlink()
    assert same_results.main([str(twice[0]), str(tmp_path / "copy")]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said == ["efficiency/layout.json: only in one of them", "tokenizers/row.csv: differs"]
    assert same_results.main([str(twice[0]), str(twice[1]), "--other-commit"]) == 0
