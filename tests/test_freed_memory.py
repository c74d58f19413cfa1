"""Freed memory is used again: the system hands out pages for the first arrays, and hardly any for later ones."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
from gpstoken import freed_memory
if sys.argv[1] == "keep":
    assert freed_memory.keep()
def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)  # 64 MiB, which are freed again
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
# A little of each array stays in the cache of its thread, until seven are there: only then the rest is one piece again.
print(*[pages() for _ in range(20)])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_later_arrays_take_no_new_pages():
    counts = {}
    for how in ("keep", "leave"):
        run = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
        counts[how] = [int(word) for word in run.stdout.split()]
    # 64 MiB are 16,384 pages of 4 KiB, or 32 of 2 MiB where the system has large ones.
    assert counts["keep"][0] >= 16 and min(counts["leave"]) >= 16
    assert sum(counts["keep"][10:]) < sum(counts["leave"][10:]) / 2
