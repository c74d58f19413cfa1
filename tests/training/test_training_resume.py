"""A fit that is killed anywhere and started again leaves the files of the unbroken one, byte for byte."""

import shutil
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from gpstoken.training import AveragedWeights, LastCheckpoint, MetricsFile, ReconstructionPictures, StepProgress

FILES = ("metrics.csv", "last.ckpt")


class Snapshots(Callback):
    """Copies the run's files at every hook between which a kill can fall: what SIGKILL would leave there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.moments: list[str] = []

    def take(self, trainer, moment: str) -> None:
        self.moments.append(f"{len(self.moments):03d} step {trainer.global_step} {moment}")
        target = self.folder / self.moments[-1]
        target.mkdir(parents=True)
        for name in FILES:
            if (source := Path(trainer.default_root_dir) / name).exists():
                shutil.copy(source, target)

    def on_train_batch_start(self, trainer, *_):
        self.take(trainer, "before a batch")

    def on_validation_start(self, trainer, *_):
        self.take(trainer, "before validation")

    def on_validation_epoch_end(self, trainer, *_):
        self.take(trainer, "within validation")

    def on_train_end(self, trainer, *_):
        self.take(trainer, "at the end")


def same_tensors(path: Path, other: Path) -> bool:
    # Our own checkpoints, and yet the safe reader: they hold plain data only.
    first, second = (torch.load(each, weights_only=True) for each in (path, other))
    parts = [first, second]
    flat = [
        [*part["state_dict"].items(), *part["current_model_state"].items(), *_optimizer(part)] for part in parts
    ]
    return first["global_step"] == second["global_step"] and all(
        name == other_name and torch.equal(value, other_value)
        for (name, value), (other_name, other_value) in zip(*flat, strict=True)
    )


def _optimizer(checkpoint: dict) -> list[tuple[str, torch.Tensor]]:
    return [
        (f"{number} {index} {name}", value)
        for number, optimizer in enumerate(checkpoint["optimizer_states"])
        for index, state in optimizer["state"].items()
        for name, value in state.items()
    ]


@pytest.mark.parametrize(
    ("every", "accumulate"),
    [(1, 1), (4, 1), (5, 1), (1, 2)],
    ids=["every step", "with validation", "between", "accumulated"],
)
def test_killed_anywhere(tmp_path, make_module, noise, fit, every, accumulate):
    # Epochs of 5 (accumulated: 6) batches, validation every 4 batches, the discriminator from step 7 on.
    def run(name, *more, ckpt_path=None):
        return fit(
            make_module(adversarial_start=7, accumulate=accumulate),
            noise(epoch_length=10 if accumulate == 1 else 12),
            [
                AveragedWeights(decay=0.9, every=2, copy_until=4),
                MetricsFile(1),
                StepProgress(),
                *more,
                LastCheckpoint(every),
            ],
            name=name,
            ckpt_path=ckpt_path,
            max_steps=16 if accumulate == 1 else 10,
            enable_progress_bar=True,
        )

    snapshots = Snapshots(tmp_path / "snapshots")
    run("unbroken", snapshots)
    import time; t=time.time()
    for moment in snapshots.moments:
        folder = tmp_path / moment
        shutil.copytree(tmp_path / "snapshots" / moment, folder)
        checkpoint = folder / "last.ckpt"
        run(moment, ckpt_path=checkpoint if checkpoint.exists() else None)
        a=(folder / "metrics.csv").read_bytes() == (tmp_path / "unbroken" / "metrics.csv").read_bytes()
        b=same_tensors(checkpoint, tmp_path / "unbroken" / "last.ckpt")
        print(moment, a, b)
    print(time.time()-t)
