import csv
import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules.crops import adm_centre_crop, release_centre_crop, to_tensor
from datamodules.prepared import EvaluationSamples, prepare
from datamodules.samples import Photos

COUNT = 40  # more than are under way at once on any small machine


@pytest.fixture
def files(tmp_path):
    """Noise photographs of several sizes, as files."""
    random = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(COUNT):
        height, width = random.integers(9, 60, 2)
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return [folder / f"{i}.png" for i in range(COUNT)]


def photos_of(files) -> Photos:
    return Photos([f"photo {i // 2}" for i in range(len(files))], [i % 3 for i in range(len(files))], files)


def folders(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_a_set_is_the_crops_of_its_photos_in_order(tmp_path, files):
    prepared = prepare(photos_of(files), tmp_path / "sets", "Some-test", "adm", 16)
    expected = []
    for path in files:
        with Image.open(path) as image:
            expected.append(adm_centre_crop(np.asarray(image), 16))
    np.testing.assert_array_equal([prepared.read(i) for i in range(COUNT)], expected)
    digest = hashlib.sha256(b"".join(b"(16, 16, 3)" + square.tobytes() for square in expected))
    assert prepared.fingerprint == digest.hexdigest()
    assert len(prepared) == COUNT and prepared.skipped == []
    assert prepared.sources[:3] == ["photo 0", "photo 0", "photo 1"] and prepared.labels[:4] == [0, 1, 2, 0]
    with (prepared.folder / "index.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[:3] == [["index", "source", "label"], ["0", "photo 0", "0"], ["1", "photo 0", "1"]]
    meta = json.loads((prepared.folder / "meta.json").read_text())
    assert (meta["crop"], meta["size"], meta["skipped"]) == ("adm", 16, [])
    sample = EvaluationSamples(prepared)[5]
    assert (sample["label"], sample["index"]) == (2, 5) and sample["image"].equal(to_tensor(expected[5]))


def test_a_set_is_made_once(tmp_path, files, capsys):
    first = prepare(photos_of(files), tmp_path / "sets", "Some-test", "adm", 16)
    assert "prepare Some test" in capsys.readouterr().err
    written = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    assert prepare(photos_of(files), tmp_path / "sets", "Some-test", "adm", 16) == first
    assert capsys.readouterr().err == ""
    assert {path: path.stat().st_mtime_ns for path in first.folder.iterdir()} == written
    assert folders(tmp_path / "sets") == [first.folder.name]


@pytest.mark.parametrize(
    "change", ["crop", "size", "name", "source", "label", "order", "touched", "resized", "fewer", "other", "array"]
)
def test_another_set_is_another_folder(tmp_path, files, change):
    pictures = [*files[:3], np.zeros((20, 20, 3), dtype=np.uint8)]
    sources, labels = list("abcd"), [0, 1, 2, 3]
    first = prepare(Photos(sources, labels, pictures), tmp_path / "sets", "Some-test", "adm", 16)
    name, crop, size = "Some-test", "adm", 16
    match change:
        case "crop":
            crop = "release"
        case "size":
            size = 17
        case "name":
            name = "Other-test"
        case "source":
            sources[1] = "x"
        case "label":
            labels[1] = 7
        case "order":
            pictures[:2] = pictures[1::-1]
        case "touched":
            os.utime(files[1], ns=(0, files[1].stat().st_mtime_ns + 1))
        case "resized":
            before = files[1].stat()
            files[1].write_bytes(files[1].read_bytes() + b"\0")
            os.utime(files[1], ns=(before.st_atime_ns, before.st_mtime_ns))
        case "fewer":
            sources, labels, pictures = sources[1:], labels[1:], pictures[1:]
        case "other":
            pictures[1] = files[4]
        case "array":
            pictures[3] = pictures[3].copy()
            pictures[3][0, 0, 0] = 1
    second = prepare(Photos(sources, labels, pictures), tmp_path / "sets", name, crop, size)
    assert second.folder != first.folder and first.folder.is_dir()
    assert second.folder.name.startswith(f"{name}-{crop}{size}-")


def test_the_release_crop_is_prepared_too(tmp_path, files):
    prepared = prepare(photos_of(files), tmp_path / "sets", "Some-test", "release", 16)
    with Image.open(files[3]) as image:
        np.testing.assert_array_equal(prepared.read(3), release_centre_crop(np.asarray(image), 16))


@dataclass(frozen=True)
class Inside:
    """A picture inside another file; reading it is noted."""

    path: Path
    number: int
    reads: list[int] = field(default_factory=list, compare=False)

    def __str__(self) -> str:
        return f"{self.path}!{self.number}"

    def read_bytes(self) -> bytes:
        self.reads.append(self.number)
        return self.path.read_bytes()


def test_members_are_known_by_the_file_they_lie_in(tmp_path, files):
    def run():
        member = Inside(files[0], 7)
        return prepare(Photos(["m"], [0], [member]), tmp_path / "sets", "Some-test", "adm", 16), member.reads

    first, reads = run()
    assert reads == [7]
    assert run() == (first, [])
    os.utime(files[0], ns=(0, 0))
    assert run()[1] == [7]


def test_of_two_processes_the_slower_one_throws_its_copy_away(tmp_path, files):
    class Rival(Inside):
        """While the first process reads it, a second one makes the whole set."""

        def read_bytes(self) -> bytes:
            if not rivals:
                rivals.append(None)
                rivals[0] = prepare(photos, tmp_path / "sets", "Some-test", "adm", 16)
            return super().read_bytes()

    rivals = []
    photos = Photos(["m", "n"], [0, 1], [Rival(files[0], 0), files[1]])
    assert prepare(photos, tmp_path / "sets", "Some-test", "adm", 16) == rivals[0]
    assert folders(tmp_path / "sets") == [rivals[0].folder.name]


def test_what_a_killed_process_left_is_no_set_and_goes_when_old(tmp_path, files):
    whole = prepare(photos_of(files), tmp_path / "sets", "Some-test", "adm", 16)
    old, young, busy = (tmp_path / "sets" / f".part-{name}" for name in ("old", "young", "busy"))
    for part in (old, young, busy):
        shutil.copytree(whole.folder, part)
    shutil.rmtree(whole.folder)
    for part in (old, busy):
        os.utime(part, (0, time.time() - 7200))
    descriptor = os.open(busy, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # as a process that is at work there
    assert prepare(photos_of(files), tmp_path / "sets", "Some-test", "adm", 16) == whole
    os.close(descriptor)
    # The young one may belong to a process that is about to lock it.
    assert folders(tmp_path / "sets") == sorted([busy.name, young.name, whole.folder.name])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "000007.png").unlink(), r"000007\.png is missing \(1 in all\)"),
        (lambda folder: (folder / "meta.json").unlink(), r"damaged index.csv or meta.json: .*No such file"),
        (lambda folder: (folder / "meta.json").write_text("{}"), r"damaged index.csv or meta.json: "),
        (lambda folder: (folder / "index.csv").write_text("index,source,label\n0,a,0\n"), "index.csv has 1 of 40"),
        (lambda folder: (folder / "index.csv").write_text("index,source,label\n0,a,x\n"), "damaged index.csv"),
        (lambda folder: (folder / "000007.png").write_bytes(b""), r"000007\.png: cannot be read as a picture"),
    ],
)
def test_a_set_that_was_damaged_afterwards_is_named(tmp_path, files, damage, message):
    folder = prepare(photos_of(files), tmp_path / "sets", "Some-test", "adm", 16).folder
    damage(folder)
    with pytest.raises(ValueError, match=message) as error:
        prepare(photos_of(files), tmp_path / "sets", "Some-test", "adm", 16).read(7)
    assert str(error.value).endswith(f"; delete {folder}; it will be made again")
    assert "\n" not in str(error.value)


