"""Work of compiled code over the images of a batch, in as many threads as torch may use."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch


def for_each(work: Callable[[int], None], count: int) -> None:
    """Calls work(0) to work(count - 1), each once, in Python threads that end with the call.

    It is for functions that release the interpreter's lock (numba's `nogil`).
    """
    workers = min(count, torch.get_num_threads())
    if workers > 1:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, range(count)))
    else:
        for index in range(count):
            work(index)
