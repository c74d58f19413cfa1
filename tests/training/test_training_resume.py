"""A fit that is killed anywhere and started again leaves the files of the unbroken one, byte for byte."""

import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from gpstoken.commands.fit import RunCLI
from gpstoken.training import AveragedWeights, LastCheckpoint, MetricsFile, StepProgress
from gpstoken.training.files import read_metrics
from gpstoken.training.origins import read_origin
from tests.faults.forks import command, ended, forked, started

FILES = ("metrics.csv", "last.ckpt")
# Every step has another learning rate and another number of tokens.
RECIPE = {"schedule": "cosine", "warmup_steps": 3, "gradient_clip": 0.5, "token_range": (4, 16)}


class Snapshots(Callback):
    """Copies the run's files at every hook between which a kill can fall: what SIGKILL would leave there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.moments: list[Path] = []

    def take(self, trainer, moment: str) -> None:
        folder = self.folder / f"{len(self.moments)} after step {trainer.global_step} {moment}"
        folder.mkdir(parents=True)
        self.moments.append(folder)
        for name in FILES:
            if (source := Path(trainer.default_root_dir) / name).exists():
                shutil.copy(source, folder)
        if trainer.global_step < trainer.max_steps:
            with (folder / "metrics.csv").open("a") as file:
                file.write(f"{trainer.global_step + 1},discriminator/fake,-")  # the kill fell into a write

    def on_train_batch_start(self, trainer, *_):
        self.take(trainer, "before a batch")

    def on_validation_start(self, trainer, *_):
        self.take(trainer, "before validation")

    def on_validation_epoch_end(self, trainer, *_):
        self.take(trainer, "within validation")

    def on_train_end(self, trainer, *_):
        self.take(trainer, "at the end")


def assert_same_run(folder: Path, unbroken: Path) -> None:
    assert (folder / "metrics.csv").read_bytes() == (unbroken / "metrics.csv").read_bytes(), folder.name
    first, second = (torch.load(each / "last.ckpt", weights_only=True) for each in (folder, unbroken))
    assert first["global_step"] == second["global_step"]
    for (name, value), (other, expected) in zip(tensors(first), tensors(second), strict=True):
        assert name == other
        assert torch.equal(value, expected), f"{folder.name}: {name}"


def tensors(checkpoint: dict) -> list[tuple[str, torch.Tensor]]:
    """Averaged and raw weights, Adam's moments."""
    weights = [
        (f"{key} {name}", value)
        for key in ("state_dict", "current_model_state")
        for name, value in checkpoint[key].items()
    ]
    moments = [
        (f"optimizer {number} {index} {name}", value)
        for number, optimizer in enumerate(checkpoint["optimizer_states"])
        for index, state in optimizer["state"].items()
        for name, value in state.items()
    ]
    assert len(weights) > 100
    assert moments
    return weights + moments


@pytest.fixture
def run(make_module, noise, fit):
    """Trains in a folder, from its last.ckpt if it has one; validates every 4 batches, adversarial from step 3 on."""

    def train(folder, every, accumulate=1, more=(), recipe=None):
        # Epochs of 5 batches, or of 3 accumulations of 2: steps 4 and 8 are validated, or steps 2, 4 and 6.
        steps, epoch_length = (9, 10) if accumulate == 1 else (7, 12)
        averaged = AveragedWeights(decay=0.9, every=2, copy_until=2)
        checkpoint = folder / "last.ckpt"
        fit(
            make_module(adversarial_start=3, accumulate=accumulate, **recipe or {}),
            noise(epoch_length=epoch_length),
            [averaged, MetricsFile(1), StepProgress(), *more, LastCheckpoint(every)],
            name=folder,
            ckpt_path=checkpoint if checkpoint.exists() else None,
            max_steps=steps,
            enable_progress_bar=True,
        )

    return train


