"""A training whose number of steps is chosen so that it ends in a given time, with its schedule complete."""

import time
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from gpstoken.limits import above, at_least, limits


class TimedSteps(Callback):
    """Sets the trainer's `max_steps` to what fits into a time, again and again, from the rate measured so far.

    Unlike the trainer's own `max_time` it keeps a last step in sight: a cosine falls to zero by then. Until the rate
    is known, `max_steps` is what the configuration says. Validations, pictures and checkpoints count in the rate.
    """

    @limits(seconds=above(0), every=at_least(1))
    def __init__(self, seconds: float, every: int = 50) -> None:
        """Makes the callback; the time begins now.

        Args:
            seconds: from now to the last step.
            every: steps between two estimates; the first so many, which are slow, do not count in the rate.
        """
        self.every = every
        self._end = time.monotonic() + seconds
        self._first: tuple[int, float] | None = None
        self._step = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Notes the time, or sets the number of steps, if it is the turn of this step."""
        step, now = trainer.global_step, time.monotonic()
        if step == self._step or step % self.every:
            return
        self._step = step
        if self._first is None:
            self._first = step, now
            return
        first_step, start = self._first
        left = (step - first_step) / (now - start) * (self._end - now)
        # All processes end at the same step: that of the first one.
        trainer.fit_loop.epoch_loop.max_steps = trainer.strategy.broadcast(step + max(0, int(left)))