def test_an_unreadable_picture_stops_by_default(tmp_path, files):
    files[20].write_bytes(b"")
    with pytest.raises(ValueError, match=r"photos.20\.png: cannot be read as a picture"):
        prepare(photos_of(files), tmp_path / "sets", "Some-test", "adm", 16)
    assert folders(tmp_path / "sets") == []


def test_unreadable_pictures_are_reported_once_and_left_out(tmp_path, files, capsys):
    files[0].write_bytes(b"")
    files[21].unlink()
    prepared = prepare(photos_of(files), tmp_path / "sets", "Some-test", "adm", 16, skip=True)
    lines = [line for line in capsys.readouterr().err.splitlines() if "skipped: " in line]
    assert [line[line.index("skipped: ") :] for line in lines] == [
        f"skipped: {files[0]}: cannot be read as a picture: empty, or not a known format",
        f"skipped: {files[21]}: cannot be read as a picture: No such file or directory",
    ]
    assert prepared.skipped == ["photo 0", "photo 10"]
    assert len(prepared) == COUNT - 2
    assert prepared.sources[:3] == ["photo 0", "photo 1", "photo 1"] and prepared.labels[:3] == [1, 2, 0]
    with Image.open(files[22]) as image:
        np.testing.assert_array_equal(prepared.read(20), adm_centre_crop(np.asarray(image), 16))
    assert prepare(photos_of(files), tmp_path / "sets", "Some-test", "adm", 16, skip=True) == prepared
    with pytest.raises(ValueError, match=r"photos.0\.png: cannot be read"):
        prepare(photos_of(files), tmp_path / "sets", "Some-test", "adm", 16)
    # Once it is repaired it is another set.
    shutil.copy(files[1], files[0])
    assert prepare(photos_of(files), tmp_path / "sets", "Some-test", "adm", 16, skip=True).skipped == ["photo 10"]


def test_no_silent_empty_set(tmp_path, files):
    for path in files[:3]:
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"Some-test: none of the 3 pictures can be read; .*0\.png: cannot"):
        prepare(photos_of(files[:3]), tmp_path / "sets", "Some-test", "adm", 16, skip=True)
    assert folders(tmp_path / "sets") == []


def test_a_missing_package_is_not_a_damaged_picture(tmp_path, files, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ValueError, match="opencv-python-headless"):
        prepare(photos_of(files), tmp_path / "sets", "Some-test", "release", 16, skip=True)


def test_photos_that_do_not_belong_together():
    with pytest.raises(ValueError, match="Photos: 1 sources, 2 labels and 1 pictures"):
        Photos(["a"], [0, 1], [Path("a.png")])
