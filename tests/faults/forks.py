"""A command in a process of its own that need not import anything: a fork of a server that has it all.

Not of the test's own process, which may have trained or profiled: torch then forbids a fork of it to differentiate.
"""

import multiprocessing
import os
import runpy
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import cloudpickle

LIMIT = 600  # seconds, for a busy machine
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.faults.warm"])


def forked(work: Callable[[], int | None], log: Path) -> int:
    """Runs `work` in a process, its output in `log`: the exit code, or minus the number of the signal that ended it."""
    return ended(started(work, log))


def started(work: Callable[[], int | None], log: Path) -> BaseProcess:
    """Starts `work` in a process, its output in `log`."""
    process = SERVER.Process(target=_run, args=(cloudpickle.dumps(work), log))
    process.start()
    return process


def ended(process: BaseProcess) -> int:
    """Waits for a process that `started` gave: its exit code, as `forked` gives it.

    One that hangs is killed, so that its test fails and the others go on.
    """
    process.join(LIMIT)
    if process.exitcode is None:
        process.kill()
        process.join()
    return process.exitcode


def command(arguments: list[str], folder: Path, scratch: Path) -> Callable[[], int]:
    """`gpstoken ARGUMENTS` in `folder`, for `forked`."""
    return partial(_command, arguments, folder, scratch)


def program(words: list[str], folder: Path, environment: dict[str, object]) -> Callable[[], None]:
    """`python WORDS` in `folder`, for `started`: a script and its arguments, which Lightning may start once more."""
    return partial(_program, words, folder, {name: str(value) for name, value in environment.items()})


def together(work: Callable[[], int | None], folder: Path, count: int = 2) -> None:
    """Runs `work` in `count` processes that find each other as those of Lightning's own launcher do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": 0, "WORLD_SIZE": count}
    members = [
        started(placed(work, rank, place | {"LOCAL_RANK": rank}), folder / f"rank_{rank}.txt") for rank in range(count)
    ]
    codes = [ended(each) for each in members]
    assert codes == [0] * count, "\n".join(path.read_text()[-2000:] for path in folder.glob("rank_*.txt"))


def placed(work: Callable[[], int | None], rank: int, environment: dict[str, object]) -> Callable[[], int | None]:
    """`work`, for `started`, as the process of a rank of which the environment tells."""
    return partial(_placed, work, rank, {name: str(value) for name, value in environment.items()})


def _placed(work: Callable[[], int | None], rank: int, environment: dict[str, str]) -> int | None:
    from lightning.pytorch.utilities import rank_zero_only

    os.environ |= environment
    rank_zero_only.rank = rank  # Lightning reads it when it is imported
    return work()


def _command(arguments: list[str], folder: Path, scratch: Path) -> int:
    from gpstoken import cli
    from gpstoken.commands import fit as run
    from gpstoken.training import recorder

    os.chdir(folder)
    run.SCRATCH, recorder.IMAGES_A_FILE = scratch, 16
    sys.argv = ["gpstoken"]
    return cli.main(arguments)


def _program(words: list[str], folder: Path, environment: dict[str, str]) -> None:
    from gpstoken.commands import fit as run

    os.chdir(folder)
    os.environ |= environment
    run.SCRATCH = Path(environment.get("GPSTOKEN_SCRATCH", run.SCRATCH))  # read when it is imported
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")


def _run(work: bytes, log: Path) -> None:
    import torch

    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, closefd=False) for number in (1, 2))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    code = 70
    try:
        code = cloudpickle.loads(work)() or 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
