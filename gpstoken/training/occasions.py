"""A callback that acts a few times during a training, such as for pictures and snapshots."""

import math
from abc import abstractmethod
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from gpstoken.limits import at_least, limits


class Occasions(Callback):
    """Calls `act` at `times` steps that are evenly spread over the training, the last time at its end."""

    @limits(times=at_least(1))
    def __init__(self, times: int) -> None:
        """Makes the callback; `times` is the number of calls during the training."""
        self.times = times
        self._acted_at = 0

    @abstractmethod
    def act(self, trainer: Trainer, pl_module: LightningModule, step: int) -> None:
        """Acts, on every process; `step` counts optimizer steps."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Acts if it is time; several batches may belong to one step."""
        step, steps = trainer.global_step, trainer.estimated_stepping_batches
        # The length of a training that is ended by time is unknown.
        if step == self._acted_at or math.isinf(steps):
            return
        if step * self.times // int(steps) != (step - 1) * self.times // int(steps):
            self._acted_at = step
            self.act(trainer, pl_module, step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Acts at the end of a training that stopped between two occasions."""
        if trainer.global_step != self._acted_at:
            self._acted_at = trainer.global_step
            self.act(trainer, pl_module, trainer.global_step)

    @staticmethod
    def file(trainer: Trainer, folder: str, step: int, ending: str) -> Path:
        """RUN/folder/step_NNNNNNN.ending; creates the folder."""
        place = Path(trainer.default_root_dir) / folder
        place.mkdir(parents=True, exist_ok=True)
        return place / f"step_{step:07d}.{ending}"
