"""Several command lines at a time, in processes that share one import of the libraries.

On a slow core the imports take a quarter of a minute, as long as a small training: a fork has them already.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

import torch


def run_all(run: Callable[[list[str]], int], lines: list[list[str]]) -> int:
    """Runs every command line in a process of its own, whether another has failed or not.

    All at once on CPUs, which they share; one after the other where there is a GPU. GPSTOKEN_JOBS names another number.

    Args:
        run: runs one; its modules should be imported already.
        lines: the command lines.

    Returns:
        The highest exit code of all; 1 of one that a signal has ended.

    Raises:
        ValueError: if GPSTOKEN_JOBS is no number of processes.
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
        return 1 if torch.cuda.is_available() else lines
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"GPSTOKEN_JOBS: expected a number of processes, got {text!r}")
    return min(int(text), lines)


def _run(run: Callable[[list[str]], int], line: list[str], threads: int) -> None:
    torch.set_num_threads(threads)
    sys.exit(run(line))


def _still_running(processes: list[BaseProcess], codes: list[int]) -> list[BaseProcess]:
    """Waits a moment; adds the exit codes of those that have ended."""
    time.sleep(0.2)
    ended = [process for process in processes if not process.is_alive()]
    codes += [process.exitcode for process in ended]
    return [process for process in processes if process not in ended]
