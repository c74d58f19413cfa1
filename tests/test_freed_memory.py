"""Freed memory is used again: the system hands out pages for the first array, and none for the next."""

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
print(pages(), pages())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_the_second_array_takes_no_new_pages():
    counts = {}
    for how in ("keep", "leave"):
        run = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
        counts[how] = [int(word) for word in run.stdout.split()]
    # 64 MiB are 16,384 pages of 4 KiB, or 32 of 2 MiB where the system has large ones.
    assert counts["keep"][0] >= 16 and counts["leave"][1] >= 16
    assert counts["keep"][1] < counts["leave"][1] / 10
