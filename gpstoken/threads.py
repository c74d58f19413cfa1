"""Work of compiled code over the images of a batch, in as many threads as torch may use."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch


def in_runs(work: Callable[[int, int], None], count: int, threads: int | None = None) -> None:
    """Calls work(start, stop) for runs that make up range(count), one run in each thread, the caller's among them.

    It is for functions that release the interpreter's lock (numba's `nogil`), and best for those that release it once:
    to get it back can take longer than painting a small image.

    Args:
        work: what is done.
        count: of images, or of pieces of them.
        threads: how many at most; None: as many as torch may use.
    """
    runs = max(1, min(count, threads or torch.get_num_threads()))
    edges = [count * run // runs for run in range(runs + 1)]
    others = [_helpers().submit(work, *edges[run : run + 2]) for run in range(1, runs)]
    work(*edges[:2])
    for other in others:
        other.result()


@cache
def _helpers() -> ThreadPoolExecutor:
    """Threads that wait for work: to start them anew for each call takes a millisecond on a virtual machine."""
    return ThreadPoolExecutor(os.cpu_count())


if hasattr(os, "register_at_fork"):
    # A forked process (a loader's worker) has none of its parent's threads, and would wait for them for ever.
    os.register_at_fork(after_in_child=_helpers.cache_clear)
