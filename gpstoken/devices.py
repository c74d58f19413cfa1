"""Moves a network to the device that a user names, and measures the peak memory."""

import resource

import torch
from torch import nn


def to_device(network: nn.Module, name: str) -> nn.Module:
    """`network.to(name)`, for a command with the option --device.

    Raises:
        ValueError: if there is no such device here.
    """
    try:
        return network.to(name)
    except (RuntimeError, AssertionError) as error:  # an unknown device, or one that this torch does not support
        raise ValueError(f"--device {name}: {str(error).splitlines()[0]}") from error


def peak_memory_mb(device: torch.device | str) -> float:
    """Peak memory in MiB: of a CUDA device, otherwise of this process, including its libraries."""
    if torch.device(device).type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, 1)  # KiB on Linux
