"""How a stage of the generator is trained: flow matching on cached tokens, with an average of the weights."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gpstoken.flow import flow_loss, training_interval
from gpstoken.limits import limits
from gpstoken.sit import SiT
from gpstoken.stage_model import check_stage
from gpstoken.stages import GEOMETRY, channel_statistics, condition_of, data_of, normalise
from gpstoken.training.module_limits import GENERATOR_MODULE
from gpstoken.training.sharding import keep_whole, shard


class GeneratorModule(LightningModule):
    """Trains one stage on the batches of `datamodules.TokenCache`.

    Batches are {"geometry": float[B, N, 5], "layout": float[B, N, 5], "features": float[B, N, C], "label": long[B],
    "index": long[B]}, of a grid {"latent": float[B, C, h, w], "label", "index"}.

    The average is a part of the module, not a callback's copy, so that it is sharded and saved as the network is.
    """

    @limits(**GENERATOR_MODULE)
    def __init__(
        self,
        network: SiT,
        stage: str,
        learning_rate: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
        class_dropout: float = 0.1,
        decay: float = 0.9999,
        path: str = "linear",
        prediction: str = "velocity",
        compile: bool = False,
    ) -> None:
        """Makes the module; the statistics of the latents come with the token cache when training starts.

        Args:
            network: the SiT of the stage.
            stage: "layout", "texture", "one_stage" or "grid", see `gpstoken.stages`.
            learning_rate: AdamW's, constant (SiT 1e-4).
            betas: AdamW's.
            weight_decay: AdamW's (SiT 0).
            class_dropout: share of samples whose class is hidden, for classifier-free guidance.
            decay: of the averaged weights (SiT 0.9999).
            path: "linear", "gvp" or "vp".
            prediction: what the network predicts, "velocity", "score" or "noise".
            compile: compile the network with torch.compile.
        """
        super().__init__()
        wanted, dimensions = (GEOMETRY if stage == "texture" else 0), (2 if stage == "grid" else 1)
        if network.layout_channels != wanted:
            raise ValueError(f"layout_channels: expected {wanted} for stage {stage}, got {network.layout_channels}")
        if len(network.shape) != dimensions:
            raise ValueError(f"shape: expected {dimensions} numbers for stage {stage}, got {list(network.shape)}")
        self.network, self.stage = network, stage
        self.learning_rate, self.betas, self.weight_decay = learning_rate, betas, weight_decay
        self.class_dropout, self.path, self.prediction = class_dropout, path, prediction
        self.compile_network = compile
        self.averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay)).requires_grad_(False)
        self.described: dict[str, Any] | None = None
        # Buffers: they must be where the latents are, and the same in a run that goes on.
        self.register_buffer("mean", torch.zeros(network.config["channels"]))
        self.register_buffer("std", torch.ones(network.config["channels"]))

    @property
    def accumulate(self) -> int:
        """Batches whose gradients make one step."""
        return self.trainer.accumulate_grad_batches

    def setup(self, stage: str) -> None:
        """Takes the statistics and the tokenizer's identity from the token cache.

        Raises:
            ValueError: if the cache is of another kind of tokens than the stage and its network.
        """
        record = self.trainer.datamodule.record
        mean, std = channel_statistics(self.stage, record["statistics"])
        config = self.network.config
        if len(mean) != config["channels"]:
            raise ValueError(f"network: {config['channels']} channels, but {self.stage} latents have {len(mean)}")
        if record["num_classes"] != config["num_classes"]:  # more would be drawn though never trained
            raise ValueError(f"network: {config['num_classes']} classes, but the cache has {record['num_classes']}")
        self.mean.copy_(mean)
        self.std.copy_(std)
        self.described = {
            "stage": self.stage,
            "network": config,
            "path": self.path,
            "prediction": self.prediction,
            "statistics": {"mean": mean.tolist(), "std": std.tolist()},
            "tokenizer": record["tokenizer"],
            "training": {"batch_size": self.trainer.datamodule.batch_size * self.accumulate * self.trainer.world_size},
        }
        if self.compile_network and stage == "fit":
            self.network.compile()

    def configure_model(self) -> None:
        """Shares both networks among the processes where the strategy is to shard."""
        if self.device_mesh is not None:
            for network in (self.network, self.averaged.module):
                shard(network, self.device_mesh["data_parallel"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW at a constant rate."""
        trained = (parameter for parameter in self.network.parameters() if parameter.requires_grad)
        return torch.optim.AdamW(trained, lr=self.learning_rate, betas=self.betas, weight_decay=self.weight_decay)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Flow-matching loss of one batch."""
        chance = self._chance("train", int(batch["index"][0]))
        loss = self._losses(self.network, batch, chance, self.class_dropout).mean()
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"loss is {loss.item()} at step {self.global_step}; batch indices {batch['index'].tolist()}"
            )
        self.log("train/loss", loss)
        return loss

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Averages the weights after every step; in no later hook, for callbacks that save come before the module's."""
        super().optimizer_step(*arguments, **options)
        self.averaged.update_parameters(self.network)

    def on_validation_epoch_start(self) -> None:
        """A process may have one batch more than another, which must not wait for it."""
        keep_whole(self.averaged.module, True)

    def on_validation_epoch_end(self) -> None:
        """Shares the average again."""
        keep_whole(self.averaged.module, False)

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """The same loss of the averaged weights on held-out images, with the same noise every time."""
        chance = self._chance("validation", int(batch["index"][0]))
        loss = self._losses(self.averaged.module, batch, chance, 0.0).mean()
        count = len(batch["index"])
        self.log("validation/loss", loss, on_step=False, on_epoch=True, batch_size=count, sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what `Generator.from_checkpoint` needs beside the weights."""
        checkpoint["generator"] = self.described

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses to go on with the tokens of another tokenizer.

        Raises:
            ValueError: if the checkpoint was trained on those, or is of no generator.
        """
        described = check_stage(Path(self.trainer.ckpt_path or "checkpoint"), checkpoint)
        theirs, ours = (each["tokenizer"]["sha256"] for each in (described, self.described))
        if theirs != ours:
            raise ValueError(f"resume: trained on the tokens of tokenizer {theirs[:12]}, the cache is of {ours[:12]}")

    def _losses(
        self, network: torch.nn.Module, batch: dict[str, Tensor], chance: torch.Generator, drop: float
    ) -> Tensor:
        data = normalise(self.stage, data_of(self.stage, batch), self.mean, self.std)
        noise = torch.randn(data.shape, generator=chance, device=data.device)
        low, high = training_interval(self.path, self.prediction)
        t = low + (high - low) * torch.rand(len(data), generator=chance, device=data.device)
        given = condition_of(self.stage, batch)
        hidden = torch.rand(len(data), generator=chance, device=data.device) < drop
        given["label"] = torch.where(hidden, self.network.config["num_classes"], given["label"])

        def predict(x: Tensor, t: Tensor) -> Tensor:
            return network(x, t, **given).float()

        return flow_loss(predict, data, noise, t, self.path, self.prediction)

    def _chance(self, purpose: str, first_index: int) -> torch.Generator:
        """Noise of a batch: of seed, epoch and the batch's first sample alone, so that a resumed run has it too."""
        epoch = self.current_epoch if purpose == "train" else 0
        words = (self.trainer.datamodule.seed, purpose == "train", epoch, first_index, self.global_rank)
        seed = int(np.random.SeedSequence(words).generate_state(1, np.uint32)[0])  # torch's CPU generator has 32 bits
        return torch.Generator(self.device).manual_seed(seed)
