"""What ends a training before its time, and how the same command goes on."""

import os
import re
import signal
from functools import partial
from pathlib import Path

import pytest
import torch

from gpstoken.commands.fit import RunCLI
from gpstoken.files.locks import locked
from gpstoken.training.files import LastCheckpoint, read_metrics
from tests.faults import forks
from tests.faults.forks import forked
from tests.training.conftest import arguments_of_a_tiny_fit

REPOSITORY = Path(__file__).parents[2]


CHANGES = {
    "model": {"init_args": {"accumulate": 2, "adversarial_start": 4}},
    "data": {"init_args": {"epoch_length": 8}},
    "trainer": {"max_steps": 8, "val_check_interval": 3},
}


@pytest.fixture
def arguments(tiny_arguments, tmp_path):
    """A tiny fit of eight steps with two batches a step, validated after every third, into tmp_path/runs/row."""
    return [*tiny_arguments(**CHANGES), "--output", str(tmp_path / "runs" / "row")]


@pytest.fixture(scope="module")
def undisturbed(command, tmp_path_factory):
    """What that fit leaves where nothing ends it before its time."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert command([*arguments_of_a_tiny_fit(folder, **CHANGES), "--output", str(folder / "run")]) == 0
    return folder / "run"


def signalled(arguments, folder, *numbers):
    """A fit that sends signals to itself at a batch, the first of an accumulation: (exit code, output)."""
    work = partial(fit_and_signal, forks.command(arguments, REPOSITORY, folder / "scratch"), numbers)
    return forked(work, folder / "log.txt"), (folder / "log.txt").read_text()


def fit_and_signal(run, numbers):
    act, batches = LastCheckpoint.on_train_batch_end, []

    def hook(*hooked):
        batches.append(None)
        if len(batches) == 5:
            for number in numbers:
                os.kill(os.getpid(), number)
        act(*hooked)

    LastCheckpoint.on_train_batch_end = hook
    return run()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_step_under_way_and_the_same_command_ends_as_if_there_had_been_none(
    undisturbed, arguments, run_cli, tmp_path, number
):
    run, scratch = tmp_path / "runs" / "row", tmp_path / "scratch"
    code, output = signalled(arguments, tmp_path, number)
    assert code == 128 + number, output[-2000:]
    (checkpoint,) = scratch.glob("*/last.ckpt")
    assert f"gpstoken: stopped after step 3; the same command resumes from {checkpoint}" in output.splitlines()
    assert "Traceback" not in output
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 3
    assert not run.exists()
    assert run_cli(arguments) == 0
    whole, resumed = (torch.load(folder / "last.ckpt", weights_only=True) for folder in (undisturbed, run))
    assert whole["global_step"] == resumed["global_step"] == 8
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][name]), name
    assert read_metrics(run / "metrics.csv") == read_metrics(undisturbed / "metrics.csv")
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"row"}


def test_a_second_interrupt_ends_at_once(arguments, tmp_path):
    code, output = signalled(arguments, tmp_path, signal.SIGINT, signal.SIGINT)
    assert code == 130, output[-2000:]
    assert not list(tmp_path.glob("scratch/*/last.ckpt")) and "Traceback" not in output


@pytest.mark.parametrize("limit", [{"max_steps": -1, "max_epochs": 1}, {"max_steps": -1, "max_time": "00:00:00:01"}])
def test_a_training_that_no_number_of_steps_ends_has_its_last_checkpoint(tiny_arguments, run_cli, tmp_path, limit):
    run = tmp_path / "runs" / "row"
    assert run_cli([*tiny_arguments(trainer={"max_steps": 1}), "--output", str(run)]) == 0
    assert run_cli([*tiny_arguments(trainer=limit), "--output", str(run)]) == 0  # over an older one
    steps = torch.load(run / "last.ckpt", weights_only=True)["global_step"]
    assert steps == 5 if "max_epochs" in limit else steps > 1


def last_line(capsys) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gpstoken: ")]
    assert len(lines) == 1, lines
    return lines[0]


def test_what_to_go_on_from(tiny_arguments, run_cli, tmp_path, capsys):
    run, arguments = tmp_path / "runs" / "row", tiny_arguments(trainer={"max_steps": 2, "val_check_interval": 2})
    output = ["--output", str(run)]
    assert run_cli([*arguments, *output, "--ckpt_path", "last"]) == 2
    assert f"--ckpt_path last: there is no {run}/last.ckpt; leave --ckpt_path out" in last_line(capsys)
    assert run_cli([*arguments, *output, "--ckpt_path", "best"]) == 2
    assert "--ckpt_path best: a run keeps only its last checkpoint; use last, or a path" in last_line(capsys)
    assert run_cli([*arguments, *output, "--ckpt_path", str(tmp_path / "absent.ckpt")]) == 2
    assert f"there is no {tmp_path}/absent.ckpt; give another path" in last_line(capsys)
    assert run_cli([*arguments, *output]) == 0
    longer = [*arguments, *output, "--trainer.max_steps", "4"]
    for start in ("last", str(run / "last.ckpt")):
        assert run_cli([*longer, "--ckpt_path", start]) == 0
        assert f"resuming from {run}/last.ckpt" in capsys.readouterr().out
        assert torch.load(run / "last.ckpt", weights_only=True)["global_step"] == 4
        assert run_cli([*arguments, *output]) == 0
    wider = [*arguments, "--model.init_args.tokenizer.init_args.width", "32", "--ckpt_path", str(run / "last.ckpt")]
    assert run_cli(wider) == 2
    assert re.search(
        r"last.ckpt: tensor 'tokenizer.refine.\S+' has shape \(.*\), expected \(.*\); give another path",
        last_line(capsys),
    )


def test_a_damaged_checkpoint_of_a_killed_run_is_one_line_that_says_what_to_do(arguments, run_cli, tmp_path, capsys):
    assert signalled(arguments, tmp_path, signal.SIGTERM)[0] == 143
    (checkpoint,) = tmp_path.glob("scratch/*/last.ckpt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-500])
    assert run_cli(arguments) == 2
    line = last_line(capsys)
    assert str(checkpoint) in line and line.endswith(f"delete {checkpoint} to start again")
    checkpoint.unlink()
    assert run_cli(arguments) == 0


@pytest.mark.parametrize("place", ["below a file", "a file", "read-only"])
def test_a_place_that_cannot_be_written_is_said_before_the_training(arguments, run_cli, tmp_path, capsys, place):
    file = tmp_path / "file"
    file.write_text("precious")
    if place == "read-only":
        file = Path("/proc/run")  # where nobody can write, root included
    output = file / "run" if place == "below a file" else file
    assert run_cli([*arguments, "--output", str(output)]) == 2
    assert str(output) in last_line(capsys)
    assert not list(tmp_path.glob("scratch/*"))


def test_two_equal_fits_at_once(arguments, run_cli, tmp_path, capsys):
    held = []

    def second():
        held.append(run_cli(arguments))
        held.append(run_cli([*arguments, "--output", str(tmp_path / "other")]))  # ends elsewhere

    before_fit = RunCLI.before_fit

    def first(self):
        if not held:
            second()
        before_fit(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunCLI, "before_fit", first)
        assert run_cli(arguments) == 0
    assert held == [2, 0]
    assert re.search(rf"gpstoken fit \(process {os.getpid()} on .*\) is writing there; wait for it", last_line(capsys))
    for run in (tmp_path / "runs" / "row", tmp_path / "other"):
        assert {path.name for path in run.iterdir()} >= {"config.yaml", "last.ckpt", "metrics.csv"}
    assert not list((tmp_path / "scratch").iterdir())
    with locked(tmp_path / "runs" / "row", "test"):  # nobody holds it any more
        pass
