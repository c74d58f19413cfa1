"""SLURM's request to save (SIGUSR1) that comes while a training is still being built: it is noted, and waits."""

import signal
import threading
from types import FrameType

_noted = threading.Event()


def note() -> None:
    """Begins to note; without a handler the signal would end the process, and SLURM would not start the job again."""
    _noted.clear()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, _note)


def noted() -> bool:
    """Whether it has come since."""
    return _noted.is_set()


def forget() -> None:
    """The signal has its usual effect again, where nobody else has taken it over."""
    if signal.getsignal(signal.SIGUSR1) is _note:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def _note(number: int, frame: FrameType | None) -> None:
    _noted.set()
