"""Renderer: every backend against the naive dense one and the released algorithm, on layouts of real photographs."""

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
from benchmarks.released_splat import released_splat
from benchmarks.timing import compare, with_floor
from gpstoken.gaussians import Gaussians, merge_tiles
from gpstoken.splat import splat
from gpstoken.splat.reference import inside_support, pixel_positions

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "partition.npz"
SUPPORT_FACTOR = 3.0
# Images, tokens, channels, side of the map. A and A256 are the paper's tokenizers in batches, L sixteen merged tiles.
CASES = {"A": (8, 128, 16, 64), "A256": (8, 256, 32, 64), "L": (1, 2048, 16, 256), "worst": (8, 128, 16, 64)}
REFERENCES = {"A": ("naive dense", "released"), "A256": ("naive dense", "released"), "L": ("released",)}


def photograph_layouts(num_tokens: int, batch: int = 8) -> Gaussians:
    """The initial Gaussians of a batch of photographs (golden partitions), with a random correlation in (-0.6, 0.6).

    The correlation stands for refinement: without it the sum would be separable, which no trained layout is.

    Args:
        num_tokens: N, one of the token counts of the golden partitions.
        batch: number of images; photographs repeat.
    """
    with np.load(GOLDEN) as golden:
        rows = [
            golden["gpscodes"][int(offset) : int(offset + count)]
            for image, tokens, lambda_, smallest, offset, count, _ in golden["case_index"]
            if (tokens, lambda_, smallest) == (num_tokens, 2.5, 8)
            and not str(golden["image_names"][int(image)]).startswith("syn_")
        ]
    geometry = torch.from_numpy(np.stack([rows[i % len(rows)] for i in range(batch)]))
    geometry[..., 2].uniform_(-0.6, 0.6, generator=torch.Generator().manual_seed(0))
    return Gaussians.from_tensor(geometry)


def layouts(case: str) -> Gaussians:
    """The Gaussians of one of `CASES`; "worst" has nothing to cull, because every box covers the whole map."""
    batch, num_tokens, _, _ = CASES[case]
    if case == "L":
        return merge_tiles(photograph_layouts(128, 16 * batch), (4, 4))
    gaussians = photograph_layouts(num_tokens, batch)
    if case == "worst":
        gaussians = Gaussians(gaussians.mu, torch.full_like(gaussians.sigma, 0.66), gaussians.rho)
    return gaussians


def forward_backward(render: Callable, gaussians: Gaussians, features: Tensor, upstream: Tensor) -> list[Tensor]:
    """Renders once and returns the map and the gradients of mu, sigma, rho and features."""
    leaves = [value.detach().requires_grad_() for value in (gaussians.mu, gaussians.sigma, gaussians.rho, features)]
    feature_map = render(Gaussians(*leaves[:3]), leaves[3], tuple(upstream.shape[2:]), SUPPORT_FACTOR)
    return [feature_map.detach(), *torch.autograd.grad(feature_map, leaves, upstream)]


def peak_extra_bytes(function: Callable[[], object]) -> int:
    """The largest sum of tensor memory allocated by a call and not yet freed, counted by torch's profiler.

    The count is exact and repeatable, unlike the resident size of a process, in which the allocator's reuse hides it.
    Work space inside a library call is not counted.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's start and stop lines would break up the table
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


def run(device: str = "cpu") -> list[dict]:
    """Times forward and backward of the cases, on the CPU on one thread.

    Returns:
        Rows as `benchmarks.timing.compare` makes them, in milliseconds per batch, with the floor; on the CPU with
        peak_mib, the extra memory of a call as torch counts it, which omits the band of rows of a compiled kernel.

    Raises:
        RuntimeError: if the variants disagree.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [row for case in CASES for row in _run_case(case, device)]
    finally:
        torch.set_num_threads(threads)


def _variants(case: str, device: str) -> dict[str, Callable]:
    if device == "cuda":
        names = ["reference", "tiled", "triton"] if case != "L" else ["tiled", "triton"]
    else:
        names = ["reference", "tiled", "cpu"] if case != "L" else ["tiled", "cpu"]
    variants = {name: partial(splat, backend=name) for name in names}
    if device == "cpu" and case in REFERENCES:
        # Naive dense on L would take 6 GiB.
        variants = ({"naive dense": naive_splat} if case != "L" else {}) | {"released": released_splat} | variants
    return variants


def _run_case(case: str, device: str) -> list[dict]:
    batch, num_tokens, channels, side = CASES[case]
    gaussians = Gaussians(*(value.to(device) for value in vars(layouts(case)).values()))
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(batch, num_tokens, channels, generator=generator).to(device)
    upstream = torch.randn(batch, channels, side, side, generator=generator).to(device)
    both = {
        name: partial(forward_backward, render, gaussians, features, upstream)
        for name, render in _variants(case, device).items()
    }
    names = list(both)

    expected = both[names[0]]()
    for variant, call in both.items():
        for value, truth in zip(call(), expected, strict=True):
            if (value - truth).norm() > 1e-5 * truth.norm():
                raise RuntimeError(f"benchmarks.splat: {variant} and {names[0]} differ on case {case}")

    forward = {
        name: partial(render, gaussians, features, (side, side), SUPPORT_FACTOR)
        for name, render in _variants(case, device).items()
    }
    references = REFERENCES.get(case, ()) if device == "cpu" else ()
    clock = "cuda" if device == "cuda" else "cpu"
    # The floor: the work of every pixel inside a box, once forward and twice backward, and maps and tokens once.
    touches, moved = count_touches(gaussians, (side, side)), upstream.nbytes + 2 * features.nbytes
    rows = []
    for label, calls, work in (("forward", forward, 1), ("forward + backward", both, 3)):
        timed = compare(f"splat {case}, {label}, a batch of {batch}", calls, clock, references=references)
        timed = with_floor(timed, work * touches * channels, moved if work == 1 else 2 * moved, device)
        peak = {name: peak_extra_bytes(call) / 2**20 for name, call in calls.items()} if device == "cpu" else {}
        rows += [row | ({"peak_mib": peak[row["variant"]]} if peak else {}) for row in timed]
    return rows


def count_touches(gaussians: Gaussians, size: tuple[int, int]) -> int:
    """Pairs of a pixel and a Gaussian whose support box holds it."""
    inside = []
    for axis, count in enumerate((size[1], size[0])):
        position = pixel_positions(count, dtype=torch.float32, device=gaussians.mu.device)
        offset = position - gaussians.mu[..., axis, None]
        inside.append(inside_support(offset, gaussians.sigma[..., axis, None], SUPPORT_FACTOR).sum(-1))
    return int((inside[0] * inside[1]).sum())
