"""One line is what a hostile file may come to."""

import resource
import time
from contextlib import contextmanager

import pytest

BOMB = "\n".join(
    ["a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]"]
    + [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 9)]
)
DEEP_LIST = "[" * 5000 + "]" * 5000


@contextmanager
def one_line(place, seconds=5.0, megabytes=200):
    """Expects a ValueError of one line that names the place, soon and in little memory."""
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError) as caught:
        yield caught
    assert str(place) in str(caught.value) and "\n" not in str(caught.value).strip()
    assert len(str(caught.value)) < 1500
    assert time.process_time() - began < seconds
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < megabytes * 1024
