"""What a run leaves in its folder (`default_root_dir`): last.ckpt and metrics.csv, both safe against a kill."""

import csv
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint

from gpstoken.files.writing import replacing
from gpstoken.limits import at_least, limits

METRICS_FILE, CHECKPOINT_FILE, ORIGIN_FILE = "metrics.csv", "last.ckpt", "origin.json"


class LastCheckpoint(Checkpoint):
    """Writes last.ckpt every few steps and at the end of training; Lightning writes it whole or not at all.

    Where a validation follows the step it is written after that: Lightning takes the validation of a step it resumes
    from for done.
    """

    @limits(every_n_steps=at_least(1))
    def __init__(self, every_n_steps: int = 1000) -> None:
        """Makes the callback; `every_n_steps` counts optimizer steps."""
        self.every_n_steps = every_n_steps
        self._saved_at = 0
        self._after_validation = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The step that training starts from is saved already; half of an accumulation never is."""
        self._saved_at = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves if it is time."""
        step = trainer.global_step
        if step != self._saved_at and (step % self.every_n_steps == 0 or step == trainer.max_steps):
            self._saved_at = step
            fit_loop = trainer.fit_loop
            self._after_validation = fit_loop.epoch_loop._should_check_val_fx(fit_loop._data_fetcher)
            if not self._after_validation:
                self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves what has waited for the validation."""
        if self._after_validation:
            self._after_validation = False
            self._save(trainer)

    @staticmethod
    def _save(trainer: Trainer) -> None:
        trainer.save_checkpoint(Path(trainer.default_root_dir) / CHECKPOINT_FILE, weights_only=False)


class MetricsFile(Callback):
    """Appends (step, name, value) of everything logged to metrics.csv.

    After a kill the rows that the checkpoint has not seen are dropped, so that the curve of a resumed run is that of an
    uninterrupted one. Numbers are written with all their digits.
    """

    @limits(every_n_steps=at_least(1))
    def __init__(self, every_n_steps: int = 50) -> None:
        """Makes the callback; `every_n_steps` counts optimizer steps."""
        self.every_n_steps = every_n_steps
        self._written_at = 0
        self._restored: dict[str, float] = {}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the last values: at the discriminator's turn those of the autoencoder are of an earlier step."""
        checkpoint["last_metrics"] = self._values(trainer)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Takes over the last values of the run that goes on."""
        self._restored = checkpoint.get("last_metrics", {})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps the rows up to the step that training starts from."""
        path = Path(trainer.default_root_dir) / METRICS_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        self._written_at = trainer.global_step
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
        return self._restored | {name: value.item() for name, value in trainer.callback_metrics.items()}

    def _append(self, trainer: Trainer, validation: bool) -> None:
        rows = [
            (trainer.global_step, name, repr(value))
            for name, value in sorted(self._values(trainer).items())
            if name.startswith("validation/") == validation
        ]
        with (Path(trainer.default_root_dir) / METRICS_FILE).open("a", newline="") as file:
            csv.writer(file).writerows(rows)


def read_metrics(path: Path) -> list[tuple[int, str, float]]:
    """The rows (step, name, value) of a metrics.csv; a last line cut short by a kill is left out."""
    with path.open(newline="") as file:
        rows = [row for row in csv.reader(line for line in file if line.endswith("\n")) if len(row) == 3]
    return [(int(step), name, float(value)) for step, name, value in rows[1:]]
