"""The end of a training by several processes of which one is lost: one line that names it, and the others stop."""

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

PERIOD = 0.2  # seconds between two looks at the other processes
GRACE = 5.0  # seconds for a process to end by itself, with a line of its own, after another has
_over = threading.Event()  # nothing is watched any more


class Lost(SystemExit):
    """Ends the command because another process of the training has ended."""


def watch_processes(trainer: Trainer) -> None:
    """Has every process of a training by several watch the others, in a thread of its own.

    The first process of a host watches those that it starts. They watch their parent: the first process, the agent of
    torchrun or that of SLURM. Nobody can rely on the collective operations alone: those of gloo fail at once when a
    process is lost, but those of NCCL wait for half an hour.

    Args:
        trainer: before its training.
    """
    if trainer.world_size == 1:
        return
    folder = trainer.default_root_dir
    # Lightning's own observer kills the first process without a word.
    subprocess_script._launch_process_observer = lambda started: _begin(_watch_children, started, folder)
    if trainer.strategy.cluster_environment.creates_processes_externally:
        _begin(_watch_parent, os.getppid(), trainer.local_rank, folder)


@contextmanager
def lost_connections() -> Iterator[None]:
    """Waits for the thread's line where a collective operation fails; without one, says so itself.

    Raises:
        Lost: instead of the error of the operation.
    """
    _over.clear()
    try:
        yield
    except (RuntimeError, distributed.DistError) as error:
        if not (isinstance(error, distributed.DistError) or "gloo" in str(error).lower()):
            raise
        time.sleep(GRACE + 5 * PERIOD)  # the thread ends this process if it knows who is lost
        rank = distributed.get_rank() if distributed.is_initialized() else os.environ.get("RANK", "?")
        _say(f"process {rank} of the training has lost another one ({str(error).splitlines()[0]})")
        raise Lost(1) from None
    finally:
        _over.set()


def _watch_children(started: list[subprocess.Popen], folder: str) -> None:
    while not _over.wait(PERIOD):
        for number, process in enumerate(started, start=1):
            code = process.poll()
            # An exit code is of an error that was said, or of a signal that all have saved for: this process ends too.
            if code and not (code > 0 and _over.wait(GRACE)):
                for other in started:
                    other.kill()
                _end(f"process {number}", code, folder)


def _watch_parent(parent: int, local_rank: int, folder: str) -> None:
    while os.getppid() == parent:
        if _over.wait(PERIOD):
            return
    if not _over.wait(GRACE):  # else it has ended a moment earlier, its work done
        # One line is enough, that of the first process whose parent is lost.
        _end("process 0" if local_rank else "the launcher", None, folder, silent=local_rank > 1)


def _begin(work: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=work, args=arguments, daemon=True).start()


def _end(who: str, code: int | None, folder: str, silent: bool = False) -> None:
    how = "has ended"
    if code is not None:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"has ended with exit code {code}"
    if not silent:
        _say(f"{who} of the training {how}; the same command goes on from the last checkpoint in {folder}")
    os._exit(1)  # the main thread may wait for the lost process, and would not notice


def _say(message: str) -> None:
    print(f"gpstoken: {message}", file=sys.stderr, flush=True)