@pytest.mark.parametrize(
    ("every", "accumulate", "recipe"),
    [(1, 1, {}), (4, 1, {}), (1, 2, {}), (4, 1, RECIPE)],
    ids=["each step", "with validation", "accumulated", "recipe of small"],
)
def test_killed_anywhere(tmp_path, run, every, accumulate, recipe):
    snapshots = Snapshots(tmp_path / "snapshots")
    run(tmp_path / "unbroken", every, accumulate, [snapshots], recipe)
    # Moments between which no file changed are one moment.
    found = {tuple(path.read_bytes() for path in sorted(each.iterdir())): each for each in snapshots.moments}
    assert len(found) > 9
    for folder in found.values():
        run(folder, every, accumulate, recipe=recipe)
        assert_same_run(folder, tmp_path / "unbroken")


def test_killed_again_within_an_accumulation(tmp_path, run):
    # Half an accumulation is in no file: the second restart must find the checkpoint of the first.
    first, second = Snapshots(tmp_path / "first"), Snapshots(tmp_path / "second")
    run(tmp_path / "unbroken", 1, 2, [first])
    folder = next(each for each in first.moments if "after step 3 " in each.name)
    run(folder, 1, 2, [second])
    assert "after step 3 " in second.moments[1].name
    run(second.moments[1], 1, 2)
    assert_same_run(second.moments[1], tmp_path / "unbroken")


def test_two_kills_of_the_command(tmp_path, tiny_arguments, run_cli, repository):
    callbacks = [
        {"class_path": "gpstoken.training.AveragedWeights", "init_args": {"decay": 0.9, "every": 1, "copy_until": 5}},
        {"class_path": "gpstoken.training.MetricsFile", "init_args": {"every_n_steps": 1}},
        {"class_path": "gpstoken.training.ReconstructionPictures", "init_args": {"times": 4}},
        {"class_path": "gpstoken.training.StepProgress"},
        {"class_path": "gpstoken.training.LastCheckpoint", "init_args": {"every_n_steps": 3}},
    ]
    # Epochs of 5 batches; the kills fall about 6 and 13 steps in, of 40, the second among alternating steps.
    arguments = tiny_arguments(trainer={"max_steps": 40, "callbacks": callbacks})
    killed, unbroken = tmp_path / "killed", tmp_path / "unbroken"
    assert run_cli([*arguments, "--output", str(unbroken)]) == 0

    scratch = tmp_path / "scratch of the killed"
    work, log = command([*arguments, "--output", str(killed)], repository, scratch), tmp_path / "log"
    for step in (6, 13):
        process = started(work, log)
        while last_step(scratch) < step:
            assert process.exitcode is None, log.read_text()
            time.sleep(0.01)
        process.kill()
        assert ended(process) == -signal.SIGKILL
        assert step <= last_step(scratch) < 40
        assert not killed.exists()
        assert ("resuming from" in log.read_text()) == (step == 13)
    assert forked(work, log) == 0, log.read_text()
    assert "resuming from" in log.read_text()
    assert_same_run(killed, unbroken)
    names = [sorted(str(path.relative_to(each)) for path in each.rglob("*")) for each in (killed, unbroken)]
    assert names[0] == names[1]
    assert not list(scratch.iterdir())


def last_step(scratch: Path) -> int:
    return max((row[0] for path in scratch.glob("*/metrics.csv") for row in read_metrics(path)), default=0)


def test_killed_before_the_finished_run_is_moved(tmp_path, tiny_arguments, run_cli, monkeypatch, capsys):
    arguments = [*tiny_arguments(trainer={"max_steps": 2}), "--output", str(tmp_path / "output")]

    def killed(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RunCLI, "after_fit", killed)
        assert run_cli(arguments) == 130
    (scratch,) = (tmp_path / "scratch").iterdir()
    weights = (scratch / "last.ckpt").read_bytes()
    metrics, started = (scratch / "metrics.csv").read_bytes(), read_origin(scratch)["started"]
    assert run_cli(arguments) == 0
    assert f"resuming from {scratch}" in capsys.readouterr().out
    assert not scratch.exists()
    assert (tmp_path / "output" / "last.ckpt").read_bytes() == weights
    assert (tmp_path / "output" / "metrics.csv").read_bytes() == metrics
    assert read_origin(tmp_path / "output")["started"] == started
