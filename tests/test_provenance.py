"""The commit that a result names: of this code's own checkout, and of no other."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gpstoken.files import provenance

ROOT = Path(__file__).parents[1]


def git(folder, *arguments):
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "core.autocrlf=false")
    run = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return run.stdout.strip()


def commit_of(folder):
    """What `commit` says where the package lies in this folder."""
    spec = importlib.util.spec_from_file_location("provenance_there", folder / "gpstoken" / "files" / "provenance.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.commit()


@pytest.fixture
def checkout(tmp_path):
    """A repository of the files that count, in a folder with a blank."""
    folder = tmp_path / "my project"
    for name in ("gpstoken/files", "experiments"):
        (folder / name).mkdir(parents=True)
    source = Path(provenance.__file__).read_text()
    # Where the tests run in an archive, Git has written its commit into the file.
    source = re.sub(r'ARCHIVED_COMMIT = ".*"', 'ARCHIVED_COMMIT = "$Format:%H$"', source)
    (folder / "gpstoken" / "files" / "provenance.py").write_text(source)
    for name in (".gitignore", ".gitattributes", ".dvc/config"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "experiments" / "row.yaml").write_text("model: 1\n")
    git(folder, "init", "-q", ".")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


def test_of_a_checkout(checkout):
    assert commit_of(checkout) == git(checkout, "rev-parse", "HEAD")[:12]


@pytest.mark.parametrize("name", ["gpstoken/part.py", "experiments/row.yaml", "experiments/other.yaml", "params.yaml"])
def test_changes_are_told(name, checkout):
    (checkout / name).write_text("another: 1\n")
    assert commit_of(checkout).endswith("+changes")


def test_what_changes_no_result_is_no_change(checkout):
    expected = commit_of(checkout)
    row = checkout / "experiments" / "row.yaml"
    row.chmod(0o755)
    row.write_bytes(row.read_bytes().replace(b"\n", b"\r\n"))
    for name in ("gpstoken/.part.py.swp", "gpstoken/.DS_Store", "experiments/notes.md", "results.json"):
        (checkout / name).write_text("x")
    (checkout / "gpstoken" / "__pycache__").mkdir(exist_ok=True)
    (checkout / "gpstoken" / "__pycache__" / "splat.nbi").write_text("x")
    assert commit_of(checkout) == expected


def test_in_a_hook_of_another_repository(checkout, tmp_path, monkeypatch):
    expected = commit_of(checkout)
    git(tmp_path, "init", "-q", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    assert commit_of(checkout) == expected


# Ignored, as an environment is, or forgotten; or tracked, but as a part of something larger.
@pytest.mark.parametrize("kept", ["ignored", "untracked", "tracked"])
def test_a_copy_inside_another_repository_has_no_commit_of_that(kept, checkout, tmp_path):
    package = checkout / ".venv" / "lib" / "site-packages" / "gpstoken"
    shutil.copytree(checkout / "gpstoken", package)
    if kept == "tracked":
        git(checkout, "add", "-f", ".venv")
        git(checkout, "commit", "-qm", "second")
    elif kept == "untracked":
        (checkout / ".gitignore").write_text("")
    assert commit_of(package.parent).startswith("unknown (version ")
    assert commit_of(package.parent).endswith(", no checkout)")


def test_a_folder_that_git_does_not_trust_is_told(checkout, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    assert f"git config --global --add safe.directory '{checkout}'" in commit_of(checkout)


def test_an_archive_knows_its_commit_and_tells_dvc_that_there_is_no_git(checkout, tmp_path):
    expected = commit_of(checkout)
    (tmp_path / "zip").mkdir()
    git(checkout, "archive", "-o", str(tmp_path / "archive.tar"), "HEAD")
    shutil.unpack_archive(tmp_path / "archive.tar", tmp_path / "zip", filter="data")
    assert commit_of(tmp_path / "zip") == expected
    if (ROOT / ".git").exists():
        here, there = ((folder / ".dvc" / "config").read_text().splitlines() for folder in (checkout, tmp_path / "zip"))
        assert [line.strip() for line in there if "no_scm" in line and "#" not in line] == ["no_scm = true"]
        assert [line for line in here if "no_scm" in line and "#" not in line] == []
