"""Handles the loss of one of several processes: one line names it, and the others stop."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as distributed
from lightning import Trainer
from lightning.pytorch.strategies.launchers import subprocess_script

PERIOD = 0.2  # seconds between two checks of the other processes
GRACE = 5.0  # seconds for a process to end by itself, with its own message, after another has ended
_over = threading.Event()  # watching has ended
_begun = threading.Event()  # watching has begun


class Lost(SystemExit):
    """Ends the command because another process of it has ended."""


def watch_processes(trainer: Trainer, work: str, advice: str) -> None:
    """Makes every process of a distributed run watch the others in a separate thread, once per command.

    The first process of a host watches those that it starts. They watch their parent: the first process, the agent of
    torchrun or that of SLURM. Collective operations do not suffice: gloo's fail at once when a process is lost, but
    NCCL's wait for half an hour.

    Args:
        trainer: the trainer, before it runs.
        work: "training" or "evaluation", for the message.
        advice: how to resume, for the message.
    """
    if trainer.world_size == 1 or _begun.is_set():
        return
    _begun.set()
    # Lightning's own observer kills the first process without a word.
    subprocess_script._launch_process_observer = lambda started: _begin(_watch_children, started, work, advice)
    if trainer.strategy.cluster_environment.creates_processes_externally:
        _begin(_watch_parent, os.getppid(), trainer.local_rank, work, advice)


@contextmanager
def lost_connections(work: str) -> Iterator[None]:
    """Waits for the thread's message when a collective operation fails; if there is none, prints its own.

    Args:
        work: "training" or "evaluation", for the message.

    Raises:
        Lost: instead of the operation's error.
    """
    _over.clear()
    _begun.clear()
    try:
        yield
    except (RuntimeError, distributed.DistError) as error:
        if not (isinstance(error, distributed.DistError) or "gloo" in str(error).lower()):
            raise
        time.sleep(GRACE + 5 * PERIOD)  # the thread ends this process if it knows who is lost
        rank = distributed.get_rank() if distributed.is_initialized() else os.environ.get("RANK", "?")
        _say(f"process {rank} of the {work} has lost another one ({str(error).splitlines()[0]})")
        raise Lost(1) from None
    finally:
        _over.set()


def _watch_children(started: list[subprocess.Popen], work: str, advice: str) -> None:
    while not _over.wait(PERIOD):
        for number, process in enumerate(started, start=1):
            code = process.poll()
            # An exit code means a printed error, or a signal for which all have saved: this process ends, too.
            if code and not (code > 0 and _over.wait(GRACE)):
                for other in started:
                    other.kill()
                _end(f"process {number} of the {work} {_how(code)}; {advice}")


def _watch_parent(parent: int, local_rank: int, work: str, advice: str) -> None:
    while os.getppid() == parent:
        if _over.wait(PERIOD):
            return
    if not _over.wait(GRACE):  # else the parent has finished a moment earlier
        # One message is enough, from the first process whose parent is lost.
        who = "process 0" if local_rank else "the launcher"
        _end(f"{who} of the {work} has ended; {advice}" if local_rank <= 1 else None)


def _begin(watch: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=watch, args=arguments, daemon=True).start()


def _how(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"has ended with exit code {code}"


def _end(line: str | None) -> None:
    if line is not None:
        _say(line)
    os._exit(1)  # the main thread may be waiting for the lost process


def _say(message: str) -> None:
    print(f"gpstoken: {message}", file=sys.stderr, flush=True)
