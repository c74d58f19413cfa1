"""Exponential moving average of the weights on the released schedule."""

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from gpstoken.limits import at_least, between, limits


class AveragedWeights(WeightAveraging):
    """EMA of the autoencoder: a plain copy at first, then a decay that warms up to `decay`.

    At autoencoder update n the decay is min(decay, 1 - (1 + max(n - copy_until, 0)) ** (-2/3)). A checkpoint's
    `state_dict` is then the average and `current_model_state` the raw weights; validation uses the average.
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
            warm = 1 - (1 + max(elapsed, 0)) ** (-2 / 3)
            get_ema_multi_avg_fn(min(decay, warm))(averaged, current, num_averaged)

        # The only buffers are the discriminator's batch-norm statistics: they are copied, never averaged.
        super().__init__(use_buffers=False, multi_avg_fn=average)
        self.every = every
        self._module: LightningModule | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remembers whose updates to count, then lets Lightning make the copy."""
        self._module = pl_module
        super().setup(trainer, pl_module, stage)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether to average after the step that just ended; discriminator steps do not count."""
        if step_idx is None or self._module is None or not self._module.autoencoder_stepped:
            return False
        return self._module.autoencoder_updates % self.every == 0
