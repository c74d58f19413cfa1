"""The partition of photographs: compiled, and in torch, against the released algorithm."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks import released_partition
from benchmarks.timing import compare
from gpstoken import partition

GOLDEN = Path(__file__).parent.parent / "tests" / "golden" / "partition.npz"


def photographs() -> Tensor:
    """The photographs among the golden images, float[B, 3, 256, 256] in [-1, 1]."""
    with np.load(GOLDEN) as golden:
        real = [not name.startswith("syn_") for name in golden["image_names"]]
        pixels = golden["images"][real]
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def run(device: str = "cpu") -> list[dict]:
    """Rows for 64, 128 and 256 tokens on one thread, then for a batch in two threads against one.

    On a GPU: a batch of 64 images in GPU memory, by the CPU and by Triton, in the wall time that training would see.

    Returns:
        Rows as `benchmarks.timing.compare` makes them.
    """
    images = photographs()
    if device == "cuda":
        batch = images.repeat(-(-64 // len(images)), 1, 1, 1)[:64].to(device)

        def split(backend: str, num_tokens: int) -> None:
            partition(batch, num_tokens, backend=backend)
            torch.cuda.synchronize()

        return [
            row
            for num_tokens in (64, 128, 256)
            for row in compare(
                f"partition, {num_tokens} tokens, 64 images on the GPU",
                {name: partial(split, name, num_tokens) for name in ("cpu", "triton")}, clock="wall", images=64,
            )
        ]  # fmt: skip
    threads, opencv_threads = torch.get_num_threads(), cv2.getNumThreads()
    rows = []
    try:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        for num_tokens in (64, 128, 256):
            variants = {
                "released": lambda n=num_tokens: [released_partition.partition(image.numpy(), n) for image in images],
                "reference": lambda n=num_tokens: partition(images, n, backend="reference"),
                "cpu": lambda n=num_tokens: partition(images, n, backend="cpu"),
            }
            rows += compare(f"partition, {num_tokens} tokens, 1 thread", variants, images=len(images))

        def split_batch(workers: int, batch: Tensor) -> None:
            torch.set_num_threads(workers)
            partition(batch, 128, backend="cpu")

        batch = images.repeat(8, 1, 1, 1)
        variants = {
            "cpu, 1 thread": lambda: split_batch(1, batch),
            "cpu, 2 threads": lambda: split_batch(2, batch),
        }
        rows += compare(f"partition, 128 tokens, {len(batch)} images", variants, clock="wall", images=len(batch))
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(opencv_threads)
    return rows
