"""A tokenizer with a codebook that first trains as an autoencoder without one."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from gpstoken.baselines.quantisers import Bits, NearestCodes
from gpstoken.limits import between, limits


class LateCodes(Callback):
    """Bypasses codebooks in the first part of a training, whose end fills learned ones with clusters of the latents.

    Entries that are the clusters of an untrained encoder's latents are soon all far from them, and few are used; the
    signs of an untrained encoder's latents are few as well. Up to then a validation shows the untrained codebook.
    """

    @limits(share=between(0, 1))
    def __init__(self, share: float) -> None:
        """Makes the callback; `share` is the part of the steps before the codebook."""
        self.share = share

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Chooses for this step."""
        early = trainer.global_step < self.share * trainer.estimated_stepping_batches
        for module in pl_module.modules():
            if isinstance(module, NearestCodes | Bits):
                module.bypassed = early
