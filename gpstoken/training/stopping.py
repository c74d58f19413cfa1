"""SIGTERM, SIGUSR1 and Ctrl-C: the step under way is ended and saved; the exit code is then the signal's."""

import os
import signal
import threading
from types import FrameType

import torch
import torch.distributed as distributed
from lightning import Trainer


class Stopped(SystemExit):
    """Ends the command by a signal: exit code 128 + its number, as shells and schedulers expect."""

    def __init__(self, number: int) -> None:
        """Makes it; `number` of the signal."""
        super().__init__(128 + number)


class StopSignals:
    """Notes signals instead of dying of them; a second Ctrl-C ends the command at once."""

    def __init__(self) -> None:
        """Nothing has come yet; `install` begins to listen."""
        self.number = 0

    def install(self, *numbers: int) -> None:
        """Takes the place of the signals' handlers; Lightning puts the former ones back when the training ends."""
        if threading.current_thread() is threading.main_thread():
            for number in numbers:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as of a job that a shell runs in the background
                    signal.signal(number, self._note)

    def received(self, trainer: Trainer) -> int:
        """Number of the signal that any process of the training has received, 0 without one; the same on all of them.

        Every process must ask at the same steps. Of several signals it is the largest, SIGTERM before SIGUSR1.
        """
        if trainer.world_size > 1:
            number = torch.tensor(self.number, device=trainer.strategy.root_device)
            distributed.all_reduce(number, distributed.ReduceOp.MAX)
            self.number = int(number)
        return self.number

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number and number == signal.SIGINT:
            raise Stopped(number)
        self.number = number
        # Not by print: the signal may have come in the middle of one.
        os.write(2, b"\ngpstoken: this step is ended and saved first; Ctrl-C once more ends at once\n")
