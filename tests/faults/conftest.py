"""What the commands under fault start from."""

from pathlib import Path

import numpy as np
import pytest

from tests.faults.forks import command, forked
from tests.faults.kinds import faces
from tests.training.conftest import (  # noqa: F401  fixtures
    arguments_of_a_tiny_fit,
    fit,
    make_module,
    noise,
    one_thread,
    tiny_arguments,
)

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def made(tmp_path_factory, narrow_generator):
    """What commands start from, in one folder: a run of a tokenizer, a token cache, samples of two kinds."""
    folder = tmp_path_factory.mktemp("made")
    training = arguments_of_a_tiny_fit(folder, trainer={"max_steps": 2, "val_check_interval": 3})
    for arguments in (
        [*training, "--output", str(folder / "runs" / "row" / "seed0")],
        ["cache", "--tokenizer", str(narrow_generator["tokenizer"]), "-o", str(folder / "cache"), *faces(folder)],
    ):
        code = forked(command(arguments, REPOSITORY, folder / "scratch"), folder / "log")
        assert code == 0, (folder / "log").read_text()
    for name, seed in (("samples", 0), ("reference", 1)):
        pixels = np.random.default_rng(seed).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
        np.savez(folder / f"{name}.npz", pixels)
    return folder
