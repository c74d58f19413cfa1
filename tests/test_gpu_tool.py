"""tools/gpu without a GPU: the whole sequence at the smallest size, and what happens where a part fails."""

import importlib.util
import json
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from gpstoken import GPSToken
from gpstoken.files import provenance
from gpstoken.files.weights import read_origin_of
from tools import gpu, gpu_parcel

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(tmp_path):
    return gpu.Run(tmp_path / "carried", tmp_path / "out", tmp_path / "work", time.monotonic() + 60, True)


def test_the_whole_sequence_and_its_continuation():
    done = subprocess.run([ROOT / "tools/gpu", "--dry-run"], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = ROOT / "scratch/gpu-dry-run/first", ROOT / "scratch/gpu-dry-run/second"
    summary = json.loads((first / "summary.json").read_text())
    assert [step["name"] for step in summary["steps"]] == ["tests", "benchmarks", "1_half_size"]
    assert summary["origin"] == provenance.record() | {"machine": summary["origin"]["machine"]}
    assert summary["steps"][0]["detail"].endswith(" passed")
    timed = json.loads((first / "benchmarks.json").read_text())
    assert timed["machine"]["commit"] == provenance.commit()
    assert {row["variant"] for row in timed["rows"]} == {"reference", "cpu"}
    with tarfile.open(first / "details.tar.gz") as archive:
        names = set(archive.getnames())
    assert {"logs/tests.log", "runs/1_half_size/metrics.csv", "runs/1_half_size/config.yaml"} <= names
    # The second starts from the weights of the first, with the last phase.
    last = gpu.phases()[-1].stem
    phases = read_origin_of(second / "small.safetensors")["phases"]
    assert [(phase["run"], phase["steps"]) for phase in phases] == [("1_half_size", 2), (last, 2)]
    assert [path.name for path in (second.parent / "work/logs").iterdir()] == [f"{last}.log"]
    assert len(GPSToken.from_pretrained(second / "small.safetensors").state_dict()) > 50
    # No more files, none deeper and no other names than come back from the machine.
    assert all(path.is_file() and path.name.replace(".", "").isalpha() for path in first.iterdir())
    assert len(list(first.iterdir())) <= 8


def test_a_part_that_breaks_or_fails_stops_no_other(run, monkeypatch):
    def broken(run):
        raise RuntimeError("out of order")
        yield

    def failing(run):
        yield gpu.ended(run, "benchmarks", [sys.executable, "-c", "raise SystemExit('no such device')"], 60)

    monkeypatch.setattr(gpu, "tests", broken)
    monkeypatch.setattr(gpu, "benchmarks", failing)
    assert not gpu.execute(run, ["tests", "benchmarks"])
    outcomes = [step["outcome"] for step in json.loads((run.out / "summary.json").read_text())["steps"]]
    assert outcomes == ["failed", "failed with exit code 1"]
    assert (run.out / "summary.txt").read_text().endswith("\nThe end of benchmarks.log:\nno such device\n")


def test_a_command_that_takes_too_long_is_ended_with_its_children(run):
    (run.work / "logs").mkdir(parents=True)
    step = gpu.ended(run, "long", ["sh", "-c", "sleep 600 & echo $!; wait"], 2)
    assert step["outcome"] == "out of time"
    child = (run.work / "logs/long.log").read_text().strip()
    for _ in range(300):  # it is dying
        status = subprocess.run(["ps", "-o", "stat=", "-p", child], capture_output=True, text=True).stdout
        if status.startswith("Z") or not status:
            break
        time.sleep(0.1)
    else:
        pytest.fail(f"process {child} still runs: {status}")


def test_a_copy_without_git_knows_its_commit(tmp_path, monkeypatch):
    file = tmp_path / "gpstoken" / "files" / "provenance.py"
    file.parent.mkdir(parents=True)
    shutil.copy(provenance.__file__, file)
    (tmp_path / "commit.txt").write_text("0123456789ab")
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    monkeypatch.setattr(gpu, "provenance", SimpleNamespace(__file__=file, ARCHIVED_COMMIT=provenance.ARCHIVED_COMMIT))
    gpu.stamp(tmp_path)
    spec = importlib.util.spec_from_file_location("stamped", file)
    stamped = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stamped)
    assert stamped.commit() == gpu.provenance.ARCHIVED_COMMIT == "0123456789ab"


def test_bad_input(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "CARRIED", tmp_path)
    assert gpu.main([]) == 2
    assert capsys.readouterr().err == (
        f"tools/gpu: {tmp_path}: not packed; run tools/gpu prepare where there is a package index\n"
    )
    (tmp_path / "small.safetensors").write_text("not weights")
    assert gpu.main(["prepare", "--from", str(tmp_path / "small.safetensors")]) == 2
    assert capsys.readouterr().err.startswith(f"tools/gpu: {tmp_path}/small.safetensors: not a readable safetensors")
    with pytest.raises(SystemExit, match="2"):
        gpu.main(["prepare", "training"])
    assert "prepare: expected prepare alone, or parts among tests, benchmarks, training" in capsys.readouterr().err


def test_phases_in_order_without_what_the_next_only_repeats(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_parcel, "RECIPE", tmp_path / "small.yaml")
    gpu_parcel.RECIPE.write_text("data: {init_args: {image_size: 256, batch_size: 4}}")
    (tmp_path / "small").mkdir()
    for name, text in {
        "gpu": "{}",
        "3_longer": "{model: {init_args: {learning_rate: 2}}, trainer: {max_steps: 50}}",
        "2_full": "{model: {init_args: {learning_rate: 1, weights: a}}, trainer: {max_steps: 10}}",
        "1_half": "{data: {init_args: {image_size: 128}}, trainer: {max_steps: 10}}",
        "4_other": "{model: {init_args: {perceptual_weight: 1}}, trainer: {max_steps: 50}}",
    }.items():
        (tmp_path / "small" / f"{name}.yaml").write_text(text)
    assert [phase.stem for phase in gpu.phases()] == ["1_half", "3_longer", "4_other"]
    assert [gpu.cost(phase) for phase in gpu.phases()] == [10 * 4 * 128**2, 50 * 4 * 256**2, 50 * 4 * 256**2]
