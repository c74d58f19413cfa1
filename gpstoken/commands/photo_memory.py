"""Checks whether a photograph fits into memory, before it leads to hours of swapping or a kill."""

import contextlib
from pathlib import Path

import torch

from gpstoken.tokenizer import GPSToken


def check_memory(tokenizer: GPSToken, canvas: tuple[int, int], decodes: bool) -> None:
    """Checks that the tokenizer's activations for an image fit into memory.

    The bytes per pixel were measured on a CPU at 1536x1536 with stems of 4 to 32 and decoders of 8 to 32 channels, and
    hold to about 10 %: the activations at full resolution dominate.

    Args:
        tokenizer: the tokenizer, on its device.
        canvas: (H, W) of the padded image.
        decodes: whether the tokens are decoded, which takes more memory.

    Raises:
        ValueError: if less memory is free.
    """
    config = tokenizer.config
    finest, second = (*config["decoder_multipliers"], config["decoder_multipliers"][0])[:2]
    per_pixel = 60 + 19 * config["stem_channels"]
    if decodes:
        per_pixel = max(per_pixel, 190 + 13 * config["decoder_channels"] * max(finest, second))
    needed, free = per_pixel * canvas[0] * canvas[1], free_memory(tokenizer.last_layer.device)
    if needed > free:
        sizes = f"about {needed / 1e9:.1f} GB with this tokenizer, but {free / 1e9:.1f} GB are free"
        raise ValueError(
            f"a whole image of {canvas[0]}x{canvas[1]} takes {sizes}; encode --size N takes its centre square"
        )


def free_memory(device: torch.device) -> float:
    """Free bytes of a device, for the CPU within this process's control group; infinite if it is unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = [float("inf")]
    with contextlib.suppress(OSError, KeyError, ValueError):
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free.append(1024 * float(lines["MemAvailable"].split()[0]))
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):  # "max" is not a number: there is no limit
        free.append(float((group / "memory.max").read_text()) - float((group / "memory.current").read_text()))
    return min(free)
