"""Records the metrics of a test loop, image by image, and the features for distribution metrics."""

from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from gpstoken.files.parts import Parts
from gpstoken.metrics import to_uint8

SIDES = ("image", "reconstruction")
IMAGES_A_FILE = 256  # at most 8 MB of Inception features for both sides


class Recorder(Callback):
    """Writes the columns of every tested image to `parts`, and its features by every network.

    The last batch of a set is filled up with its last image, which is recorded only once.

    Columns: "index"; the metrics that `test_step` returns; "codes", the tokens' indices of a codebook if they have any;
    "<network>.<layer>.<side>" of features.

    Args:
        parts: the files to write.
        networks: feature networks by name, uint8[B, 3, H, W] to {layer: float32[B, d]}.
        sides: "image" and "reconstruction", or only "reconstruction" if the images' features are known.
        codes: whether the tokens are, or have, indices of a codebook.
    """

    def __init__(self, parts: Parts, networks: dict[str, nn.Module], sides: tuple[str, ...], codes: bool) -> None:
        """See the class's docstring."""
        self.parts, self.networks, self.sides, self.codes = parts, networks, sides, codes
        self.company = False  # whether this process only repeats another process's images, to keep in step with it
        self._pending: list[dict[str, np.ndarray]] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Moves the networks to the device; they are not part of the module, and so not of its checkpoints."""
        for network in self.networks.values():
            network.to(pl_module.device)

    @torch.no_grad()
    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Adds a batch; `outputs` is the result of `TokenizerModule.test_step`."""
        columns: dict[str, Tensor] = {"index": batch["index"], **outputs["columns"]}
        if self.codes:
            tokens = outputs["tokens"]
            columns["codes"] = (tokens if isinstance(tokens, Tensor) else tokens.indices).flatten(1)
        for side in self.sides:
            pixels = to_uint8(outputs[side])
            for name, network in self.networks.items():
                for layer, features in network(pixels).items():
                    if layer != "logits":  # class logits, by which only generated images are scored
                        columns[f"{name}.{layer}.{side}"] = features
        images = len(set(batch["index"].tolist()))
        self._pending.append({name: values[:images].cpu().numpy() for name, values in columns.items()})
        if sum(len(part["index"]) for part in self._pending) >= IMAGES_A_FILE:
            self._write()

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the remaining images."""
        self._write()

    def _write(self) -> None:
        if self._pending and not self.company:
            self.parts.write(
                {name: np.concatenate([part[name] for part in self._pending]) for name in self._pending[0]}
            )
            self._pending = []
