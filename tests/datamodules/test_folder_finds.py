"""`Folder` on folders as people have them: links, hidden files, our own pictures, names of every kind."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import Folder
from gpstoken import GPSToken
from gpstoken.cli import main
from gpstoken.files.sample_files import SampleFiles

SPLITS = ("train", "val", "test")


def write(path, value=0):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 30, 3), value, dtype=np.uint8)).save(path, "PNG")


@pytest.fixture
def folder(tmp_path_factory):
    sets = str(tmp_path_factory.mktemp("prepared"))
    return lambda root, **options: Folder(str(root), **{"prepared": sets, "image_size": 8, "batch_size": 1} | options)


def found(data):
    return sorted(name for split in SPLITS for name in data.photos(split).sources)


def labels(data):
    pairs = [zip(data.photos(split).sources, data.photos(split).labels, strict=True) for split in SPLITS]
    return {name.rpartition("/")[0]: label for pair in pairs for name, label in pair}


def test_links_to_folders_are_followed(tmp_path, folder):
    for i in range(10):
        for name in ("store/cat", "store/dog/young", "here/bird"):
            write(tmp_path / name / f"{i}.png", i)
    for name in ("cat", "dog"):
        (tmp_path / "here" / name).symlink_to(tmp_path / "store" / name, target_is_directory=True)
    data = folder(tmp_path / "here")
    assert len(found(data)) == 30
    assert labels(data) == {"bird": 0, "cat": 1, "dog/young": 2}
    for split in SPLITS:
        assert all(data.dataset(split)[i]["image"].shape == (3, 8, 8) for i in range(len(data.dataset(split))))


def test_loops_end_and_a_folder_counts_once(tmp_path, folder):
    for i in range(4):
        write(tmp_path / "root/b" / f"{i}.png")
        write(tmp_path / "other" / f"{i}.png")
    (tmp_path / "root/a").symlink_to("b")  # before it by name, yet the folder in place keeps its name
    (tmp_path / "root/b/again").symlink_to("../../root")
    (tmp_path / "root/up").symlink_to("..")  # holds the root: what lies beside the root is not asked for
    (tmp_path / "root/x").symlink_to("../other")
    (tmp_path / "root/y").symlink_to("../other")
    (tmp_path / "root/loop").symlink_to("loop")
    assert found(folder(tmp_path / "root")) == [f"{name}/{i}.png" for name in ("b", "x") for i in range(4)]


def test_what_is_hidden_is_left_out(tmp_path, folder):
    for i in range(10):
        write(tmp_path / f"{i}.png")
        write(tmp_path / ".ipynb_checkpoints" / f"{i}-checkpoint.png")
        write(tmp_path / ".thumbnails/deep" / f"{i}.png")
        write(tmp_path / f".{i}.png")
    assert found(folder(tmp_path)) == [f"{i}.png" for i in range(10)]
    # A hidden root was asked for.
    assert len(found(folder(tmp_path / ".thumbnails"))) == 10


@torch.no_grad()
def test_what_the_program_made_there_is_left_out(tmp_path, folder, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(10):
        write(f"{i}.png", i)
    mine = [f"{i}.png" for i in range(10)]
    # a prepared set, by the data module itself; generated images, done and not done, by the class that writes them
    data = folder(tmp_path, prepared="data/prepared", on_error="skip")
    data.dataset("val"), data.dataset("test")
    for name, done in (("new", True), ("half", False)):
        files = SampleFiles(Path(name), {"seed": 0}, [0, 1], 2)
        files.write(0, np.zeros((2, 8, 8, 3), np.uint8))
        if done:
            files.finish({})
    # a run, one that was killed before its first checkpoint, and what MLflow keeps
    for name, files in (("runs/1", ("last.ckpt", "config.yaml")), ("scratch/0f", ("config.yaml", "origin.json"))):
        write(f"{name}/pictures/step_0000001.png")
        for file in files:
            Path(name, file).touch()
    write("mlruns/0/abc/artifacts/sheet.png")
    # drawings beside their tokens; but the photograph beside its tokens is a photograph
    small = {
        "image_size": 16,
        "grid_size": 4,
        "width": 8,
        "depth": 1,
        "heads": 2,
        "roi_size": 2,
        "stem_channels": 4,
        "decoder_channels": 4,
        "decoder_blocks": 1,
        "norm_groups": 2,
        "min_region_size": 4,
        "num_tokens": 2,
    }
    tokenizer = GPSToken(**small)
    entry = {"class_path": "gpstoken.tokenizer.GPSToken", "init_args": tokenizer.config}
    weights = {f"tokenizer.{name}": value for name, value in tokenizer.state_dict().items()}
    torch.save({"tokenizer": entry, "state_dict": weights}, "model.ckpt")
    assert main(["encode", "0.png", "-o", "drawn", "--draw", "--checkpoint", "model.ckpt"]) == 0
    assert main(["encode", "1.png", "-o", ".", "--checkpoint", "model.ckpt"]) == 0
    made = sum(1 for path in Path().rglob("*.png")) - 10
    assert made >= 10
    capfd.readouterr()
    assert found(folder(tmp_path)) == mine
    assert "left out 7 folders made by gpstoken or MLflow: data/prepared/Folder-" in capfd.readouterr().err
    # Generated images are data where they are asked for by name.
    assert len(found(folder("new"))) == 2


def test_a_project_of_the_users_own_is_not_taken_for_ours(tmp_path, folder):
    for name in ("config.yaml", "index.csv", "labels.csv", "meta.yaml", "runs.txt", "last.ckpt.txt"):
        (tmp_path / "album" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "album" / name).touch()
    for i in range(5):
        write(tmp_path / "album/runs" / f"{i}.png")
        write(tmp_path / "album/results" / f"{i}.png")
    assert len(found(folder(tmp_path))) == 10


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_names_that_are_not_utf_8(tmp_path, folder, on_error):
    for i in range(10):
        write(os.fsdecode(os.fsencode(tmp_path) + b"/\xe4/caf\xe9%d.png" % i), i)
    data = folder(tmp_path, on_error=on_error)
    assert found(data) == [rf"\xe4/caf\xe9{i}.png" for i in range(10)]
    for split in SPLITS:
        for i in range(len(data.dataset(split))):
            assert data.dataset(split)[i]["image"].shape == (3, 8, 8)
    with (data.dataset("test").prepared.folder / "index.csv").open(newline="", encoding="utf-8") as file:
        assert [row["source"] for row in csv.DictReader(file)] == data.sources("test")
    json.dumps(data.sources("train"))
    # The list that names them is read as it was written.
    list_file = os.fsencode(tmp_path) + b"/list.txt"
    Path(os.fsdecode(list_file)).write_bytes(b"".join(b"\xe4/caf\xe9%d.png\n" % i for i in range(10)))
    assert found(folder(os.fsdecode(list_file))) == found(data)


def test_broken_links_and_folders_named_as_pictures(tmp_path, folder, capfd):
    for i in range(10):
        write(tmp_path / "test" / f"{i}.png")
    (tmp_path / "test/holiday.jpg").mkdir()
    write(tmp_path / "test/holiday.jpg/inside.png")
    (tmp_path / "test/gone.png").symlink_to("/nowhere/gone.png")
    with pytest.raises(ValueError, match=r"test/gone\.png: cannot be read as a picture: No such file or directory"):
        folder(tmp_path).dataset("test")
    data = folder(tmp_path, on_error="skip")
    assert len(data.dataset("test")) == 11 and data.skipped("test") == ["test/gone.png"]
    assert "test/holiday.jpg/inside.png" in data.sources("test")


@pytest.mark.parametrize("kind", ["in place", "linked"])
@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("Train", "Val", "Test"),
        ("training", "validation", "TEST"),
        ("train", "valid", "test"),
    ],
)
def test_folders_of_splits(tmp_path, folder, names, kind):
    for i, name in enumerate(names):
        place = tmp_path / ("root" if kind == "in place" else "store") / name
        for j in range(i + 2):
            write(place / "a" / f"{j}.png")
        if kind == "linked":
            (tmp_path / "root").mkdir(exist_ok=True)
            (tmp_path / "root" / name).symlink_to(place)
    data = folder(tmp_path / "root")
    assert [data.sources(split) for split in SPLITS] == [
        [f"{name}/a/{j}.png" for j in range(i + 2)] for i, name in enumerate(names)
    ]


def test_one_folder_may_be_two_splits(tmp_path, folder):
    for name in ("train", "test"):
        write(tmp_path / name / "a.png")
    (tmp_path / "val").symlink_to("test")
    data = folder(tmp_path)
    assert data.sources("val") == ["val/a.png"] and data.sources("test") == ["test/a.png"]
    write(tmp_path / "validation" / "a.png")
    with pytest.raises(ValueError, match="has val and validation, which are the same split"):
        folder(tmp_path).photos("val")


YAML = ["2024", "1e3", "null", "on", "[new]", "photos 2024: Rome", "#1", "~", "0x10", "2024-11-28", "Fotos_aéö_写真",
        "{a}", "a,b", "-x", "'", '"', "a\tb", " "]  # fmt: skip


def test_class_names_are_names(tmp_path, folder):
    for name in YAML:
        for i in range(2):
            write(tmp_path / name / f"{i}.png")
    assert len(found(folder(tmp_path))) == 2 * len(YAML)
    own = labels(folder(tmp_path))
    assert sorted(own.values()) == list(range(len(YAML)))
    assert own["1e3"] == sorted(YAML).index("1e3")


@pytest.mark.parametrize(
    "write_list",
    [
        lambda names: b"\xef\xbb\xbf" + "\n".join(names).encode(),
        lambda names: "\r\n".join(names).encode(),
        lambda names: "\r\n".join(names).encode("utf-16"),
        lambda names: ("\n".join(names) + "\n\n").encode(),
    ],
    ids=["mark", "CRLF", "UTF-16", "blank line"],
)
def test_lists_as_windows_writes_them(tmp_path, folder, write_list):
    names = [f"bild {i} é.png" for i in range(10)]
    for name in names:
        write(tmp_path / name)
    (tmp_path / "list.txt").write_bytes(write_list(names))
    data = folder(tmp_path / "list.txt")
    assert found(data) == names and len(data.dataset("train")) == 8 and data.dataset("train")[0]


def test_other_formats_are_counted(tmp_path, folder, capfd):
    for i in range(10):
        write(tmp_path / f"{i}.png")
        for ending in ("heic", "JXL", "jfif"):
            (tmp_path / f"{i}.{ending}").write_bytes(bytes(20))
    data = folder(tmp_path)
    for split in SPLITS:  # said once
        data.photos(split)
    (line,) = capfd.readouterr().err.splitlines()
    reason = "these picture formats are not read; convert the files to use them"
    assert line == f"Folder {tmp_path}: 10 .heic, 10 .jfif, 10 .jxl: {reason}"
    for i in range(10):
        (tmp_path / f"{i}.png").unlink()
    with pytest.raises(
        ValueError, match=r"found a folder without pictures; 10 \.heic, 10 \.jfif, 10 \.jxl: these picture"
    ):
        folder(tmp_path).photos("train")


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_pictures_are_said(tmp_path, folder, count):
    for i in range(count):
        write(tmp_path / f"{i}.png")
    data = folder(tmp_path)
    assert len(data.photos("train")) == 1 and data.val_dataloader() == []
    if count == 1:
        with pytest.raises(ValueError, match=r"has no picture for test: 1 in all \(train 1, val 0, test 0\); .* three"):
            data.dataset("test")
    else:
        assert len(data.dataset("test")) == 1


def test_a_folder_that_may_not_be_read_is_said(tmp_path, folder, capfd, monkeypatch):
    for i in range(3):
        write(tmp_path / f"{i}.png")
        write(tmp_path / "closed" / f"{i}.png")
    scan = os.scandir

    def refuse(path):  # the tests may run as root, whom no mode stops
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert found(folder(tmp_path)) == ["0.png", "1.png", "2.png"]
    assert "left out 1 folder without permission to read: closed" in capfd.readouterr().err
