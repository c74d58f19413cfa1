"""A training whose processes SLURM starts: what srun sets is set here, `scontrol` is a script that notes its call."""

import os
import signal
import socket
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from gpstoken.training.files import read_metrics
from tests.faults.forks import command, ended, placed, started, together
from tests.training.conftest import WARNINGS, arguments_of_a_tiny_fit

REPOSITORY = Path(__file__).parents[2]
pytestmark = [pytest.mark.filterwarnings(warning) for warning in WARNINGS]
OFTEN = [
    {"class_path": f"gpstoken.training.{name}", "init_args": {"every_n_steps": 1}}
    for name in ("MetricsFile", "LastCheckpoint")
]
EXPECTED = "--trainer.devices: expected 2, since srun has started 2 tasks on 1 host"


def srun(arguments: list[str], folder: Path, **changes: str | None) -> list[BaseProcess]:
    """Starts the two tasks of `srun --ntasks-per-node=2 gpstoken ARGUMENTS`, what they print in FOLDER/task_N.txt."""
    with socket.socket() as free:  # a job whose number gives a port that is free
        while True:
            job = 10000 + int.from_bytes(os.urandom(4)) % 10000
            if free.connect_ex(("127.0.0.1", 15000 + job % 10000)):
                break
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {folder}/scontrol.txt\n')
    (tools / "scontrol").chmod(0o755)
    tasks = []
    for task in range(2):
        said = {
            "SLURM_JOB_ID": job, "SLURM_JOB_NAME": "fit", "SLURM_JOB_NODELIST": "localhost", "SLURM_NODELIST":
            "localhost", "SLURM_NNODES": 1, "SLURM_NTASKS": 2, "SLURM_NTASKS_PER_NODE": 2, "SLURM_STEP_ID": 0,
            "SLURM_NODEID": 0, "SLURM_PROCID": task, "SLURM_LOCALID": task, **changes,
        }  # fmt: skip
        said = {name: value for name, value in said.items() if value is not None}
        said["PATH"] = f"{tools}:{os.environ['PATH']}"
        work = placed(command(arguments, REPOSITORY, folder / "scratch"), task, said)
        log = folder / f"task_{task}.txt"
        log.touch()
        tasks.append(started(work, log))
    return tasks


def lines(folder: Path) -> list[str]:
    text = "".join((folder / f"task_{task}.txt").read_text() for task in range(2))
    assert "Traceback" not in text, text
    return [line for line in text.splitlines() if line.startswith("gpstoken: ")]


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> tuple[list[str], Path]:
    """Arguments of a fit in two processes, and what it leaves where nothing stops it."""
    folder = tmp_path_factory.mktemp("plain")
    changes = {"trainer": {"max_steps": 10, "val_check_interval": 4, "callbacks": OFTEN}}
    arguments = [*arguments_of_a_tiny_fit(folder, **changes), "--trainer.devices", "2"]
    together(command([*arguments, "--output", str(folder / "run")], REPOSITORY, folder / "scratch"), folder)
    return arguments, folder / "run"


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_job_that_is_stopped_saves_its_step_and_goes_on_to_the_weights_of_any_two_processes(plain, tmp_path, number):
    arguments = [*plain[0], "--output", str(tmp_path / "run")]
    tasks = srun(arguments, tmp_path)
    while not list(tmp_path.glob("scratch/*/last.ckpt")):
        assert [task.exitcode for task in tasks] == [None, None], lines(tmp_path)
        time.sleep(0.01)
    for task in tasks:
        os.kill(task.pid, number)
    assert [ended(task) for task in tasks] == [128 + number] * 2, lines(tmp_path)
    said = [line for line in lines(tmp_path) if "this step is ended" not in line]
    assert said[0].startswith("gpstoken: stopped after step ") and "the same command resumes from" in said[0]
    (scratch,) = (tmp_path / "scratch").glob("*/")
    assert not list(scratch.glob("hpc_ckpt*"))
    called = tmp_path / "scontrol.txt"
    if number == signal.SIGUSR1:
        word, job = called.read_text().split()
        assert word == "requeue" and said[1:] == [f"gpstoken: SLURM restarts job {job}"]
    else:  # of a preemption, after which SLURM starts the job again by itself, or of a cancelled job
        assert not called.exists() and not said[1:]
    assert [ended(task) for task in srun(arguments, tmp_path)] == [0, 0], lines(tmp_path)
    assert "resuming from" in (tmp_path / "task_0.txt").read_text()
    expected, run = (
        torch.load(folder / "last.ckpt", weights_only=True)["state_dict"] for folder in (plain[1], tmp_path / "run")
    )
    for name, value in expected.items():
        assert torch.equal(value, run[name]), name
    assert read_metrics(plain[1] / "metrics.csv") == read_metrics(tmp_path / "run" / "metrics.csv")


def test_a_request_to_save_that_comes_before_the_first_step_waits_for_it(tiny_arguments, tmp_path):
    tasks = srun([*tiny_arguments(), "--trainer.devices", "2"], tmp_path)
    while not all("Seed set" in (tmp_path / f"task_{task}.txt").read_text() for task in range(2)):
        assert [task.exitcode for task in tasks] == [None, None], lines(tmp_path)
        time.sleep(0.01)
    for task in tasks:
        os.kill(task.pid, signal.SIGUSR1)
    assert [ended(task) for task in tasks] == [138, 138], lines(tmp_path)
    # behind the bar of the progress, on its line
    assert "gpstoken: stopped after step 1; the same command" in (tmp_path / "task_0.txt").read_text()
    assert (tmp_path / "scontrol.txt").read_text().startswith("requeue ")


@pytest.mark.parametrize(
    ("options", "changes", "said"),
    [
        (["--trainer.devices", "1"], {}, f"{EXPECTED}, got 1"),
        (["--trainer.devices", "3"], {}, f"{EXPECTED}, got 3"),
        (
            ["--trainer.devices", "2", "--trainer.num_nodes", "2"], {},
            "--trainer.num_nodes: expected 1, as many as SLURM_NNODES says, got 2",
        ),
        (
            ["--trainer.devices", "2"], {"SLURM_NTASKS_PER_NODE": None},
            "srun: expected the option --ntasks-per-node=2, got --ntasks=2 alone",
        ),
    ],
)  # fmt: skip
def test_another_number_of_processes_than_tasks_is_one_line(tiny_arguments, tmp_path, options, changes, said):
    tasks = srun([*tiny_arguments(), *options], tmp_path, **changes)
    assert [ended(task) for task in tasks] == [2, 2]
    assert lines(tmp_path) == [f"gpstoken: {said}"]
    assert not (tmp_path / "scratch").exists()
