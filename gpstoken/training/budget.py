"""A training whose number of steps follows from a number of multiply-adds, which its first steps are counted for."""

from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch.utils.flop_counter import FlopCounterMode

from gpstoken.files.checkpoints import read_plain
from gpstoken.limits import above, at_least, limits
from gpstoken.profiling.counting import product_counter

CHECKPOINT = ".ckpt"
ALIKE = 5  # steps that cost the same; of 13 equally likely costs, 5 in 32 are alike once in a thousand trainings


class Budget(Callback):
    """Sets the trainer's `max_steps` so that the training spends a number of multiply-adds.

    Products are counted in the forward and the backward pass of everything that a step runs, the networks of the losses
    among them; see `gpstoken.profiling.counting` for what is a product. Counting takes longer than the step itself, so
    only first steps are counted. Once five in a row cost the same, the others are taken to cost as much. Where steps
    draw their number of tokens, 32 are counted, and the others are taken to cost their mean. The trainer's own
    `max_steps` stays an upper limit.

    What the training spends is written to the checkpoint, where tables read it. It includes what the training of the
    tokenizer's `teacher` has spent, if it has one that was trained here.
    """

    @limits(multiply_adds=above(0), counted=at_least(1))
    def __init__(self, multiply_adds: float, counted: int = 32) -> None:
        """Makes the callback.

        Args:
            multiply_adds: of the whole training, over all processes.
            counted: highest number of first steps that are counted.
        """
        self.multiply_adds, self.counted = multiply_adds, counted
        self._costs: list[int] = []  # of the steps counted so far
        self._cost, self._before = 0, 0
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
        if not self._known:
            self._counter = product_counter()
            self._counter.__enter__()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds what was counted; after the last counted step, sets the number of steps."""
        if self._counter is None:
            return
        self._counter.__exit__(None, None, None)
        self._cost += self._counter.get_total_flops() // 2 * trainer.world_size
        self._counter = None
        if trainer.global_step > len(self._costs):  # else within an accumulation
            # Processes may draw different numbers of tokens, but must end to count, and to train, at the same step.
            self._costs.append(trainer.strategy.broadcast(self._cost))
            self._cost = 0
            self._set_steps(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stops counting."""
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self._counter = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the multiply-adds of the training so far."""
        if self._costs:
            later = (trainer.global_step - len(self._costs)) * self._later
            checkpoint.setdefault("training", {})["multiply_adds"] = self._before + sum(self._costs) + round(later)

    def state_dict(self) -> dict[str, list[int]]:
        """What was counted."""
        return {"costs": self._costs}

    def load_state_dict(self, state_dict: dict[str, list[int]]) -> None:
        """Restores what was counted."""
        self._costs = list(state_dict["costs"])

    @property
    def _alike(self) -> bool:
        return len(self._costs) >= ALIKE and len({*self._costs[-ALIKE:]}) == 1

    @property
    def _known(self) -> bool:
        return self._alike or len(self._costs) >= self.counted

    @property
    def _later(self) -> float:
        """Of a step that is not counted."""
        return self._costs[-1] if self._alike else sum(self._costs) / len(self._costs)

    def _set_steps(self, trainer: Trainer) -> None:
        if self._known:
            left = self.multiply_adds - self._before - sum(self._costs)
            steps, limit = len(self._costs) + max(0, round(left / self._later)), trainer.max_steps
            trainer.fit_loop.epoch_loop.max_steps = steps if limit < 0 else min(steps, limit)


def _spent_on(teacher: str | None) -> int:
    """The multiply-adds of the training of a checkpoint; 0 for other files, which do not say."""
    if teacher is None or Path(teacher).suffix != CHECKPOINT:
        return 0
    return read_plain(Path(teacher)).get("training", {}).get("multiply_adds", 0)
