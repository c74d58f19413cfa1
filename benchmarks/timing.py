"""The interleaved timer, and the record of the machine that the times were taken on."""

import time
from collections.abc import Callable
from importlib.metadata import version
from statistics import median

import torch

from gpstoken import provenance

CLOCKS = {"cpu": time.thread_time_ns, "wall": time.perf_counter_ns}


def compare(
    case: str, variants: dict[str, Callable[[], object]], clock: str = "cpu", rounds: int = 9, images: int = 1
) -> list[dict]:
    """Times variants against the first of them, taking turns, so that a slow spell of the machine hits all alike.

    Args:
        case: what is timed, for the table.
        variants: name and call of each; the first is the reference. Each is called once before the clock runs.
        clock: "cpu", the CPU time of the calling thread, for work on one thread; or "wall".
        rounds: timed calls of each variant.
        images: images that one call handles; times are milliseconds an image.

    Returns:
        A row for each variant: case, variant, reference, clock; median ms, ms_min and ms_max; speedup, speedup_min and
        speedup_max: how many times faster than the reference, round by round.
    """
    now = CLOCKS[clock]
    times: dict[str, list[float]] = {name: [] for name in variants}
    for call in variants.values():
        call()
    names = list(variants)
    for turn in range(rounds):
        # Another variant opens each round: none always runs in the wake of the same one.
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            start = now()
            variants[name]()
            times[name].append((now() - start) / 1e6 / images)
    reference = names[0]
    rows = []
    for name in names:
        ratios = [slow / fast for slow, fast in zip(times[reference], times[name], strict=True)]
        row = {"case": case, "variant": name, "reference": reference, "clock": clock}
        for label, numbers in (("ms", times[name]), ("speedup", ratios)):
            row |= {label: median(numbers), f"{label}_min": min(numbers), f"{label}_max": max(numbers)}
        rows.append(row)
    return rows


def machine() -> dict:
    """The processor, the threads, the accelerator and the versions that the times depend on."""
    return {
        **provenance.machine("cuda" if torch.cuda.is_available() else "cpu"),
        **provenance.versions(),
        "opencv-python-headless": version("opencv-python-headless"),
        "commit": provenance.commit(),
    }
