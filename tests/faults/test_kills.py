"""Every command is killed at places where it touches the disk, and run again: nothing is lost, nothing is left.

Two kills a command in the suite; `KILLS=20 pytest tests/faults/test_kills.py` is a campaign.
"""

import os
import random
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

from datamodules import prepare
from tests.datamodules.conftest import package_contents, packages  # noqa: F401  fixtures
from tests.faults.forks import command, forked
from tests.faults.kills import content, fresh, killed_at, points_of
from tests.training.conftest import WARNINGS, arguments_of_a_tiny_fit

KILLS = int(os.environ.get("KILLS", "2"))
REPOSITORY = Path(__file__).parents[2]
pytestmark = [pytest.mark.filterwarnings(warning) for warning in WARNINGS]
DATA = {"image_size": 32, "epoch_length": 20, "batch_size": 8, "working_size": 48, "views": "centre"}


@pytest.fixture(scope="module")
def made(tmp_path_factory, narrow_generator):
    """What commands start from, in one folder: a run of a tokenizer, a token cache, samples of two kinds."""
    folder = tmp_path_factory.mktemp("made")
    fit = arguments_of_a_tiny_fit(folder, trainer={"max_steps": 2, "val_check_interval": 3})
    for arguments in (
        [*fit, "--output", str(folder / "runs" / "row" / "seed0")],
        ["cache", "--tokenizer", str(narrow_generator["tokenizer"]), "-o", str(folder / "cache"), *classes(folder)],
    ):
        code = forked(command(arguments, REPOSITORY, folder / "scratch"), folder / "log")
        assert code == 0, (folder / "log").read_text()
    for name, seed in (("samples", 0), ("reference", 1)):
        pixels = np.random.default_rng(seed).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
        np.savez(folder / f"{name}.npz", pixels)
    return folder


def classes(folder: Path) -> list[str]:
    options = ["--data", "experiments/_data/embedded_classes.yaml"]
    options += [part for name, value in DATA.items() for part in (f"--data.init_args.{name}", str(value))]
    return [*options, "--data.init_args.prepared", str(folder / "prepared")]


def fit(made, place, generators):
    changes = {"trainer": {"max_steps": 3, "val_check_interval": 2}, "model": {"init_args": {"adversarial_start": 2}}}
    arguments = arguments_of_a_tiny_fit(made, **changes)
    every_step = made / "every_step.yaml"
    row = yaml.safe_load(Path("experiments/_train/tokenizer_laptop.yaml").read_text())
    for each in row["callbacks"]:
        if each["class_path"].endswith("LastCheckpoint"):
            each["init_args"] = {"every_n_steps": 1}
    every_step.write_text(yaml.safe_dump({"trainer": {"callbacks": row["callbacks"]}}))
    return [*arguments, "-c", str(every_step), "--output", str(place / "row")]


def fit_generator(made, place, generators):
    network = {"channels": 5, "shape": [8], "width": 16, "depth": 1, "heads": 2, "num_classes": 5}
    changes = {
        "model": {"init_args": {"network": {"init_args": network}}},
        "data": {"init_args": {"root": str(made / "cache"), "batch_size": 4}},
        "trainer": {"max_steps": 3, "val_check_interval": 2, "limit_val_batches": 1},
    }
    path = made / "generator.yaml"
    path.write_text(yaml.safe_dump(changes))
    rows = ("experiments/generators/layout.yaml", "experiments/_scale/laptop_generators.yaml", str(path))
    return ["fit", *(part for row in rows for part in ("-c", row)), "--output", str(place / "layout")]


def cache(made, place, generators):
    tokenizer = str(generators["tokenizer"])
    return ["cache", "--tokenizer", tokenizer, "-o", str(place / "cache"), "--shard-size", "8", *classes(made)]


def evaluate(made, place, generators):
    run, data = str(made / "runs" / "row" / "seed0"), ["--data", "experiments/_data/embedded_faces.yaml"]
    return ["evaluate", run, "-o", str(place / "row.json"), "--row", "row", "--scale", "tiny", "--networks", *data]


def generate(made, place, generators, name="samples"):
    stages = [str(generators["texture"]), "--layout", str(generators["layout"])]
    return ["generate", *stages, "-n", "40", "--batch-size", "16", "--steps", "2", "-o", str(place / name)]


def generate_archive(made, place, generators):
    return generate(made, place, generators, "samples.npz")


def score(made, place, generators):
    files = [str(made / "samples.npz"), "--reference", str(made / "reference.npz")]
    return ["score", *files, "--network", "efficientnet_lite0", "-o", str(place / "score.json")]


@pytest.mark.parametrize("older", [False, True], ids=["new", "over an older one"])
@pytest.mark.parametrize("kind", [fit, fit_generator, cache, evaluate, generate, generate_archive, score])
def test_a_killed_command_run_again_ends_as_if_there_had_been_no_kill(
    made, tmp_path, narrow_generator, monkeypatch, kind, older
):
    if older and kind in (cache, generate, generate_archive):
        pytest.skip("what is complete is not made again")
    monkeypatch.chdir(REPOSITORY)
    place, log, before = tmp_path / "place", tmp_path / "log", None
    work = command(kind(made, place, narrow_generator), REPOSITORY, tmp_path / "scratch")
    fresh(place, None)
    assert forked(work, log) == 0, log.read_text()
    if older:
        before = fresh(tmp_path / "older", place)
    fresh(place, before)
    assert forked(points_of(work, tmp_path / "points"), log) == 0, log.read_text()
    expected, points = content(place), int((tmp_path / "points").read_text())
    kept = content(before) if older else {}
    chosen = random.Random(f"{kind.__name__} {older}").sample(range(points), min(KILLS, points))
    for point in sorted(chosen):
        fresh(place, before)
        assert forked(killed_at(work, point), log) == -9, (point, log.read_text())
        # What was there is there until the new one is, whole, if not under its own name.
        old = {re.sub(r"^\.(\w+)\.old/", r"\1/", name): value for name, value in content(place).items()}
        assert all(old.get(name) in (value, expected[name]) for name, value in kept.items()), point
        assert forked(work, log) == 0, (point, log.read_text())
        assert content(place) == expected, point
        assert [path.name for path in tmp_path.glob("scratch/*")] == [], point


def prepare_of(packages, folder):  # noqa: F811
    requirements, archives = packages
    prepare.read_requirements = lambda: requirements
    prepare.fetch = lambda wanted, cache: archives
    return prepare.main(["-o", str(folder)])


def test_prepare(packages, tmp_path):  # noqa: F811
    place, log = tmp_path / "place", tmp_path / "log"
    work = partial(prepare_of, packages, place / "embedded")
    fresh(place, None)
    assert forked(points_of(work, tmp_path / "points"), log) == 0, log.read_text()
    expected, points = content(place), int((tmp_path / "points").read_text())
    for point in sorted(random.Random("prepare").sample(range(points), min(KILLS, points))):
        for before in (None, place):
            before and fresh(tmp_path / "older", place)
            fresh(place, before and tmp_path / "older")
            assert forked(killed_at(work, point), log) == -9, (point, log.read_text())
            assert forked(work, log) == 0, (point, log.read_text())
            assert content(place) == expected, point
