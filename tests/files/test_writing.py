"""Files and folders that are whole or not there, and never take the place of something else."""

import errno
import os
import shutil

import pytest
from safetensors.torch import save_file
from torch import zeros

from gpstoken.files import writing
from gpstoken.files.writing import (
    abandoned,
    check_replaceable,
    move_folder,
    remove_abandoned,
    remove_abandoned_within,
    replacing,
    replacing_folder,
)


def ours(folder):
    return (folder / "mark").is_file()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert (names(tmp_path), path.read_text()) == (["a.json"], "old")


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_have_the_permissions_of_the_umask_whoever_writes_them(tmp_path, mask):
    before = os.umask(mask)
    try:
        with replacing(tmp_path / "tokens.safetensors") as part:
            save_file({"a": zeros(1)}, part)  # makes a private file of its own
    finally:
        os.umask(before)
    assert (tmp_path / "tokens.safetensors").stat().st_mode & 0o777 == 0o666 & ~mask


def test_content_is_flushed_before_the_name_is_given(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(writing, "flush", lambda path: calls.append(path))
    replace = os.replace
    monkeypatch.setattr(writing.os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    with replacing(tmp_path / "a") as part:
        part.write_text("x")
    assert calls == [part, "replace", tmp_path]


@pytest.mark.parametrize("content", [{"notes.txt": "precious"}, {"mark.txt": ""}])
def test_a_folder_of_something_else_is_refused_before_anything_is_written(tmp_path, content):
    folder = tmp_path / "runs"
    folder.mkdir()
    for name, text in content.items():
        (folder / name).write_text(text)
    with pytest.raises(ValueError, match=f"{folder}: holds {next(iter(content))}, not only files of this command"):
        check_replaceable(folder, ours)
    with pytest.raises(ValueError, match="choose another folder"), replacing_folder(folder, ours):
        pytest.fail("the body must not run")
    assert names(folder) == sorted(content)


def test_a_file_is_no_place_for_a_folder(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ValueError, match="file: is a file, expected a new folder"):
        check_replaceable(tmp_path / "file", ours)


def test_a_folder_of_ours_is_replaced_whole_and_an_empty_one_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "new", tmp_path / "empty"):
        for number in (1, 2):
            with replacing_folder(folder, ours) as part:
                (part / "mark").write_text("")
                (part / f"file{number}").write_text("")
        assert names(folder) == ["file2", "mark"]
    assert names(tmp_path) == ["empty", "new"]


def test_without_room_for_the_new_folder_the_old_one_stays_and_is_never_the_copy_that_goes(tmp_path, monkeypatch):
    old, new = tmp_path / "run", tmp_path / "scratch"
    for folder, text in ((old, "old"), (new, "new")):
        folder.mkdir()
        (folder / "mark").write_text(text)
    monkeypatch.setattr(writing, "_disk", lambda path: path == new)

    def full(source, target):
        shutil.copy(os.path.join(source, "mark"), target.parent / "half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writing.shutil, "copytree", full)
    for _ in range(3):  # every try, not only the first
        with pytest.raises(OSError, match="No space left"):
            move_folder(new, old, ours)
        assert ((old / "mark").read_text(), (new / "mark").read_text()) == ("old", "new")


def test_from_another_file_system(tmp_path, monkeypatch):
    new, run = tmp_path / "scratch", tmp_path / "run"
    new.mkdir()
    (new / "mark").write_text("new")
    monkeypatch.setattr(writing, "_disk", lambda path: path == new)
    move_folder(new, run, ours)
    assert (names(tmp_path), (run / "mark").read_text()) == (["run"], "new")


def test_a_kill_between_the_two_renames_is_undone_by_the_next_call(tmp_path):
    run = tmp_path / "run"
    (tmp_path / ".run.old").mkdir()
    (tmp_path / ".run.old" / "mark").write_text("the only copy")
    check_replaceable(run, ours)
    assert (run / "mark").read_text() == "the only copy"


def test_what_kills_have_left_of_one_file_is_told_from_all_else(tmp_path):
    left = [".row.json.77-abcdef01.part", ".row.json.8.part"]  # the second as an older version named it
    other = [".row.jsonl.77-abcdef01.part", ".brow.json.7-abcdef01.part", "row.json", ".row.json.77-abc.part"]
    for name in left + other + [".000001.png.3-00000000.part"]:
        (tmp_path / name).touch()
    assert {path.name for path in abandoned(tmp_path, r"row\.json")} == set(left)
    assert [path.name for path in abandoned(tmp_path, r"\d{6}\.(png|npy)")] == [".000001.png.3-00000000.part"]
    assert abandoned(tmp_path / "none", "a") == []
    remove_abandoned(tmp_path / "row.json")
    assert {path.name for path in tmp_path.iterdir()} == {*other, ".000001.png.3-00000000.part"}


def test_what_kills_have_left_below_a_folder_is_removed(tmp_path):
    left = ["snapshots/.step_1.ckpt.7-abcdef01.part", ".config.yaml.8-abcdef01.part", "a/b/.c.9-abcdef01.part/file"]
    kept = ["snapshots/step_1.ckpt", "a/b/.c", "part"]
    for name in left + kept:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    remove_abandoned_within(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == set(kept)
    remove_abandoned_within(tmp_path / "none")
