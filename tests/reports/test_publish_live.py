"""Trainings that run, as MLflow shows them: real folders and a real store, looked at as `--follow` does."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reports.publish import __main__ as publish
from reports.publish.live import SILENCE, mirror
from reports.publish.store import TRAININGS

# MLflow 3.17 against SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

NAME = "uniform seed0 (tokenizers, laptop)"
STARTED = 1_795_921_200_000  # date -u -d 2026-11-29T03:00Z +%s000


@pytest.fixture
def training(write_run, tmp_path):
    """A training that runs, in scratch: its metrics of the steps 10 and 20, a checkpoint, and when it started."""
    folder = tmp_path / "scratch" / "0123456789abcdef"
    shutil.move(write_run("uniform", 0), folder)
    origin = json.loads((folder / "origin.json").read_text())
    (folder / "origin.json").write_text(json.dumps(origin | {"started": "2026-11-29T03:00:00.000+00:00"}))
    return folder


def look() -> bool:
    return mirror(Path("scratch"), f"sqlite:///{Path.cwd()}/mlruns.db")


def runs(store) -> list:
    experiment = store.get_experiment_by_name(TRAININGS)
    return store.search_runs([experiment.experiment_id]) if experiment else []


def points(store, run) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in store.get_metric_history(run.info.run_id, "train/loss")]


def write_at(folder: Path, moment: float) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (moment, moment))


def finish(folder: Path, output: Path) -> None:
    origin = json.loads((folder / "origin.json").read_text())
    (folder / "origin.json").write_text(json.dumps(origin | {"finished": "2026-11-29T03:20:00.000+00:00"}))
    output.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(output)


def test_a_training_that_runs_is_a_run_that_grows(store, training):
    assert look() is False
    (run,) = runs(store)
    assert (run.info.run_name, run.info.status, run.data.tags["kind"]) == (NAME, "RUNNING", "training")
    assert (run.info.start_time, "key" in run.data.tags) == (STARTED, False)
    assert run.data.params["model.tokenizer.lambda_"] == "2.5"
    assert points(store, run) == [(10, 1.0), (20, 0.5)]
    with (training / "metrics.csv").open("a") as file:
        file.write("30,train/loss,0.25\n40,train/lo")  # the last row is being written
    assert look() is look() is False
    (again,) = runs(store)
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "RUNNING")
    assert points(store, run) == [(10, 1.0), (20, 0.5), (30, 0.25)]
    written = int(1000 * (training / "metrics.csv").stat().st_mtime)
    history = store.get_metric_history(run.info.run_id, "train/loss")
    assert abs(history[-1].timestamp - written) <= 1  # a millisecond of rounding


def test_the_finished_run_takes_the_place_of_the_live_one(store, training, tmp_path):
    look()
    (live,) = runs(store)
    finish(training, tmp_path / "runs" / "laptop" / "tokenizers" / "uniform" / "seed0")
    assert look() is True
    assert [run.info.status for run in runs(store)] == ["FINISHED"]  # without its key, until it is published
    assert publish.main(["--tracking-uri", f"sqlite:///{tmp_path}/mlruns.db"]) == 0
    (run,) = runs(store)
    assert (run.info.run_name, run.info.status, "key" in run.data.tags) == (NAME, "FINISHED", True)
    assert run.info.run_id != live.info.run_id and "scratch" not in run.data.tags
    assert run.info.end_time - run.info.start_time == 1_200_000
    assert look() is False


def test_a_killed_training_is_marked_and_goes_on_where_it_was(store, training):
    look()
    killed = int(time.time() - SILENCE - 10)
    write_at(training, killed)
    assert look() is look() is False
    (run,) = runs(store)
    assert (run.info.status, run.info.end_time) == ("KILLED", 1000 * killed)
    # The same command: rows that the checkpoint has not seen are cut off, and then the same numbers come again.
    rows = (training / "metrics.csv").read_text().splitlines(keepends=True)
    for kept in (rows[:2], rows, [*rows, "30,train/loss,0.25\n"]):
        (training / "metrics.csv").write_text("".join(kept))
        look()
    (again,) = runs(store)
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "RUNNING")
    assert points(store, run) == [(10, 1.0), (20, 0.5), (30, 0.25)]


def test_a_live_run_that_a_publisher_has_deleted_is_made_again(store, training):
    look()
    (run,) = runs(store)
    store.delete_run(run.info.run_id)
    look()
    (again,) = runs(store)
    assert points(store, again) == [(10, 1.0), (20, 0.5)]


def test_what_is_no_named_training_or_of_another_folder_is_left_alone(store, training, tmp_path):
    shutil.copytree(training, tmp_path / "scratch" / "without_a_name")
    (tmp_path / "scratch" / "without_a_name" / "origin.json").write_text('{"commit": "0123456789ab"}')
    shutil.copytree(training, tmp_path / "scratch" / "just_begun")
    (tmp_path / "scratch" / "just_begun" / "metrics.csv").unlink()
    shutil.copytree(training, tmp_path / "scratch" / "damaged")
    (tmp_path / "scratch" / "damaged" / "config.yaml").write_text("model: [1]")
    (tmp_path / "scratch" / "prepared.json").write_text("{}")
    write_at(shutil.copytree(training, tmp_path / "scratch" / "of_last_week"), time.time() - SILENCE - 10)
    look()
    (run,) = runs(store)
    other = {"kind": "training", "scratch": "another-machine:/home/scratch/0123", "rows": "0"}
    store.create_run(run.info.experiment_id, tags=other, run_name="elsewhere")
    half = store.create_run(run.info.experiment_id, tags={"kind": "training"}, run_name=NAME)  # of a publisher at work
    shutil.rmtree(training)
    assert look() is True
    status = {run.info.run_id: run.info.status for run in runs(store)}
    assert status.pop(run.info.run_id) == "FINISHED" and status.pop(half.info.run_id) == "RUNNING"
    assert list(status.values()) == ["RUNNING"]


def test_a_training_of_a_scale_that_is_made_in_a_copy_is_shown(store, training, tmp_path):
    place = tmp_path / "scratch" / "quick" / "scratch" / training.name
    place.parent.mkdir(parents=True)
    training.rename(place)
    assert look() is False
    assert [(run.info.run_name, run.info.status) for run in runs(store)] == [(NAME, "RUNNING")]
    shutil.rmtree(place)
    assert look() is True


def test_without_a_scratch_folder_nothing_is_shown(store):
    assert look() is False and runs(store) == []


def test_the_command_follows_until_it_is_ended(store, training, tmp_path):
    root = Path(publish.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlruns.db"}
    environment.pop("GPSTOKEN_SCRATCH", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "reports.publish", "--follow", "1"], env=environment, cwd=tmp_path
    )
    try:

        def wait_for(status: str, published: bool) -> None:
            deadline = time.monotonic() + 300
            while [(run.info.status, "key" in run.data.tags) for run in runs(store)] != [(status, published)]:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.2)

        wait_for("RUNNING", published=False)
        finish(training, tmp_path / "runs" / "laptop" / "tokenizers" / "uniform" / "seed0")
        wait_for("FINISHED", published=True)
    finally:
        process.terminate()
        process.wait()
