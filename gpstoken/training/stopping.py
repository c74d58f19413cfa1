"""SIGTERM, SIGUSR1 and Ctrl-C: the current step is finished and saved; the exit code is then the signal's."""

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
        """Makes it; `number` is that of the signal."""
        super().__init__(128 + number)


class StopSignals:
    """Records signals instead of ending the process; a second Ctrl-C ends the command at once."""

    def __init__(self) -> None:
        """Starts without a signal; `install` sets the handlers."""
        self.number = 0

    def install(self, *numbers: int) -> None:
        """Replaces the signals' handlers; Lightning restores the former handlers when the training ends."""
        if threading.current_thread() is threading.main_thread():
            for number in numbers:
                if signal.getsignal(number) is not signal.SIG_IGN:  # ignored, as in a background job of a shell
                    signal.signal(number, self._note)

    def received(self, trainer: Trainer) -> int:
        """Number of the signal that any process of the training has received, or 0; it is the same on all processes.

        Every process must call it at the same steps. Of several signals the largest number counts, SIGTERM before
        SIGUSR1.
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
        # Not by print, because the signal may have interrupted a print.
        os.write(2, b"\ngpstoken: this step is ended and saved first; Ctrl-C once more ends at once\n")
