"""The best linear tokenizer of patches: principal component analysis in place of gradient descent."""

from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from gpstoken.training.processes import mean_over_processes, process_count
from gpstoken.training.tokenizer_module import TokenizerModule


class PrincipalComponents(TokenizerModule):
    """Fits `gpstoken.baselines.linear.LinearPatches` to the batches of a training, in as many steps as any other row.

    Its steps sum up the patches and their products; the last one computes the components with the largest variance. It
    takes the arguments of `TokenizerModule`, so that the settings which rows share fit it too, and ignores those of
    losses and optimizers.
    """

    _moments: dict[str, Tensor] | None = None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """An optimizer that changes nothing and counts the steps."""
        return torch.optim.SGD(self.tokenizer.parameters(), lr=0.0)

    def configure_callbacks(self) -> list[Callback]:
        """None: its steps cost next to nothing, so it sees as many images as `max_steps` says."""
        return []

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Adds the patches of one batch; in the last step, sets the tokenizer's components."""
        self.check_images(batch)
        # On the CPU, because not every device has float64, which sums of many products need.
        patches = self.tokenizer.patches(batch["image"]).transpose(0, 1).flatten(1).cpu().double()
        sums = {
            "count": torch.tensor(patches.shape[1]).double(),
            "sum": patches.sum(1),
            "products": patches @ patches.T,
        }
        before = self._moments
        self._moments = sums if before is None else {name: before[name] + value for name, value in sums.items()}
        if (batch_index + 1) % self.accumulate:
            return
        # The average of the weights begins with this update, and so is a copy of them.
        self.autoencoder_stepped = self.global_step + 1 >= self.trainer.estimated_stepping_batches
        if self.autoencoder_stepped:
            self._set_components()
        self.optimizers().step()

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Validates the finished tokenizer alone; until then its weights are random."""
        if self.autoencoder_stepped:
            super().validation_step(batch, batch_index)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the sums so far, from which a killed training goes on."""
        super().on_save_checkpoint(checkpoint)
        checkpoint.setdefault("training", {})["closed_form"] = True
        if self._moments is not None:
            checkpoint["moments"] = self._moments

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the sums."""
        self._moments = checkpoint.get("moments")

    def _set_components(self) -> None:
        moments, self._moments = self._moments, None
        if process_count() > 1:
            moments = {name: mean_over_processes(value.to(self.device)).cpu() for name, value in moments.items()}
        mean = moments["sum"] / moments["count"]
        covariance = moments["products"] / moments["count"] - mean.outer(mean)
        components = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, : self.tokenizer.channels].T
        weight = self.tokenizer.last_layer
        self.tokenizer.set_components(mean.to(weight), components.to(weight))
