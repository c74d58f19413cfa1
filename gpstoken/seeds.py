"""`gpstoken seeds`: one command for several seeds, in processes that share one import of the libraries.

On a slow core the imports take a quarter of a minute, as long as a small training: a fork has them already.
"""

import argparse
import importlib
import multiprocessing
import sys
import time
from multiprocessing.process import BaseProcess

import torch

from gpstoken import cli

PLACE = "SEED"  # in the arguments, for the seed


def main(arguments: list[str]) -> int:
    """Runs `gpstoken COMMAND ...` once for every seed, at most --jobs at a time.

    Every seed is run, whether another has failed or not.

    Returns:
        The highest exit code of all; 1 of one that a signal has ended.
    """
    place = arguments.index("--") if "--" in arguments else len(arguments)
    own, command = arguments[:place], arguments[place + 1 :]
    parser = argparse.ArgumentParser(
        prog="gpstoken seeds",
        description=__doc__.splitlines()[0],
        usage=f"gpstoken seeds N [N ...] [--jobs N] [--threads N] -- COMMAND ... with {PLACE} where the seed goes",
    )
    parser.add_argument("seeds", nargs="+", type=int)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="of torch, each (default: 1)")
    options = parser.parse_args(own)
    if not command or not any(PLACE in argument for argument in command):
        parser.error(f"expected -- COMMAND ... with {PLACE} where the seed goes")
    for name in ("jobs", "threads"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name}: expected at least 1, got {getattr(options, name)}")
    importlib.import_module(cli.COMMANDS.get(command[0], "gpstoken.training.run"))
    waiting, running, codes = list(dict.fromkeys(options.seeds)), [], []
    context = multiprocessing.get_context("fork")
    try:
        while waiting or running:
            while waiting and len(running) < options.jobs:
                seed = str(waiting.pop(0))
                filled = [argument.replace(PLACE, seed) for argument in command]
                running.append(context.Process(target=_run, args=(filled, options.threads)))
                running[-1].start()
            running = _still_running(running, codes)
    finally:
        for process in running:  # only after an interrupt
            process.terminate()
    return max(1 if code < 0 else code for code in codes)


def _run(arguments: list[str], threads: int) -> None:
    torch.set_num_threads(threads)
    sys.exit(cli.main(arguments))


def _still_running(processes: list[BaseProcess], codes: list[int]) -> list[BaseProcess]:
    """Waits a moment; adds the exit codes of those that have ended."""
    time.sleep(0.2)
    ended = [process for process in processes if not process.is_alive()]
    codes += [process.exitcode for process in ended]
    return [process for process in processes if process not in ended]
