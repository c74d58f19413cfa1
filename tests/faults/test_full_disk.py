"""A real file system that is full, or read-only: one line, and whatever was there is there."""

import subprocess
from pathlib import Path

import pytest

from tests.faults.forks import command, forked
from tests.faults.kills import content, fresh
from tests.faults.kinds import cache, evaluate, fit, fit_generator, generate, generate_archive, score
from tests.training.conftest import WARNINGS

REPOSITORY = Path(__file__).parents[2]
KINDS = [fit, fit_generator, cache, evaluate, generate, generate_archive, score]
COMPLETE = (cache, generate, generate_archive)  # what is complete is not made again
pytestmark = [pytest.mark.filterwarnings(warning) for warning in WARNINGS]


def mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, of 64 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)):
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, free: int) -> Path:
    """A file that leaves `free` bytes on the disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(2**20)):
                pass
        except OSError:
            pass
    with filler.open("r+b") as file:
        file.truncate(filler.stat().st_size - free)
    return filler


def refused(log: Path, code: int, *, place: Path) -> None:
    """Exit code 2 and one line that names the place."""
    text = log.read_text()
    said = [line for line in text.splitlines() if line.startswith("gpstoken: ")]
    lines = [line for line in said if str(place) in line]  # others are notes, on what is computed
    assert (code, lines) == (2, said[-1:]), text
    assert "Traceback" not in text and len(lines[0]) < 400, text


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk(made, tmp_path, disk, narrow_generator, monkeypatch, kind):
    monkeypatch.chdir(REPOSITORY)
    place, log = disk / "place", tmp_path / "log"
    work = command(kind(made, place, narrow_generator), REPOSITORY, tmp_path / "scratch")
    place.mkdir()
    assert forked(work, log) == 0, log.read_text()
    expected = content(place)
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    # Over an older one, then where nothing was; what is complete is not made again.
    for before in ({},) if kind in COMPLETE else (expected, {}):
        if not before:
            fresh(place, None)
        # Room for nothing, for one block, and for half of what is to be written.
        for free in (0, 4096, size // 2):
            filler = fill(disk, free)
            refused(log, forked(work, log), place=disk)
            filler.unlink()
            left = content(place)
            assert {name: left.get(name) for name in before} == before, f"{free} bytes were free"
        assert forked(work, log) == 0, log.read_text()
        assert content(place) == expected
        assert list(tmp_path.glob("scratch/*")) == []


@pytest.mark.parametrize("kind", [fit, fit_generator])
def test_a_scratch_folder_on_a_full_disk(made, tmp_path, disk, narrow_generator, monkeypatch, kind):
    monkeypatch.chdir(REPOSITORY)
    place, log = tmp_path / "place", tmp_path / "log"
    work = command(kind(made, place, narrow_generator), REPOSITORY, disk / "scratch")
    place.mkdir()
    for free in (0, 4096, 2**14):
        filler = fill(disk, free)
        refused(log, forked(work, log), place=disk)
        filler.unlink()
        assert content(place) == {}
    assert forked(work, log) == 0, log.read_text()
    assert list(place.glob("*/last.ckpt")) and list(disk.glob("scratch/*")) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_read_only_disk_is_noticed_before_any_work(made, tmp_path, disk, narrow_generator, monkeypatch, kind):
    monkeypatch.chdir(REPOSITORY)
    place, log = disk / "place", tmp_path / "log"
    place.mkdir()
    assert mount("-o", "remount,ro", str(disk))
    work = command(kind(made, place, narrow_generator), REPOSITORY, tmp_path / "scratch")
    refused(log, forked(work, log), place=disk)
    assert "images/s" not in log.read_text() and list(tmp_path.glob("scratch/*")) == []
