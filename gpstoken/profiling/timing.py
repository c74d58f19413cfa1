"""Latency and its spread, and the peak memory of a CUDA device."""

import time
from collections.abc import Callable
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor, nn

from gpstoken.devices import peak_memory_mb


def timed(call: Callable[[], Any], device: torch.device) -> tuple[Any, float]:
    """Runs `call` and times it.

    Returns:
        (its result, milliseconds until it was available; on a CUDA device measured by events).
    """
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        result = call()
        end.record()
        end.synchronize()
        return result, start.elapsed_time(end)
    begin = time.perf_counter()
    result = call()
    return result, 1000 * (time.perf_counter() - begin)


def measure(
    parts: dict[str, Callable[[Any], Any]],
    start: Any,
    repeats: int,
    device: torch.device,
    seconds: float = float("inf"),
) -> dict[str, Any]:
    """Times a chain of calls, each of which gets the result of the one before, after one untimed round.

    Args:
        parts: name -> call.
        start: argument of the first call, a tensor float[B, ...].
        repeats: most rounds.
        device: device of the calls.
        seconds: no further round begins after so many seconds of rounds; there is at least one.

    Returns:
        `summary` of the rounds, their number "repeats", "<name>_ms" for every part and round, and "peak_memory_mb" on a
        CUDA device, else None.
    """
    rounds: dict[str, list[float]] = {name: [] for name in parts}
    with torch.no_grad():
        for index in range(1 + repeats):
            if sum(map(sum, rounds.values())) > 1000 * seconds:
                break
            if index == 1 and device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            value = start
            for name, call in parts.items():
                value, milliseconds = timed(lambda call=call, value=value: call(value), device)
                if index:
                    rounds[name].append(milliseconds)
    return {
        "repeats": len(next(iter(rounds.values()))),
        **{f"{name}_ms": [round(value, 3) for value in values] for name, values in rounds.items()},
        **summary(rounds, len(start)),
        "peak_memory_mb": peak_memory_mb(device) if device.type == "cuda" else None,
    }


def summary(rounds: dict[str, list[float]], batch_size: int) -> dict[str, float | None]:
    """Mean and standard deviation of the rounds, all parts together, and images per second.

    Args:
        rounds: milliseconds of every part in every round.
        batch_size: images in a round.

    Returns:
        "latency_ms" per batch, its standard deviation "latency_std_ms" over rounds (n - 1; None for a single round) and
        "throughput_per_s".
    """
    totals = [sum(parts) for parts in zip(*rounds.values(), strict=True)]
    latency = mean(totals)
    return {
        "latency_ms": round(latency, 3),
        "latency_std_ms": round(stdev(totals), 3) if len(totals) > 1 else None,
        "throughput_per_s": round(1000 * batch_size / latency, 4),
    }


def training_peak_mb(network: nn.Module, loss: Callable[[], Tensor], device: torch.device) -> float | None:
    """Peak in MiB of two training steps by Adam on a CUDA device; None where its memory is too small."""
    optimiser = torch.optim.Adam([parameter for parameter in network.parameters() if parameter.requires_grad])
    torch.cuda.reset_peak_memory_stats(device)
    try:
        for _ in range(2):  # the moments are created by the first step
            optimiser.zero_grad()
            loss().backward()
            optimiser.step()
    except torch.cuda.OutOfMemoryError:
        return None
    return peak_memory_mb(device)
