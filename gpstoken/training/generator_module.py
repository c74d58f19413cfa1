"""Training of a generator: its own loss on cached tokens, with an average of the weights."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gpstoken.base import Generator
from gpstoken.generators.loading import check_stage, describe
from gpstoken.limits import limits
from gpstoken.training.module_limits import GENERATOR_MODULE
from gpstoken.training.sharding import keep_whole, shard


class GeneratorModule(LightningModule):
    """Trains a generator, or one stage of it, on the batches of `datamodules.TokenCache`.

    Batches are {"label": long[B], "index": long[B]} with the packed tokens by name, such as "geometry", "layout":
    float[B, N, 5] and "features": float[B, N, C], "latent": float[B, C, h, w] for a grid, or "codes": long[B, ...].

    The averaged weights are part of the module instead of a callback, so that they are sharded and saved like the
    generator.
    """

    @limits(**GENERATOR_MODULE)
    def __init__(
        self,
        generator: Generator,
        learning_rate: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
        decay: float = 0.9999,
        compile: bool = False,
    ) -> None:
        """Makes the module; the generator reads the description of the tokens from their cache when training starts.

        Args:
            generator: a generator of any family.
            learning_rate: learning rate of AdamW, constant (SiT 1e-4).
            betas: betas of AdamW.
            weight_decay: weight decay of AdamW (SiT 0).
            decay: decay of the averaged weights (SiT 0.9999).
            compile: compile the network with torch.compile.
        """
        super().__init__()
        self.generator = generator
        self.learning_rate, self.betas, self.weight_decay = learning_rate, betas, weight_decay
        self.compile_network = compile
        self.averaged = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(decay)).requires_grad_(False)
        self.described: dict[str, Any] | None = None

    @property
    def accumulate(self) -> int:
        """Number of batches whose gradients make one step."""
        return self.trainer.accumulate_grad_batches

    def setup(self, stage: str) -> None:
        """Prepares the generator for the tokens of the cache, and records their tokenizer.

        Raises:
            ValueError: if the cache holds another kind of tokens than the generator models.
        """
        record = self.trainer.datamodule.record
        for generator in (self.generator, self.averaged.module):
            generator.prepare(record)
        batch_size = self.trainer.datamodule.batch_size * self.accumulate * self.trainer.world_size
        self.described = describe(self.generator, record["tokenizer"], batch_size, record.get("classes"))
        if self.compile_network and stage == "fit":
            self.generator.network.compile()

    def configure_model(self) -> None:
        """Shards both networks among the processes if the strategy requires it."""
        if self.device_mesh is not None:
            for generator in (self.generator, self.averaged.module):
                shard(generator, self.device_mesh["data_parallel"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW with a constant learning rate."""
        trained = (parameter for parameter in self.generator.parameters() if parameter.requires_grad)
        return torch.optim.AdamW(trained, lr=self.learning_rate, betas=self.betas, weight_decay=self.weight_decay)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """The generator's loss on one batch."""
        chance = self._chance("train", int(batch["index"][0]))
        loss = self.generator.loss(batch, chance).mean()
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"loss is {loss.item()} at step {self.global_step}; batch indices {batch['index'].tolist()}"
            )
        self.log("train/loss", loss)
        return loss

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Averages the weights after every step; later hooks of the module run after the callbacks that save."""
        super().optimizer_step(*arguments, **options)
        self.averaged.update_parameters(self.generator)

    def on_validation_epoch_start(self) -> None:
        """Gathers the averaged weights, so that no process waits for another that has one batch more."""
        keep_whole(self.averaged.module, True)

    def on_validation_epoch_end(self) -> None:
        """Shards the averaged weights again."""
        keep_whole(self.averaged.module, False)

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """The same loss with the averaged weights on held-out images, with the same noise every time."""
        chance = self._chance("validation", int(batch["index"][0]))
        loss = self.averaged.module.loss(batch, chance).mean()
        count = len(batch["index"])
        self.log("validation/loss", loss, on_step=False, on_epoch=True, batch_size=count, sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the description that `load_generator` needs in addition to the weights."""
        checkpoint["generator"] = self.described

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Checks that training resumes with the tokens of the same tokenizer.

        Raises:
            ValueError: if the checkpoint was trained on tokens of another tokenizer, or is not a generator's.
        """
        described = check_stage(Path(self.trainer.ckpt_path or "checkpoint"), checkpoint)
        theirs, ours = (entry["tokenizer"]["sha256"] for entry in (described, self.described))
        if theirs != ours:
            raise ValueError(f"resume: trained on tokens of tokenizer {theirs[:12]}, but the cache is of {ours[:12]}")

    def _chance(self, purpose: str, first_index: int) -> torch.Generator:
        """Random numbers of a batch, from seed, epoch, first sample and rank only, the same in a resumed run."""
        epoch = self.current_epoch if purpose == "train" else 0
        words = (self.trainer.datamodule.seed, purpose == "train", epoch, first_index, self.global_rank)
        seed = int(np.random.SeedSequence(words).generate_state(1, np.uint32)[0])  # torch's CPU generator uses 32 bits
        return torch.Generator(self.device).manual_seed(seed)
