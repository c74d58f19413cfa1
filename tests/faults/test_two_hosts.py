"""`torchrun` on two hosts, as far as one machine goes: network namespaces with nothing between them but a cable."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from gpstoken.training.files import read_metrics
from tests.faults.forks import command, together
from tests.training.conftest import WARNINGS

REPOSITORY = Path(__file__).parents[2]
pytestmark = [pytest.mark.filterwarnings(warning) for warning in WARNINGS]


def namespaces_are_permitted() -> bool:
    if shutil.which("ip") is None:
        return False
    name = f"probe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode == 0
    return made and subprocess.run(["ip", "netns", "del", name], capture_output=True).returncode == 0


@pytest.mark.skipif(not namespaces_are_permitted(), reason="needs `ip` and the right to make network namespaces")
def test_two_hosts_train_as_two_processes_of_one(tiny_arguments, tmp_path):
    changes = {"trainer": {"max_steps": 6, "val_check_interval": 5}, "model": {"init_args": {"adversarial_start": 2}}}
    arguments = tiny_arguments(**changes)
    options = ["--trainer.devices", "2", "--output", str(tmp_path / "one")]
    together(command([*arguments, *options], REPOSITORY, tmp_path / "scratch"), tmp_path)
    program = ["tests/faults/two_hosts.sh", *arguments, "--trainer.devices", "1", "--trainer.num_nodes", "2"]
    environment = os.environ | {"GPSTOKEN_SCRATCH": str(tmp_path / "scratch"), "OMP_NUM_THREADS": "1"}
    program += ["--output", str(tmp_path / "two")]
    done = subprocess.run(program, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (torch.load(tmp_path / name / "last.ckpt", weights_only=True)["state_dict"] for name in ("one", "two"))
    for name, value in one.items():
        assert torch.equal(value, two[name]), name  # a sum of two has one order
    assert read_metrics(tmp_path / "one" / "metrics.csv") == read_metrics(tmp_path / "two" / "metrics.csv")
