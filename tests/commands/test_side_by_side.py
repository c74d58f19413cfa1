"""How many command lines run at a time, and what becomes of their exit codes."""

import time

import pytest
import torch

from gpstoken.commands.side_by_side import run_all
from tests.threads import torch_threads


def run(line: list[str]) -> int:
    """Notes when it begins and ends, and the threads that it has, in a file."""
    path, code = line
    with open(path, "a", buffering=1) as file:
        file.write(f"begins with {torch.get_num_threads()}\n")
        time.sleep(1.5)
        file.write("ends\n")
    return int(code)


@pytest.mark.parametrize(
    ("count", "jobs", "order"),
    [
        (1, None, ["begins with 1", "ends"] * 2),  # one thread: one after the other
        (4, None, ["begins with 2"] * 2 + ["ends"] * 2),  # both at once, with half of the threads each
        (4, "1", ["begins with 4", "ends"] * 2),
        (1, "2", ["begins with 1"] * 2 + ["ends"] * 2),
    ],
)
def test_as_many_at_once_as_there_are_threads(count, jobs, order, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("GPSTOKEN_JOBS", raising=False)
    if jobs:
        monkeypatch.setenv("GPSTOKEN_JOBS", jobs)
    file = tmp_path / "order.txt"
    with torch_threads(count):
        assert run_all(run, [[str(file), "0"], [str(file), "2"]]) == 2
    assert file.read_text().splitlines() == order


def test_another_number_is_refused(monkeypatch):
    monkeypatch.setenv("GPSTOKEN_JOBS", "two")
    with pytest.raises(ValueError, match="GPSTOKEN_JOBS: expected a number of processes, got 'two'"):
        run_all(run, [["", "0"]])
