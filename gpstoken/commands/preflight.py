"""Prints the expected cost of a training run before it starts, and refuses one that does not fit into free memory."""

from pathlib import Path
from typing import Any

import torch

from gpstoken.base import Tokenizer
from gpstoken.perceptual import HOW_TO_GET
from gpstoken.profiling.needs import needs, products_per_second
from gpstoken.training.sharding import Sharded

GIB = 2**30


def announce(module: Any, data: Any, trainer: Any, scratch: Path, output: Path | None, allow_large: bool) -> None:
    """Prints parameters, batch, steps, estimated memory and time, and folders, and checks the images' size.

    Args:
        module: a `TokenizerModule` or `GeneratorModule`.
        data: its data module.
        trainer: Lightning's trainer.
        scratch: folder of the run while it trains.
        output: folder of the finished run.
        allow_large: whether to continue with too little memory.

    Raises:
        ValueError: for images of a wrong size, too little memory, a missing loss network or a missing teacher; the
            message says what to do.
    """
    network = getattr(module, "tokenizer", None) or getattr(module, "generator", None)
    if network is None or not hasattr(network, "config"):
        return
    if isinstance(network, Tokenizer) and hasattr(data, "image_size"):
        network.code((data.image_size, data.image_size))
        _check_grid(network.config)
        _check_perceptual(module)
        _check_weights(module)
    device = trainer.strategy.root_device
    # Processes on a CPU share one memory, so their shares add up to the whole again.
    shares = trainer.world_size if isinstance(trainer.strategy, Sharded) and device.type != "cpu" else 1
    step, free = needs(module, data, shares), free_bytes(device)
    # A generator accumulates gradients by the trainer's option; a tokenizer alternates networks and has its own option.
    batches = trainer.accumulate_grad_batches * (module.accumulate if isinstance(network, Tokenizer) else 1)
    seconds = batches * step.products / products_per_second(device)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    steps = "no limit of" if trainer.max_steps < 0 else trainer.max_steps
    memory = f"{step.memory / GIB:.1f} GiB of memory"
    time = f"{seconds:.2g}" if seconds < 10 else f"{seconds:,.0f}"
    print(
        f"{type(network).__name__}: {parameters / 1e6:.2f} M parameters, batch {data.batch_size}, {steps} steps "
        f"of at least {time} s, about {memory} ({free / GIB:.1f} GiB free on {device.type})"
    )
    print(f"trains in {scratch}, ends in {output or scratch}; the same command resumes after a kill", flush=True)
    if step.memory > free and not allow_large:
        raise ValueError(
            f"training needs about {memory}, but {free / GIB:.1f} GiB are free: use a smaller "
            "--data.init_args.batch_size or a smaller scale (gpstoken fit ROW --scale laptop), or continue with "
            "--allow_large true"
        )


def _check_grid(config: dict[str, Any]) -> None:
    """Checks that the decoder of a `GPSToken` makes images of the size that it is trained on."""
    if "decoder_multipliers" not in config or "grid_size" not in config:
        return
    size, grid, levels = config["image_size"], config["grid_size"], len(config["decoder_multipliers"])
    times = 2 ** (levels - 1)
    if grid * times != size:
        why = f"since {levels} decoder_multipliers enlarge it {times} times"
        raise ValueError(f"grid_size: expected {size / times:g} for image_size {size}, {why}, got {grid}")


def _check_perceptual(module: Any) -> None:
    """Checks that the network of the perceptual loss is on disk."""
    if module.perceptual_weight and not Path(module.perceptual_weights).is_file():
        raise ValueError(
            f"perceptual_weights: there is no {module.perceptual_weights}; {HOW_TO_GET}, or train without LPIPS with "
            "--model.init_args.perceptual_weight 0"
        )


def _check_weights(module: Any) -> None:
    """Checks that a tokenizer that cannot learn from scratch has something to start from."""
    if module.tokenizer.needs_weights and module.weights is None:
        kind = type(module.tokenizer).__name__
        raise ValueError(
            f"teacher: expected the checkpoint of a trained autoencoder, from whose latents {kind} learns; "
            "`gpstoken fit ROW --scale SCALE` trains the teacher of a row first, or give "
            "--model.init_args.tokenizer.init_args.teacher FILE or the tokenizer's own --model.init_args.weights FILE"
        )


def free_bytes(device: torch.device) -> int:
    """Free memory of a device in bytes: for a CPU what the kernel has available, within the container's limit."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = 2**62
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            free = min(free, int(limit) - int((group / "memory.current").read_text()))
    except (OSError, ValueError, StopIteration):  # another system, or no limit: use what is known so far
        pass
    return free


def finished(output: Path, measured: dict[str, float]) -> str:
    """A message with the folder of a run, its last measurement and the next command.

    Args:
        output: folder of the run.
        measured: last values by name, such as validation/psnr.
    """
    kind = next((name for name in ("validation/psnr", "validation/loss", "train/loss") if name in measured), None)
    value = "" if kind is None else f", {kind} {measured[kind]:.4g}"
    tokenizer = "validation/psnr" in measured or "train/l2" in measured
    following = (
        f"gpstoken evaluate {output} -o results/mine/tokenizers/{output.name}.json --row {output.name} --scale mine"
        if tokenizer
        else f"gpstoken generate --help, with {output / 'last.ckpt'}"
    )
    return f"{output}: finished{value}\nnext: {following}"
