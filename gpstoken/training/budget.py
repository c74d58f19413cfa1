"""A training whose number of steps follows from a number of multiply-adds, which its first steps are counted for."""

from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.utils.flop_counter import FlopCounterMode

from gpstoken.files.checkpoints import read_plain
from gpstoken.limits import above, at_least, limits
from gpstoken.profiling.counting import CPU_KERNELS

CHECKPOINT = ".ckpt"


class Budget(Callback):
    """Sets the trainer's `max_steps` so that the training spends a number of multiply-adds.

    Products are counted in the forward and the backward pass of everything that a step runs, the networks of the losses
    among them; see `gpstoken.profiling.counting` for what is a product. Counting takes nearly as long as the step
    itself, so the first steps are counted and their mean stands for all: a step may draw its number of tokens. The
    trainer's own `max_steps` stays an upper limit.

    What the training spends is written to the checkpoint, where tables read it. It includes what the training of the
    tokenizer's `teacher` has spent, if it has one that was trained here.
    """

    @limits(multiply_adds=above(0), counted=at_least(1))
    def __init__(self, multiply_adds: float, counted: int = 32) -> None:
        """Makes the callback.

        Args:
            multiply_adds: of the whole training, over all processes.
            counted: number of first steps that are counted.
        """
        self.multiply_adds, self.counted = multiply_adds, counted
        self._spent, self._steps, self._before = 0, 0, 0
        self._counter: FlopCounterMode | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sets the number of steps again in a training that goes on.

        Raises:
            ValueError: if the training has two kinds of steps, those of an autoencoder and of a discriminator.
        """
        start, most = getattr(pl_module, "adversarial_start", None), trainer.max_steps
        if start is not None and not 0 <= most <= max(start, self.counted):
            raise ValueError(
                f"multiply_adds: counted are steps of one kind, but from step {start} on a discriminator takes turns; "
                "set adversarial_start to null, or multiply_adds to null and trainer.max_steps instead"
            )
        self._before = _spent_on(getattr(pl_module.tokenizer, "teacher", None))
        self._set_steps(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Begins to count, in one of the first steps."""
        if self._steps < self.counted:
            self._counter = FlopCounterMode(display=False, custom_mapping=CPU_KERNELS)
            self._counter.__enter__()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds what was counted; after the last counted step, sets the number of steps."""
        if self._counter is None:
            return
        self._counter.__exit__(None, None, None)
        self._spent += self._counter.get_total_flops() // 2 * trainer.world_size
        self._counter = None
        if trainer.global_step > self._steps:  # else within an accumulation
            self._steps = trainer.global_step
            self._set_steps(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stops counting."""
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self._counter = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the multiply-adds of the training so far."""
        if self._steps:
            spent = self._before + round(self._spent / self._steps * trainer.global_step)
            checkpoint.setdefault("training", {})["multiply_adds"] = spent

    def state_dict(self) -> dict[str, int]:
        """What was counted."""
        return {"spent": self._spent, "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Restores what was counted."""
        self._spent, self._steps = state_dict["spent"], state_dict["steps"]

    def _set_steps(self, trainer: Trainer) -> None:
        if self._steps < self.counted:
            return
        steps = max(self.counted, round((self.multiply_adds - self._before) * self._steps / self._spent))
        # All processes end at the same step: that of the first one.
        steps = trainer.strategy.broadcast(steps)
        limit = trainer.max_steps
        trainer.fit_loop.epoch_loop.max_steps = steps if limit < 0 else min(steps, limit)


def _spent_on(teacher: str | None) -> int:
    """The multiply-adds of the training of a checkpoint; 0 for other files, which do not say."""
    if teacher is None or Path(teacher).suffix != CHECKPOINT:
        return 0
    return read_plain(Path(teacher)).get("training", {}).get("multiply_adds", 0)
