"""The Makefile and the tools in a folder with a blank, and in one without Git."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

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


def test_docs_installs_what_only_it_needs_once(project):
    (project / ".venv").mkdir()
    (project / ".venv" / ".installed").touch()
    plan = make(project, "-n", "docs").stdout
    assert "-e '.[docs]'\n" in plan and plan.endswith("mkdocs build\n")
    (project / ".venv" / ".docs").touch()
    assert make(project, "-n", "docs").stdout == "mkdocs build\n"


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
def test_another_scale_is_made_in_a_copy_and_brought_here(with_git, project):
    # Up to where Python would start; the pipeline itself is run by .ci/run.
    (project / ".gitignore").write_text(".venv\n/data/\n/scratch/\n/results/quick/\n/reports/generated/quick/\n")
    (project / "params.yaml").write_text("scale: laptop\nseeds: 0 1\nsweeps: [a=1]\n")
    (project / "experiments/quick").mkdir(parents=True)
    (project / "experiments/quick/scale.yaml").write_text("like: laptop\nparams: {seeds: 0}\n")
    (project / "gone later").write_text("")
    if with_git:
        for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm1"]):
            subprocess.run(["git", *command], cwd=project, check=True)
    (project / "constraints.txt").write_text("changed")
    (project / "a new file").write_text("new")
    (project / "data").mkdir()
    (project / "data" / "large").write_text("left out")
    # In the place of the pipeline: what it would leave behind.
    (project / "tools/warm.py").write_text("""import pathlib, sys
scale = sys.argv[-1]
for part in ("results", "reports/generated"):
    folder = pathlib.Path(part, scale)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"made {len(list(folder.iterdir()))}").write_text(str(pathlib.Path.cwd()))
pathlib.Path("runs").mkdir(exist_ok=True)
""")
    command = [sys.executable, "tools/repro.py", "quick"]
    run = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("open reports/generated/quick/site/index.html")
    copy = project / "scratch" / "quick"
    assert (copy / "constraints.txt").read_text() == "changed" and (copy / "a new file").read_text() == "new"
    assert not (copy / "data").exists() and not (copy / "scratch" / "quick").exists()
    assert yaml.safe_load((copy / "params.yaml").read_text()) == {"scale": "quick", "seeds": 0, "sweeps": ["a=1"]}
    assert (project / "params.yaml").read_text().startswith("scale: laptop")
    assert (project / "results/quick/made 0").read_text() == str(copy)

    # Once more, after a change: what the copy made itself is still there, what has gone here is not.
    (project / "gone later").unlink()
    (project / "constraints.txt").write_text("changed again")
    (project / "results/quick/mine").write_text("of a reader")
    assert subprocess.run(command, cwd=project, capture_output=True).returncode == 0
    assert (copy / "constraints.txt").read_text() == "changed again" and not (copy / "gone later").exists()
    assert (copy / "runs").is_dir()
    assert {path.name for path in (project / "reports/generated/quick").iterdir()} == {"made 0", "made 1"}
    assert (project / "results/quick/mine").read_text() == "of a reader"
    if with_git:
        status = subprocess.run(["git", "status", "--short"], cwd=project, capture_output=True, text=True).stdout
        assert sorted(line.split(maxsplit=1)[1] for line in status.splitlines()) == [
            '"a new file"', '"gone later"', "constraints.txt", "tools/warm.py",
        ]  # fmt: skip


def test_a_scale_that_there_is_not_is_told(project):
    (project / "params.yaml").write_text("scale: laptop\n")
    (project / "experiments/laptop").mkdir(parents=True)
    (project / "experiments/laptop/scale.yaml").write_text("{}")
    run = subprocess.run([sys.executable, "tools/repro.py", "tiny"], cwd=project, capture_output=True, text=True)
    assert run.returncode == 2 and "there is no experiments/tiny/scale.yaml; scales: laptop" in run.stdout
