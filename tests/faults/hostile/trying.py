"""One hostile input through the readers of its format: refused, accepted, or a finding."""

import io
import resource
import signal
import sys
import time
import warnings
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from tests.faults.hostile.formats import FORMATS, Files

SECONDS = 5.0  # of the processor, which a busy machine has no more of
MEGABYTES = 300


class TooLongError(BaseException):
    """Ends a reader; no reader catches it."""


def _too_long(*_: Any) -> None:
    raise TooLongError


@contextmanager
def limited(seconds: float = SECONDS):
    """Raises `TooLongError` in what takes longer, as soon as Python is asked again."""
    before = signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def write(folder: Path, files: Files, there: Files) -> None:
    """Writes the files that are not there yet as they are; `there` is what has been written before."""
    for name, content in files.items():
        if there.get(name) is not content:
            place = folder / name
            if not there:
                place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
    for name in there.keys() - files.keys():
        (folder / name).unlink()
    there.clear()
    there.update(files)


def attempt(name: str, folder: Path, number: int | None = None) -> tuple[bool, str | None]:
    """Reads what lies in a folder as a format.

    Args:
        name: of the format.
        folder: where its files lie.
        number: one of the readers is asked, in turn; None: all.

    Returns:
        (whether any reader accepted it; what is wrong with how it was read, None where nothing is).
    """
    accepted = False
    readers = FORMATS[name].readers
    for reader in readers if number is None else [readers[number % len(readers)]]:
        before, began = _peak(), time.process_time()
        try:
            with limited(), warnings.catch_warnings(), redirect_stderr(io.StringIO()):
                warnings.simplefilter("ignore")
                reader(folder)
            accepted = True
        except (ValueError, OSError) as error:
            told = str(error)
            if str(folder) not in told:
                return accepted, f"names no file: {type(error).__name__}: {told[:150]!r}"
            if "\n" in told.strip() or len(told) > 1500:
                return accepted, f"not one short line: {told[:150]!r}"
        except TooLongError:
            return accepted, f"takes longer than {SECONDS:g} s"
        except BaseException as error:
            return accepted, f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
        if time.process_time() - began > SECONDS:
            return accepted, f"takes {time.process_time() - began:.1f} s"
        if _peak() - before > MEGABYTES * 1024:
            return accepted, f"takes {(_peak() - before) // 1024} MB"
    return accepted, None


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
