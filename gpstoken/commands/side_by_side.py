"""Runs several command lines in parallel, in processes that share one import of the libraries.

On a slow core the imports take a quarter of a minute, as long as a small training run; a fork has them already.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

import torch


def run_all(run: Callable[[list[str]], int], lines: list[list[str]]) -> int:
    """Runs every command line in its own process, even if another has failed.

    With a GPU they run one after the other. On CPUs as many run at once as torch may use threads, and share these: a
    core that takes turns with three trainings is slower than with one after the other, because each training finds the
    caches filled by another. GPSTOKEN_JOBS sets another number of parallel processes.

    Args:
        run: runs one command line; its modules should be imported already.
        lines: the command lines.

    Returns:
        The highest exit code; a process that a signal has ended counts as 1.

    Raises:
        ValueError: if GPSTOKEN_JOBS is not a number of processes.
    """
    jobs = _jobs(len(lines))
    threads = max(1, torch.get_num_threads() // jobs)
    waiting, running, codes = list(lines), [], []
    context = multiprocessing.get_context("fork")
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(context.Process(target=_run, args=(run, waiting.pop(0), threads)))
                running[-1].start()
            running = _still_running(running, codes)
    finally:
        for process in running:  # only after an interrupt
            process.terminate()
    return max(1 if code < 0 else code for code in codes)


def _jobs(lines: int) -> int:
    text = os.environ.get("GPSTOKEN_JOBS")
    if text is None:
        return 1 if torch.cuda.is_available() else min(lines, torch.get_num_threads())
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"GPSTOKEN_JOBS: expected a number of processes, got {text!r}")
    return min(int(text), lines)


def _run(run: Callable[[list[str]], int], line: list[str], threads: int) -> None:
    torch.set_num_threads(threads)
    sys.exit(run(line))


def _still_running(processes: list[BaseProcess], codes: list[int]) -> list[BaseProcess]:
    """Waits a moment, adds the exit codes of ended processes, and returns the others."""
    time.sleep(0.2)
    ended = [process for process in processes if not process.is_alive()]
    codes += [process.exitcode for process in ended]
    return [process for process in processes if process not in ended]
