"""Checks the options of Lightning's Trainer before anything is built; errors name the option to change."""

from typing import Any

import torch

from gpstoken.limits import Limit, above, at_least
from gpstoken.training.sharding import NAME as SHARDED
from gpstoken.training.slurm import check_tasks

AT_LEAST_ONE = at_least(1)
LIMITS: dict[str, Limit] = {
    "max_steps": at_least(-1),
    "max_epochs": at_least(-1),
    "min_steps": at_least(0),
    "min_epochs": at_least(0),
    "num_nodes": AT_LEAST_ONE,
    "accumulate_grad_batches": AT_LEAST_ONE,
    "log_every_n_steps": at_least(0),
    "check_val_every_n_epoch": AT_LEAST_ONE,
    "num_sanity_val_steps": at_least(-1),
    "gradient_clip_val": above(0),
    "val_check_interval": above(0),
}
GPUS = ("gpu", "cuda")


def check_trainer(trainer: Any, model: Any) -> None:
    """Rejects options that Lightning would reject later, in its own words, or misinterpret.

    Args:
        trainer: the Trainer's arguments, a namespace.
        model: {"class_path", "init_args"} of the module to train.

    Raises:
        ValueError: naming the option, its value and what is allowed.
    """
    for name, limit in LIMITS.items():
        value = getattr(trainer, name, None)
        if value is not None and not isinstance(value, str | dict) and not hasattr(value, "total_seconds"):
            limit.check(f"--trainer.{name}", value)
    accelerator, devices = trainer.accelerator, trainer.devices
    if devices in (0, "0", []) or (isinstance(devices, int) and devices < -1):
        raise ValueError(f"--trainer.devices: expected a whole number of at least 1, -1 for all or auto, got {devices}")
    strategy, tokenizer = trainer.strategy, model is not None and model.class_path.endswith(".TokenizerModule")
    if isinstance(strategy, str) and (strategy.startswith("fsdp") or (tokenizer and strategy == SHARDED)):
        allowed = "auto or ddp for a tokenizer" if tokenizer else f"{SHARDED} to shard a network among processes"
        raise ValueError(f"--trainer.strategy: expected {allowed}, got {strategy}")
    if model is not None:
        check_tasks(trainer)
    if accelerator in GPUS and not torch.cuda.is_available():
        raise ValueError(f"--trainer.accelerator: expected cpu, because torch finds no GPU, got {accelerator}")
    if accelerator == "cpu" and str(trainer.precision) in ("16-mixed", "16", "16-true"):
        raise ValueError(f"--trainer.precision: expected 32-true or bf16-mixed on a CPU, got {trainer.precision}")
    if tokenizer:
        # It uses manual optimization, for which Lightning neither accumulates nor clips gradients.
        batches = trainer.accumulate_grad_batches
        if batches not in (None, 1):
            raise ValueError(
                f"--trainer.accumulate_grad_batches: expected 1, because a tokenizer's module has its own option; "
                f"use --model.init_args.accumulate {batches}"
            )
        if trainer.gradient_clip_val is not None:
            raise ValueError(
                f"--trainer.gradient_clip_val: expected null, because a tokenizer's gradients are not clipped, "
                f"got {trainer.gradient_clip_val}"
            )
