"""One progress bar over the whole training: images, images/s and the time left."""

import math
import sys
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm


class StepProgress(ProgressBar):
    """Replaces Lightning's bar per epoch, which does not show the remaining time of the training."""

    def __init__(self) -> None:
        """Makes the bar."""
        super().__init__()
        self._bar: tqdm | None = None
        self._images = 0  # of a step

    def disable(self) -> None:
        """Lightning calls this on all ranks but the first."""
        self._enabled = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the bar at the step from which training starts."""
        images = self._images = pl_module.accumulate * trainer.datamodule.batch_size * trainer.world_size
        steps = trainer.estimated_stepping_batches  # infinite if the training is ended by time
        self._bar = tqdm(
            total=None if math.isinf(steps) else int(steps) * images,
            initial=trainer.global_step * images,
            unit=" images",
            desc="fit",
            disable=not getattr(self, "_enabled", True),
            # A log file gets a line every 20 seconds, not two per second.
            mininterval=0.5 if sys.stderr.isatty() else 20.0,
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts the batch, of as many as the training now has."""
        if (steps := trainer.max_steps) > 0:
            self._bar.total = steps * self._images
        # A run resumed at the discriminator's turn has no loss of the autoencoder yet.
        if (loss := trainer.callback_metrics.get("train/loss")) is not None:
            self._bar.set_postfix(step=trainer.global_step, loss=f"{loss.item():.4f}", refresh=False)
        self._bar.update(len(batch["index"]) * trainer.world_size)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Closes the bar."""
        self._bar.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Closes the bar, so that the error message starts on a new line."""
        if self._bar is not None:
            self._bar.close()
