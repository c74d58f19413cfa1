"""Work of compiled code over the images of a batch, in as many threads as torch may use."""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch

SILENCE = 2.0  # seconds that a compilation may take before it is said


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
def announce_compilation() -> None:
    """Has a line on stderr say so when kernels are compiled for more than two seconds; for modules that import numba.

    What lies in numba's cache is not compiled, and nothing is said.
    """
    # No import: numba may be missing, and this module is not one of a backend that needs it.
    events = sys.modules["numba"].core.event
    events.Listener.register(_Announcement)
    events.register("numba:compile", _Announcement())


class _Announcement:
    """A listener to numba's compilations, of which one may start others."""

    def __init__(self) -> None:
        self._depth, self._said, self._lock = 0, False, threading.Lock()
        self._timer = threading.Timer(SILENCE, self._say)

    def notify(self, event: Any) -> None:
        """Called by numba at the start and at the end of each."""
        self._depth += 1 if event.is_start else -1
        if event.is_start and self._depth == 1 and not self._said:
            self._timer = threading.Timer(SILENCE, self._say)
            self._timer.daemon = True
            self._timer.start()
        elif self._depth == 0:
            self._timer.cancel()

    def _say(self) -> None:
        with self._lock:  # two timers may have run out
            if self._said:
                return
            self._said = True
        line = "gpstoken: compiling the kernels for this processor, which takes up to half a minute the first time"
        print(line, file=sys.stderr, flush=True)


@cache
def _helpers() -> ThreadPoolExecutor:
    """Threads that wait for work: to start them anew for each call takes a millisecond on a virtual machine."""
    return ThreadPoolExecutor(os.cpu_count())


if hasattr(os, "register_at_fork"):
    # A forked process (a loader's worker) has none of its parent's threads, and would wait for them for ever.
    os.register_at_fork(after_in_child=_helpers.cache_clear)
