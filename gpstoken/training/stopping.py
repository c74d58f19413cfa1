"""SIGTERM and Ctrl-C: the step under way is ended and saved, then the command ends with the signal's exit code."""

import os
import signal
import threading
from types import FrameType

from lightning import Trainer


class Stopped(SystemExit):
    """Ends the command by a signal: exit code 128 + its number, as shells and schedulers expect."""

    def __init__(self, number: int) -> None:
        """Makes it; `number` of the signal."""
        super().__init__(128 + number)


class StopSignals:
    """Notes SIGTERM and SIGINT instead of dying of them; a second Ctrl-C ends the command at once."""

    def __init__(self) -> None:
        """Nothing has come yet; `install` begins to listen."""
        self.number = 0

    def install(self) -> None:
        """Takes the place of the handlers; Lightning puts the former ones back when the training ends."""
        self.number = 0
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as of a job that a shell runs in the background
                    signal.signal(number, self._note)

    def received(self, trainer: Trainer) -> int:
        """Number of the signal that any process of the training has received, 0 without one; the same on all of them.

        Every process must ask at the same steps.
        """
        if trainer.world_size > 1 and trainer.strategy.reduce_boolean_decision(bool(self.number), all=False):
            self.number = self.number or signal.SIGTERM
        return self.number

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number and number == signal.SIGINT:
            raise Stopped(number)
        self.number = number
        # Not by print: the signal may have come in the middle of one.
        os.write(2, b"\ngpstoken: this step is ended and saved first; Ctrl-C once more ends at once\n")
