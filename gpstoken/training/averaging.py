"""Exponential moving average of the weights on the released schedule."""

from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from gpstoken.limits import at_least, between, limits


class AveragedWeights(WeightAveraging):
    """EMA of the autoencoder: a plain copy at first, then an average whose decay warms up to `decay`.

    At autoencoder update n the decay is min(decay, 1 - (1 + max(n - copy_until, 0)) ** (-2/3)). A checkpoint's
    `state_dict` is then the average and `current_model_state` the raw weights; validation uses the average.

    The statistics of a tokenizer's batch norms are averaged with the same decay: those of the raw weights belong to
    other activations, so the averaged decoder would normalise with the wrong means and variances. Counts of batches are
    copied, and so are the statistics of the discriminator, whose average is not used.
    """

    @limits(decay=between(0, 1), every=at_least(1), copy_until=at_least(0))
    def __init__(self, decay: float = 0.9999, every: int = 10, copy_until: int = 100) -> None:
        """Makes the callback.

        Args:
            decay: final decay (release 0.9999).
            every: autoencoder updates between two updates of the average (release 10).
            copy_until: autoencoder updates during which the average is a copy (release 100).
        """

        @torch.no_grad()
        def average(averaged: list[Tensor], current: list[Tensor], num_averaged: Tensor | int) -> None:
            elapsed = (int(num_averaged) + 1) * every - copy_until
            self._decay = min(decay, 1 - (1 + max(elapsed, 0)) ** (-2 / 3))
            get_ema_multi_avg_fn(self._decay)(averaged, current, num_averaged)

        # With use_buffers torch would also average the integer counts of batches, and the discriminator's buffers.
        super().__init__(use_buffers=False, multi_avg_fn=average)
        self.every, self._decay = every, 0.0
        self._module: LightningModule | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stores the module whose updates are counted, then lets Lightning make the copy."""
        self._module = pl_module
        super().setup(trainer, pl_module, stage)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Averages after an autoencoder update; torch copies the buffers, and some of them are averaged afterwards."""
        assert self._average_model is not None
        buffers = {
            name: buffer
            for name, buffer in self._average_model.module.named_buffers()
            if buffer.is_floating_point() and not name.startswith("discriminator.")
        }
        before, count = {name: buffer.clone() for name, buffer in buffers.items()}, int(self._average_model.n_averaged)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if count and self._average_model.n_averaged != count:
            for name, buffer in buffers.items():
                buffer.copy_(before[name].lerp(buffer, 1 - self._decay))

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether to average after the step that just ended; discriminator steps do not count."""
        if step_idx is None or self._module is None or not self._module.autoencoder_stepped:
            return False
        return self._module.autoencoder_updates % self.every == 0
