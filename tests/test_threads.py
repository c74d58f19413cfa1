"""Runs of work in threads."""

import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from gpstoken.threads import in_runs
from tests.threads import torch_threads


@pytest.fixture(autouse=True)
def four_threads():
    with torch_threads(4):
        yield


@pytest.mark.parametrize(
    ("count", "threads", "expected"),
    [
        (8, None, [(0, 2), (2, 4), (4, 6), (6, 8)]),
        (5, 2, [(0, 2), (2, 5)]),
        (2, None, [(0, 1), (1, 2)]),
        (3, 1, [(0, 3)]),
        (0, None, [(0, 0)]),
    ],
)
def test_runs_make_up_the_whole(count, threads, expected):
    runs = []
    in_runs(lambda start, stop: runs.append((start, stop)), count, threads)
    assert sorted(runs) == expected


def test_an_error_of_any_run_is_raised():
    def work(start, stop):
        if stop == 4:
            raise ValueError("the last one")

    with pytest.raises(ValueError, match="the last one"):
        in_runs(work, 4)


def _forked(queue):
    runs = []
    in_runs(lambda start, stop: runs.append(stop - start), 8)
    queue.put(sum(runs))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
def test_a_forked_process_has_threads_of_its_own():
    in_runs(lambda start, stop: None, 8)  # now the helpers of this process run
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_forked, args=(queue,))
    process.start()
    assert queue.get(timeout=600) == 8
    process.join()


PROGRAM = """
import sys, time
import numba
import numba.core.types.functions
from gpstoken import threads
dispatcher = numba.core.types.functions.Dispatcher
resolve = dispatcher.get_call_type
def slow(self, *arguments):  # a compilation that takes a while, on any machine
    time.sleep(0.4)
    return resolve(self, *arguments)
dispatcher.get_call_type = slow
@numba.njit
def inner(x):
    return x + 1
@numba.njit
def outer(x):
    return inner(x) * 2
threads.announce_compilation()
threads.SILENCE = 60
assert outer(1) == 4
print("nothing so far", file=sys.stderr)
threads.SILENCE = 0.1
assert outer(1.0) == 4.0 and outer(1j) == 2 + 2j
"""


def test_a_compilation_that_takes_long_is_said_once():
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    first, line = done.stderr.splitlines()
    assert first == "nothing so far" and line.startswith("gpstoken: compiling the kernels for this processor")
