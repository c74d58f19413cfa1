"""Runs compiled code over the images of a batch, in as many threads as torch may use."""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch

SILENCE = 2.0  # seconds of compilation before a message is printed


def in_runs(work: Callable[[int, int], None], count: int, threads: int | None = None) -> None:
    """Calls work(start, stop) for consecutive runs of range(count), one run per thread, including the caller's thread.

    It is meant for functions that release the interpreter lock (numba's `nogil`), best only once: getting the lock back
    can take longer than painting a small image.

    Args:
        work: the function to call.
        count: number of images, or of pieces of images.
        threads: the most threads; None: as many as torch may use.
    """
    runs = max(1, min(count, threads or torch.get_num_threads()))
    edges = [count * run // runs for run in range(runs + 1)]
    others = [_helpers().submit(work, *edges[run : run + 2]) for run in range(1, runs)]
    work(*edges[:2])
    for other in others:
        other.result()


@cache
def announce_compilation() -> None:
    """Prints a line on stderr if compiling kernels takes more than two seconds; called by modules that import numba.

    Kernels in numba's cache are not compiled, so nothing is printed for them.
    """
    # No import here: numba may be missing, and this module must work without it.
    events = sys.modules["numba"].core.event
    events.Listener.register(_Announcement)
    events.register("numba:compile", _Announcement())


class _Announcement:
    """A listener to numba's compilations, which may be nested."""

    def __init__(self) -> None:
        self._depth, self._said, self._lock = 0, False, threading.Lock()
        self._timer = threading.Timer(SILENCE, self._say)

    def notify(self, event: Any) -> None:
        """Called by numba at the start and at the end of each compilation."""
        self._depth += 1 if event.is_start else -1
        if event.is_start and self._depth == 1 and not self._said:
            self._timer = threading.Timer(SILENCE, self._say)
            self._timer.daemon = True
            self._timer.start()
        elif self._depth == 0:
            self._timer.cancel()

    def _say(self) -> None:
        with self._lock:  # two timers may have expired
            if self._said:
                return
            self._said = True
        line = "gpstoken: compiling the kernels for this processor, which takes up to half a minute the first time"
        print(line, file=sys.stderr, flush=True)


@cache
def _helpers() -> ThreadPoolExecutor:
    """A pool of waiting threads: starting new ones for each call takes a millisecond on a virtual machine."""
    return ThreadPoolExecutor(os.cpu_count())


if hasattr(os, "register_at_fork"):
    # A forked process (a loader's worker) has none of its parent's threads and would wait for them forever.
    os.register_at_fork(after_in_child=_helpers.cache_clear)
