"""The Makefile and the tools in a folder with a blank, and in one without Git."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path):
    """What `make` looks at, in a folder with a blank."""
    folder = tmp_path / "my project"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "tools", folder / "tools", ignore=lambda *_: ["__pycache__"])
    return folder


def make(folder, *arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, env=environment)


def test_installs_into_its_own_folder_once(project):
    plan = make(project, "-n", "install")
    assert plan.returncode == 0, plan.stderr
    assert "-m venv .venv\n" in plan.stdout and str(project) not in plan.stdout
    # Done, as far as make can see: then there is nothing left to do.
    (project / ".venv").mkdir()
    (project / ".venv" / ".installed").touch()
    assert "venv" not in make(project, "-n", "install").stdout


def test_clean_removes_what_it_made_and_no_neighbour(project):
    neighbour = project.parent / "my"
    for folder in (neighbour, project / ".venv", project / "scratch"):
        folder.mkdir()
    assert make(project, "clean").returncode == 0
    assert neighbour.is_dir() and not (project / ".venv").exists() and not (project / "scratch").exists()


def test_install_tells_dvc_where_there_is_no_git(project):
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "python").symlink_to("/bin/true")
    dvc = project / ".venv" / "bin" / "dvc"
    dvc.write_text('#!/bin/sh\necho "$@" >>asked\n')
    dvc.chmod(0o755)
    assert make(project, "install", "PYTHON=true").returncode == 0
    assert (project / "asked").read_text() == "config -q --local core.no_scm true\n"
    (project / "asked").unlink()
    (project / ".git").mkdir()
    (project / ".venv" / ".installed").unlink()
    assert make(project, "install", "PYTHON=true").returncode == 0
    assert not (project / "asked").exists()


@pytest.mark.parametrize("with_git", [True, False])
def test_quick_copies_the_working_tree(with_git, project):
    # Up to where Python would start; the pipeline itself is run by .ci/run.
    (project / ".gitignore").write_text(".venv\n/data/\n/scratch/\n")
    if with_git:
        for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm1"]):
            subprocess.run(["git", *command], cwd=project, check=True)
    (project / "constraints.txt").write_text("changed")
    (project / "a new file").write_text("new")
    (project / "data").mkdir()
    (project / "data" / "large").write_text("left out")
    (project / ".venv" / "bin").mkdir(parents=True)
    python = project / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\npwd >>"$PYTHONPATH/started in"\n')
    python.chmod(0o755)
    run = subprocess.run(["tools/quick", "scratch/a quick one"], cwd=project, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    copy = project / "scratch" / "a quick one"
    assert (copy / "constraints.txt").read_text() == "changed" and (copy / "a new file").read_text() == "new"
    assert not (copy / "data").exists() and not (copy / "scratch").exists()
    assert (copy / "started in").read_text().splitlines() == [str(copy)] * 3
