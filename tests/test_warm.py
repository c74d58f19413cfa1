"""tools/warm.py: one import for many calls of `gpstoken`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What a shell under tools/warm.py has seen; one start for all tests, since it imports everything."""
    folder = tmp_path_factory.mktemp("warm")
    script = f"""
        cd {folder}
        which gpstoken > which
        gpstoken encode nothing.jpg -o out --checkpoint no.ckpt 2> error; echo $? > code
        echo | WORD=hello OMP_NUM_THREADS=2 gpstoken nonsense > /dev/null 2> refused; echo $? > refused_code
        (cd {ROOT} && gpstoken generate-curve grid --scale paper --seeds 3 5) 2> seeds; echo $? > seeds_code
        GPSTOKEN_WARM= PATH=$(dirname $(which gpstoken)):{folder}:$PATH gpstoken there > other; echo $? >> other
        exit 7
    """
    (folder / "gpstoken").write_text("#!/bin/sh\necho the next one: $1\nexit 4\n")
    (folder / "gpstoken").chmod(0o755)
    command = [sys.executable, "tools/warm.py", "bash", "-c", script]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    return {path.name: path.read_text().strip() for path in folder.iterdir()} | {"code of all": done.returncode}


def test_the_command_finds_the_shim_and_its_exit_code_is_passed_on(said):
    assert said["which"] == str(ROOT / "tools/bin/gpstoken")
    assert said["code of all"] == 7


def test_a_fork_works_in_the_callers_folder_and_answers_with_its_exit_code(said):
    assert said["code"] == "2" and "nothing.jpg" in said["error"]
    assert said["refused_code"] == "2" and "nonsense" in said["refused"]


def test_every_seed_is_run_and_the_worst_exit_code_is_the_answer(said):
    assert said["seeds_code"] == "2"
    assert sorted(line.partition(": no snapshots")[0] for line in said["seeds"].splitlines()) == [
        f"gpstoken: runs/paper/generators/grid/seed{seed}" for seed in (3, 5)
    ]


def test_with_an_empty_variable_the_next_program_of_the_path_is_taken(said):
    assert said["other"].split("\n") == ["the next one: there", "4"]
