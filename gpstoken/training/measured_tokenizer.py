"""What is measured of a tokenizer while it trains, and by `gpstoken evaluate` afterwards."""

from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from gpstoken.metrics import reconstruction_metrics, to_uint8
from gpstoken.metrics.focus import region_psnr
from gpstoken.perceptual import load_lpips
from gpstoken.rounding import rounded
from gpstoken.tokenizer import Tokenizer


class MeasuredTokenizer(LightningModule):
    """The validation, test and prediction of any `Tokenizer`; batches are those of `TokenizerModule`."""

    def __init__(self, tokenizer: Tokenizer, evaluation_networks: dict[str, str] | None = None) -> None:
        """Makes the module.

        Args:
            tokenizer: the tokenizer to measure.
            evaluation_networks: {"alexnet" or "vgg16": file} for the LPIPS columns of `test`.
        """
        super().__init__()
        self.tokenizer = tokenizer
        self.evaluation_networks = evaluation_networks or {}
        # Frozen networks are kept out of the module tree: as submodules they would add 56 MiB to every checkpoint, and
        # `.train()` would enable their dropout.
        self._frozen: dict[str, torch.nn.Module] = {}
        # Set by `gpstoken evaluate`: further arguments of `encode`, the bits of the tokens' numbers, and the region to
        # measure separately.
        self.encoding: dict[str, Any] = {}
        self.token_bits: int | None = None
        self.focus: Tensor | None = None

    def setup(self, stage: str) -> None:
        """Reads the networks of the LPIPS columns for the stage "test".

        Raises:
            FileNotFoundError: if a file is missing; the message says how to get it.
        """
        if stage == "test":
            for network, path in self.evaluation_networks.items():
                self._frozen[f"lpips_{network}"] = load_lpips(network, path)

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """PSNR and SSIM on held-out images."""
        rows = reconstruction_metrics(self.tokenizer(batch["image"]), batch["image"])
        means = {f"validation/{name}": values.mean() for name, values in rows.items()}
        self.log_dict(means, on_step=False, on_epoch=True, batch_size=len(batch["image"]), sync_dist=True)

    def on_test_start(self) -> None:
        """Moves the frozen networks to the device."""
        for network in self._frozen.values():
            network.to(self.device)

    def test_step(self, batch: dict[str, Tensor], batch_index: int) -> dict[str, Any]:
        """All metrics of each image, averaged in the log.

        Returns:
            {"image", "reconstruction": float[B, 3, H, W], "tokens": result of `encode`, "columns": {metric: float[B]}}.
        """
        image = batch["image"]
        tokens = self.tokenizer.encode(image, **self.encoding)
        if self.token_bits is not None:
            tokens = rounded(tokens, self.token_bits)
        reconstruction = self.tokenizer.decode(tokens)
        if len(broken := batch["index"][~reconstruction.isfinite().flatten(1).all(1)]):
            raise FloatingPointError(f"image {int(broken[0])}: its reconstruction is not finite")
        distances = {name: network for name, network in self._frozen.items() if name.startswith("lpips_")}
        columns = reconstruction_metrics(reconstruction, image, distances)
        if self.focus is not None:
            columns |= region_psnr(to_uint8(reconstruction), to_uint8(image), self.focus)
        means = {f"test/{name}": values.mean() for name, values in columns.items()}
        self.log_dict(means, batch_size=len(image), sync_dist=True)
        return {"image": image, "reconstruction": reconstruction, "tokens": tokens, "columns": columns}

    def predict_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Reconstructions float[B, 3, H, W]."""
        return self.tokenizer(batch["image"])
