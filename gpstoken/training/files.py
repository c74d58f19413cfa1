"""The files that a run writes into its folder (`default_root_dir`): last.ckpt and metrics.csv, safe against a kill."""

import csv
import sys
from pathlib import Path
from signal import SIGINT, SIGTERM, SIGUSR1
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from gpstoken import early_signals
from gpstoken.files.checkpoints import write_plain
from gpstoken.files.writing import naming, replacing
from gpstoken.limits import at_least, limits
from gpstoken.training.processes import mean_over_processes
from gpstoken.training.slurm import requeue
from gpstoken.training.stopping import Stopped, StopSignals

CONFIG_FILE, METRICS_FILE, CHECKPOINT_FILE, ORIGIN_FILE = "config.yaml", "metrics.csv", "last.ckpt", "origin.json"
# All files that a run may contain; the last two are written by Lightning's loggers.
RUN_FILES = {CONFIG_FILE, METRICS_FILE, CHECKPOINT_FILE, ORIGIN_FILE, "pictures", "snapshots"}
RUN_FILES |= {"lightning_logs", "checkpoints"}


def is_run(folder: Path) -> bool:
    """Whether a folder is a finished run of `gpstoken fit` and holds nothing else."""
    names = {path.name for path in folder.iterdir()}
    return {CONFIG_FILE, CHECKPOINT_FILE} <= names <= RUN_FILES


class WholeFiles(TorchCheckpointIO):
    """Writes checkpoints atomically: to a temporary file, flushed to disk and renamed, so none is ever incomplete."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes the checkpoint, creating its folder if needed; on an error the older checkpoint stays."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_plain(path, checkpoint)


class LastCheckpoint(Checkpoint):
    """Writes last.ckpt every few steps, at the end of training, and when SIGTERM, SIGUSR1 or Ctrl-C asks to stop.

    If a validation follows the step, the checkpoint is written after it, because Lightning does not repeat the
    validation of the step from which it resumes.
    """

    @limits(every_n_steps=at_least(1))
    def __init__(self, every_n_steps: int = 1000) -> None:
        """Makes the callback; `every_n_steps` counts optimizer steps."""
        self.every_n_steps = every_n_steps
        self._step = self._saved_at = 0
        self._after_validation = False
        self._signals = StopSignals()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Replaces Lightning's checkpoint writer, which writes to the folder for temporary files first and copies."""
        trainer.strategy.checkpoint_io = WholeFiles()
        # SLURM's signal is handled from now on: otherwise Lightning saves in the middle of a step under another name.
        self._signals.number = 0
        self._signals.install(SIGUSR1)
        if early_signals.noted():
            self._signals.number = SIGUSR1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the step from which training starts, which is already saved."""
        self._step = self._saved_at = trainer.global_step
        self._signals.install(SIGTERM, SIGINT)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves if it is time, or if a signal has arrived."""
        step, signal = trainer.global_step, self._signals.received(trainer)
        if step == self._step:  # within an accumulation nothing is saved
            return
        self._step = step
        if signal or step % self.every_n_steps == 0 or step == trainer.max_steps:
            fit_loop = trainer.fit_loop
            self._after_validation = fit_loop.epoch_loop._should_check_val_fx(fit_loop._data_fetcher)
            if not self._after_validation:
                self._save(trainer, signal)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the checkpoint that waited for the validation."""
        if self._after_validation:
            self._after_validation = False
            self._save(trainer, self._signals.number)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the number of samples per step, because results of different budgets must not be compared."""
        samples = trainer.datamodule.batch_size * pl_module.accumulate * trainer.world_size
        checkpoint.setdefault("training", {})["batch_size"] = samples

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the last step of a training that was ended by epochs or time instead of a number of steps."""
        if trainer.global_step != self._saved_at:
            self._save(trainer, 0)

    def _save(self, trainer: Trainer, signal: int) -> None:
        path = Path(trainer.default_root_dir) / CHECKPOINT_FILE
        trainer.save_checkpoint(path, weights_only=False)
        self._saved_at = step = trainer.global_step
        if signal and step != trainer.max_steps:  # else the training is finished
            if trainer.is_global_zero:
                print(f"gpstoken: stopped after step {step}; the same command resumes from {path}", file=sys.stderr)
                if signal == SIGUSR1:
                    requeue()
            raise Stopped(signal)


class MetricsFile(Callback):
    """Appends (step, name, value) of everything logged to metrics.csv.

    After a kill the rows of steps after the checkpoint are dropped, so that the curve of a resumed run is that of an
    uninterrupted run. Numbers are written with all their digits.
    """

    @limits(every_n_steps=at_least(1))
    def __init__(self, every_n_steps: int = 50) -> None:
        """Makes the callback; `every_n_steps` counts optimizer steps."""
        self.every_n_steps = every_n_steps
        self._written_at = 0
        self._restored: dict[str, float] = {}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the last values: at the discriminator's turn the autoencoder's values are from an earlier step."""
        checkpoint["last_metrics"] = self._values(trainer)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restores the last values of the resumed run."""
        self._restored = checkpoint.get("last_metrics", {})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps the rows up to the step from which training starts."""
        path = Path(trainer.default_root_dir) / METRICS_FILE
        self._written_at = trainer.global_step
        if not trainer.is_global_zero:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in read_metrics(path) if row[0] <= trainer.global_step] if path.exists() else []
        with replacing(path) as part, part.open("w", newline="") as file:
            csv.writer(file).writerows([("step", "name", "value"), *kept])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Writes training metrics if it is time."""
        if trainer.global_step != self._written_at and trainer.global_step % self.every_n_steps == 0:
            self._written_at = trainer.global_step
            self._append(trainer, validation=False)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes validation metrics."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._append(trainer, validation=True)

    def _values(self, trainer: Trainer) -> dict[str, float]:
        """Means over the processes, computed only here, because a mean at every step would make processes wait."""
        logged = {name: value.item() for name, value in sorted(trainer.callback_metrics.items())}
        values = torch.tensor(list(logged.values()), dtype=torch.float64)
        if trainer.world_size > 1:
            values = mean_over_processes(values.to(trainer.strategy.root_device)).cpu()
        return self._restored | dict(zip(logged, values.tolist(), strict=True))

    def _append(self, trainer: Trainer, validation: bool) -> None:
        values = self._values(trainer)
        if not trainer.is_global_zero:
            return
        rows = [
            (trainer.global_step, name, repr(value))
            for name, value in sorted(values.items())
            if name.startswith("validation/") == validation
        ]
        path = Path(trainer.default_root_dir) / METRICS_FILE
        with naming(path), path.open("a", newline="") as file:
            csv.writer(file).writerows(rows)


def read_metrics(path: Path) -> list[tuple[int, str, float]]:
    """The rows (step, name, value) of a metrics.csv; a last line cut short by a kill is left out."""
    with path.open(newline="") as file:
        rows = [row for row in csv.reader(line for line in file if line.endswith("\n")) if len(row) == 3]
    return [(int(step), name, float(value)) for step, name, value in rows[1:]]
