"""Every command is killed at places where it touches the disk, and run again: nothing is lost, nothing is left.

A kill a command in the suite; `KILLS=20 pytest tests/faults/test_kills.py` is a campaign.
"""

import os
import random
import re
from functools import partial
from pathlib import Path

import pytest

from datamodules import prepare
from tests.datamodules.conftest import package_contents, packages  # noqa: F401  fixtures
from tests.faults.forks import command, forked
from tests.faults.kills import content, fresh, killed_at, points_of
from tests.faults.kinds import cache, evaluate, fit, fit_generator, generate, generate_archive, score
from tests.training.conftest import WARNINGS

KILLS = int(os.environ.get("KILLS", "1"))
REPOSITORY = Path(__file__).parents[2]
pytestmark = [pytest.mark.filterwarnings(warning) for warning in WARNINGS]


@pytest.mark.parametrize("kind", [fit, fit_generator, cache, evaluate, generate, generate_archive, score])
def test_a_killed_command_run_again_ends_as_if_there_had_been_no_kill(
    made, tmp_path, narrow_generator, monkeypatch, kind
):
    monkeypatch.chdir(REPOSITORY)
    place, log = tmp_path / "place", tmp_path / "log"
    work = command(kind(made, place, narrow_generator), REPOSITORY, tmp_path / "scratch")
    # Where nothing was, then over an older one; what is complete is not made again.
    before = [None] if kind in (cache, generate, generate_archive) else [None, tmp_path / "older"]
    for older in before:
        fresh(place, older)
        assert forked(points_of(work, tmp_path / "points"), log) == 0, log.read_text()
        expected, points = content(place), int((tmp_path / "points").read_text())
        kept = content(older) if older else {}
        if not older:
            fresh(tmp_path / "older", place)
        chosen = random.Random(f"{kind.__name__} {older is not None}").sample(range(points), min(KILLS, points))
        for point in sorted(chosen):
            fresh(place, older)
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
