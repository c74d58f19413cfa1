"""The interleaved timer, the floor under a time, and the record of the machine that the times were taken on."""

import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from statistics import median

import torch

from gpstoken.files import provenance

CLOCKS = {"cpu": time.thread_time_ns, "wall": time.perf_counter_ns}


def compare(
    case: str,
    variants: dict[str, Callable[[], object]],
    clock: str = "cpu",
    rounds: int = 9,
    images: int = 1,
    references: tuple[str, ...] = (),
) -> list[dict]:
    """Times variants against references among them, in turns, so that a slow spell of the machine hits all alike.

    Args:
        case: what is timed, for the table.
        variants: calls by name. Every call is made once before the clock runs.
        clock: "cpu", the CPU time of the calling thread, for work on one thread; "wall"; or "cuda", time between events
            on the device.
        rounds: timed calls of each variant.
        images: images that one call handles; times are milliseconds per image.
        references: names of variants that the others are compared with; the first variant by default.

    Returns:
        A row for each variant and reference: case, variant, reference, clock; median ms, ms_min and ms_max; speedup,
        speedup_min and speedup_max: how many times faster than the reference, round by round.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    for call in variants.values():
        call()
    names = list(variants)
    for turn in range(rounds):
        # Another variant opens each round, so that none always runs after the same one.
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(_milliseconds(variants[name], clock) / images)
    rows = []
    for reference in references or names[:1]:
        for name in names:
            ratios = [slow / fast for slow, fast in zip(times[reference], times[name], strict=True)]
            row = {"case": case, "variant": name, "reference": reference, "clock": clock}
            for label, numbers in (("ms", times[name]), ("speedup", ratios)):
                row |= {label: median(numbers), f"{label}_min": min(numbers), f"{label}_max": max(numbers)}
            rows.append(row)
    return rows


def _milliseconds(call: Callable[[], object], clock: str) -> float:
    if clock == "cuda":
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop)
    start = CLOCKS[clock]()
    call()
    return (CLOCKS[clock]() - start) / 1e6


def with_floor(rows: list[dict], multiply_adds: float, moved_bytes: float, device: str = "cpu") -> list[dict]:
    """Adds to each row floor_ms, the least time that its work can take here, and reached, its share of the row's ms.

    Args:
        rows: of one case, with one clock.
        multiply_adds: float32 multiply-adds per image that no variant can avoid.
        moved_bytes: bytes of the inputs and outputs of one image, each read or written once.
        device: where the rows were timed.
    """
    flops, copied = rates(device, torch.get_num_threads())
    floor = max(2 * multiply_adds / flops, moved_bytes / copied) * 1e3
    return [row | {"floor_ms": floor, "reached": floor / row["ms"]} for row in rows]


@cache
def rates(device: str, threads: int) -> tuple[float, float]:
    """(float32 FLOP/s of a matrix product, bytes/s read and written by a copy), medians of several runs."""
    clock = "cuda" if device == "cuda" else "wall"
    left, right = torch.rand(2, 2048, 2048, device=device)
    source = torch.rand(2**25, device=device)
    target = torch.empty_like(source)
    product, copy = (
        compare("rate", {"once": call}, clock)[0]["ms"] / 1e3
        for call in (lambda: left @ right, lambda: target.copy_(source))
    )
    return 2 * 2048**3 / product, 2 * source.nbytes / copy


def machine(device: str) -> dict:
    """The device, the processor, the threads and the versions that the times depend on."""
    return {
        **provenance.machine(device),
        **provenance.versions(),
        "opencv-python-headless": version("opencv-python-headless"),
        "commit": provenance.commit(),
    }
