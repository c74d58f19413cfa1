"""What a training will take, printed before it begins; one that cannot fit into the memory that is free is refused."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from gpstoken.base import Tokenizer
from gpstoken.profiling.inputs import network_arguments, picture
from gpstoken.profiling.memory import training_bytes
from gpstoken.profiling.shapes import without_weights
from gpstoken.training.sharding import Sharded

GIB = 2**30


def announce(module: Any, data: Any, trainer: Any, scratch: Path, output: Path | None, allow_large: bool) -> None:
    """Prints parameters, batch, steps, estimated memory and places; refuses images that the tokenizer cannot take.

    Args:
        module: a `TokenizerModule` or `GeneratorModule`.
        data: its data module.
        trainer: Lightning's.
        scratch: where the run lies while it works.
        output: where it lies when it is finished.
        allow_large: whether to go on where the memory does not suffice.

    Raises:
        ValueError: for such images, or too little memory; names the smaller form.
    """
    network = getattr(module, "tokenizer", None) or getattr(module, "network", None)
    if network is None or not hasattr(network, "config"):
        return
    if isinstance(network, Tokenizer) and hasattr(data, "image_size"):
        network.code((data.image_size, data.image_size))
        _check_grid(network.config)
    device = trainer.strategy.root_device
    # The processes of a CPU have one memory together: there their shares are the whole again.
    shares = trainer.world_size if isinstance(trainer.strategy, Sharded) and device.type != "cpu" else 1
    needed, free = estimate(network, data, shares), free_bytes(device)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    steps = "no limit of" if trainer.max_steps < 0 else trainer.max_steps
    print(
        f"{type(network).__name__}: {parameters / 1e6:.2f} M parameters, batch {data.batch_size}, {steps} steps, about "
        f"{needed / GIB:.1f} GiB of memory (estimated, without the loss's networks; {free / GIB:.1f} GiB are free on "
        f"{device.type})"
    )
    print(f"works in {scratch}, ends in {output or scratch}; the same command goes on after a kill", flush=True)
    if needed > free and not allow_large:
        raise ValueError(
            f"training needs about {needed / GIB:.1f} GiB of memory, {free / GIB:.1f} GiB are free: take a smaller "
            "--data.init_args.batch_size or the small form, -c experiments/_scale/laptop.yaml after the row (of a "
            "generator laptop_generators.yaml), or go on with --allow_large true"
        )


def estimate(network: Any, data: Any, shares: int = 1) -> int:
    """Bytes of weights, gradients, Adam's moments, averaged weights and what a batch's forward pass keeps.

    With `shares` all but the last is divided among so many devices. The activations of one sample are counted on a copy
    without weights, and taken as many times as the batch is large.
    """
    copy = without_weights(partial(type(network), **network.config), ()).train()
    if isinstance(network, Tokenizer):
        size = data.image_size
        image = picture(1, size)
        counted = training_bytes(copy, lambda: F.mse_loss(copy(image), image))
    else:
        given = network_arguments(copy, 1)
        counted = training_bytes(copy, lambda: F.mse_loss(copy(*given), given[0]))
    states = counted["parameters"] * 2 + counted["gradients"] + counted["moments"]
    return states // shares + counted["activations"] * data.batch_size


def _check_grid(config: dict[str, Any]) -> None:
    """Refuses a decoder of `GPSToken` that makes images of another size than those it is trained on."""
    if "decoder_multipliers" not in config or "grid_size" not in config:
        return
    size, grid, levels = config["image_size"], config["grid_size"], len(config["decoder_multipliers"])
    times = 2 ** (levels - 1)
    if grid * times != size:
        why = f"since {levels} decoder_multipliers enlarge it {times} times"
        raise ValueError(f"grid_size: expected {size / times:g} for image_size {size}, {why}, got {grid}")


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device: of a CPU what the kernel can give, and no more than the container may have."""
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
    except (OSError, ValueError, StopIteration):  # another system, or no limit: what is known so far
        pass
    return free


def finished(output: Path, measured: dict[str, float]) -> str:
    """Where a run is, what it last measured, and the next command.

    Args:
        output: folder of the run.
        measured: last values by name, such as validation/psnr.
    """
    kind = next((name for name in ("validation/psnr", "validation/loss", "train/loss") if name in measured), None)
    value = "" if kind is None else f", {kind} {measured[kind]:.4g}"
    tokenizer = "validation/psnr" in measured or "train/l2" in measured
    following = (
        f"gpstoken evaluate {output} -o results/mine/tokenizers/{output.name}.json --scale mine"
        if tokenizer
        else f"gpstoken generate --help, with {output / 'last.ckpt'}"
    )
    return f"{output}: finished{value}\nnext: {following}"
