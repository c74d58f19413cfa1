"""The averaged weights of a generator's stage at some points of its training, for the curve of quality over steps."""

from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from gpstoken.stage_model import AVERAGED
from gpstoken.writing import replacing


class Snapshots(Callback):
    """Writes snapshots/step_NNNNNNN.ckpt into the run's folder, the last one at the end of training.

    They hold the averaged weights alone, a fifth of last.ckpt, and `Generator.from_checkpoint` reads them.
    """

    def __init__(self, times: int = 4) -> None:
        """Makes the callback; `times` over the training."""
        self.times = times
        self._written_at = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Writes if it is time."""
        step, steps = trainer.global_step, int(trainer.estimated_stepping_batches)
        if step == self._written_at or step * self.times // steps == (step - 1) * self.times // steps:
            return
        self._written_at = step
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir) / "snapshots"
        folder.mkdir(parents=True, exist_ok=True)
        weights = {f"{AVERAGED}{name}": tensor for name, tensor in pl_module.averaged.module.state_dict().items()}
        checkpoint = {"generator": pl_module.described, "state_dict": weights, "global_step": step}
        with replacing(folder / f"step_{step:07d}.ckpt") as part:
            torch.save(checkpoint, part)
