"""A command in a process of its own that need not import anything: a fork of this one, which has it all."""

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_only

from gpstoken import cli


def forked(work: Callable[[], int], log: Path) -> int:
    """Runs `work` in a fork, its output in `log`: the exit code, or minus the number of the signal that ended it."""
    return ended(started(work, log))


def ended(child: int) -> int:
    """Waits for a process that `started` gave: its exit code, as `forked` gives it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def started(work: Callable[[], int], log: Path) -> int:
    """Starts `work` in a fork, its output in `log`: the number of the process."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            with log.open("wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            sys.stdout = os.fdopen(1, "w", closefd=False)
            sys.stderr = os.fdopen(2, "w", closefd=False)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            torch.set_num_threads(1)
            code = work()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return child


def command(arguments: list[str], folder: Path, scratch: Path) -> Callable[[], int]:
    """`gpstoken ARGUMENTS` in `folder`, for `forked`."""

    def work() -> int:
        from gpstoken.training import run

        os.chdir(folder)
        run.SCRATCH = scratch
        sys.argv = ["gpstoken"]
        return cli.main(arguments)

    return work


def together(work: Callable[[], int | None], folder: Path, count: int = 2) -> None:
    """Runs `work` in `count` processes that find each other as those of Lightning's own launcher do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def member(rank: int) -> Callable[[], int]:
        def run() -> int:
            place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": 0, "WORLD_SIZE": count}
            os.environ |= {name: str(value) for name, value in {**place, "LOCAL_RANK": rank}.items()}
            rank_zero_only.rank = rank  # Lightning reads it when it is imported
            return work() or 0

        return run

    members = [started(member(rank), folder / f"rank_{rank}.txt") for rank in range(count)]
    codes = [ended(each) for each in members]
    assert codes == [0] * count, "\n".join(path.read_text()[-2000:] for path in folder.glob("rank_*.txt"))
