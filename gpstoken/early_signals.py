"""Records SLURM's request to save (SIGUSR1) if it arrives before the training has started."""

import signal
import threading
from types import FrameType

_noted = threading.Event()


def note() -> None:
    """Starts recording; without a handler the signal would end the process, and SLURM would not restart the job."""
    _noted.clear()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, _note)


def noted() -> bool:
    """Whether the signal has arrived since `note`."""
    return _noted.is_set()


def forget() -> None:
    """Restores the signal's default effect, unless another handler has replaced this one."""
    if signal.getsignal(signal.SIGUSR1) is _note:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def _note(number: int, frame: FrameType | None) -> None:
    _noted.set()
