"""A command in a process of its own that need not import anything: a fork of a server that has it all.

Not of the test's own process, which may have trained or profiled: torch then forbids a fork of it to differentiate.
"""

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([
    "datamodules", "gpstoken.generate", "gpstoken.score", "gpstoken.training.cache", "gpstoken.training.evaluate",
    "gpstoken.training.generator_module", "gpstoken.training.run", "tests.faults.kills",
])  # fmt: skip


def forked(work: Callable[[], int], log: Path) -> int:
    """Runs `work`, which can be pickled, in a process; its output goes to `log`.

    Returns:
        The exit code, or minus the number of the signal that ended it.
    """
    process = SERVER.Process(target=_run, args=(work, log))
    process.start()
    process.join()
    return process.exitcode


def command(arguments: list[str], folder: Path, scratch: Path) -> Callable[[], int]:
    """`gpstoken ARGUMENTS` in `folder`, for `forked`."""
    return partial(_command, arguments, folder, scratch)


def _command(arguments: list[str], folder: Path, scratch: Path) -> int:
    from gpstoken import cli
    from gpstoken.training import recorder, run

    os.chdir(folder)
    run.SCRATCH, recorder.IMAGES_A_FILE = scratch, 16
    sys.argv = ["gpstoken"]
    return cli.main(arguments)


def _run(work: Callable[[], int], log: Path) -> None:
    import torch

    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    code = 70
    try:
        code = work()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
