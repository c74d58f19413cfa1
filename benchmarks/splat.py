"""Renderer: forward and backward of every backend against the naive dense one, on layouts of real photographs."""

import json
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.naive_splat import naive_splat
from benchmarks.timing import compare
from gpstoken.gaussians import Gaussians
from gpstoken.splat import reference, tiled

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "partition.npz"
VARIANTS = {"naive dense": naive_splat, "reference": reference.splat, "tiled": tiled.splat}
SIZE, SUPPORT_FACTOR, BATCH = (64, 64), 3.0, 8


def photograph_layouts(num_tokens: int) -> Gaussians:
    """The initial Gaussians of a batch of photographs (golden partitions), with a random correlation in (-0.6, 0.6).

    The correlation stands for refinement: without it the sum would be separable, which no trained layout is.

    Args:
        num_tokens: N, one of the token counts of the golden partitions.

    Returns:
        Gaussians of 8 images, photographs repeating.
    """
    with np.load(GOLDEN) as golden:
        rows = [
            golden["gpscodes"][int(offset) : int(offset + count)]
            for image, tokens, lambda_, smallest, offset, count, _ in golden["case_index"]
            if (tokens, lambda_, smallest) == (num_tokens, 2.5, 8)
            and not str(golden["image_names"][int(image)]).startswith("syn_")
        ]
    geometry = torch.from_numpy(np.stack([rows[i % len(rows)] for i in range(BATCH)]))
    geometry[..., 2].uniform_(-0.6, 0.6, generator=torch.Generator().manual_seed(0))
    return Gaussians.from_tensor(geometry)


def forward_backward(render: Callable, gaussians: Gaussians, features: Tensor, upstream: Tensor) -> list[Tensor]:
    """Renders once and returns the map and the gradients of mu, sigma, rho and features."""
    leaves = [value.detach().requires_grad_() for value in (gaussians.mu, gaussians.sigma, gaussians.rho, features)]
    feature_map = render(Gaussians(*leaves[:3]), leaves[3], SIZE, SUPPORT_FACTOR)
    return [feature_map.detach(), *torch.autograd.grad(feature_map, leaves, upstream)]


def peak_extra_bytes(function: Callable[[], object]) -> int:
    """The largest sum of tensor memory allocated by a call and not yet freed, counted by torch's profiler.

    Exact and repeatable, unlike the resident size of a process, which the allocator's reuse hides. Work space inside a
    library call is not seen.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # its start and stop lines would break up the table
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        function()
    with tempfile.TemporaryDirectory() as folder:
        profile.export_chrome_trace(f"{folder}/trace.json")
        events = json.loads(Path(f"{folder}/trace.json").read_text())["traceEvents"]
    live = peak = 0
    for event in sorted((event for event in events if event["name"] == "[memory]"), key=lambda event: event["ts"]):
        live += event["args"]["Bytes"]
        peak = max(peak, live)
    return peak


def run() -> list[dict]:
    """Times forward and backward of a batch of 8 at 64 x 64, cases A (N 128, C 16) and A256 (N 256, C 32), one thread.

    Returns:
        Rows as `benchmarks.timing.compare` makes them, in milliseconds a batch; with peak_mib, the extra memory of a
        call, and memory_ratio, its share of the naive one's.

    Raises:
        RuntimeError: if the variants disagree.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [row for case in (("A", 128, 16), ("A256", 256, 32)) for row in _run_case(*case)]
    finally:
        torch.set_num_threads(threads)


def _run_case(name: str, num_tokens: int, channels: int) -> list[dict]:
    gaussians = photograph_layouts(num_tokens)
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(BATCH, num_tokens, channels, generator=generator)
    upstream = torch.randn(BATCH, channels, *SIZE, generator=generator)
    arguments = (gaussians, features, upstream)
    calls = {variant: partial(forward_backward, render, *arguments) for variant, render in VARIANTS.items()}

    expected = calls["naive dense"]()
    for variant, call in calls.items():
        for value, truth in zip(call(), expected, strict=True):
            if (value - truth).norm() > 1e-5 * truth.norm():
                raise RuntimeError(f"benchmarks.splat: {variant} and naive dense differ on case {name}")

    peak = {variant: peak_extra_bytes(call) for variant, call in calls.items()}
    rows = compare(f"splat {name}, a batch of {BATCH}", calls)
    return [
        row | {"peak_mib": peak[variant] / 2**20, "memory_ratio": peak[variant] / peak["naive dense"]}
        for variant, row in zip(calls, rows, strict=True)
    ]
