"""dvc.yaml: its stages, what they depend on, and that parameters reach them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from gpstoken.commands import closure
from gpstoken.commands.declared import read_rows, studies
from gpstoken.commands.rows import STEPS
from gpstoken.commands.rows import main as write_records

ROOT = Path(__file__).parents[1]
# Records of rows are read by the stage that runs the command; the pipeline's other stages are modules.
MODULES = ("datamodules.prepare", "reports.figures", "reports.tables", "reports.publish", "reports.site")


@pytest.fixture(scope="module")
def stages():
    """Every stage by name."""
    return {stage.addressing: stage for stage in Repo(str(ROOT)).index.stages}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """The records of all commands, as the stage `commands` writes them: "COMMAND/ROW"."""
    folder = tmp_path_factory.mktemp("records")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        assert write_records(["--scale", "laptop", "--params", "params.yaml", "-o", str(folder)]) == 0
    return {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml")}


def paths(outputs) -> set[str]:
    return {str(Path(output.fs_path).relative_to(ROOT)) for output in outputs}


def test_every_command_of_every_row_is_a_stage_that_depends_on_its_record(stages, records):
    run = {}
    for name, stage in stages.items():
        words = stage.cmd.split()
        if words[0] == "gpstoken" and words[1] != "rows":
            run[f"{words[1]}/{words[2]}"] = name
            assert f"runs/laptop/commands/{words[1]}/{words[2]}.yaml" in paths(stage.deps), name
            # what does not change a number stands in no command
            assert not {"--jobs", "--threads", "--device"} & set(words) and "OMP_" not in stage.cmd
    assert run.keys() == records
    rows = {f"{command}/{row.key}" for row in read_rows() for command in STEPS[row.section]}
    sweeps = yaml.safe_load((ROOT / "params.yaml").read_text())["sweeps"]
    rows |= {f"{command}/{sweep}" for sweep in sweeps for command in ("fit", "evaluate")}
    rows |= {f"study/{study}" for study in studies()}
    assert rows | {"images/train", "images/test", "features/real", "speed/rows"} == records


def test_a_stage_depends_on_what_its_command_reads(stages):
    """The folders of runs, caches and samples that a command names are among the outputs of others."""
    made = {path for stage in stages.values() for path in paths(stage.outs)}
    for name, stage in stages.items():
        for path in paths(stage.deps):
            if path.split("/")[0] in ("runs", "data", "samples", "results") and path != "results/benchmarks":
                reached = any(path == out or path.startswith(f"{out}/") or out.startswith(f"{path}/") for out in made)
                assert reached, f"{name}: nothing makes {path}"


@pytest.mark.parametrize("module", MODULES)
def test_a_stage_of_a_module_depends_on_all_that_it_imports(stages, module, monkeypatch):
    monkeypatch.setattr(closure, "PACKAGES", ("gpstoken", "datamodules", "reports"))
    for each in (closure._imported, closure._handed_on):
        each.cache_clear()
    start = module if module == "datamodules.prepare" else f"{module}.__main__"
    imported = {str(closure._path(name).relative_to(ROOT)) for name in closure.closure([start])}
    for each in (closure._imported, closure._handed_on):
        each.cache_clear()
    (stage,) = [stage for stage in stages.values() if f"python -m {module} " in f"{stage.cmd} "]
    known = paths(stage.deps)
    assert [
        path for path in sorted(imported) if not any(path == dep or path.startswith(f"{dep}/") for dep in known)
    ] == []


@pytest.fixture
def copy(tmp_path):
    """The files that dvc reads, in a repository of their own."""
    for name in ("experiments", ".dvc/config", "dvc.yaml", "params.yaml"):
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    (tmp_path / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "present", "absent"),
    [
        ({"params.yaml": ("scale: laptop", "scale: quick")}, "gpstoken fit dcae --scale quick --seeds 0 1 2", "laptop"),
        ({"params.yaml": ("seeds: 0 1 2", "seeds: 4")}, "gpstoken fit dcae --scale laptop --seeds 4", "0 1 2"),
        ({"params.yaml": ("[lambda_=5, ", "[lambda_=1, ")}, "gpstoken fit lambda_=1 --scale laptop", "lambda_=5"),
        ({"experiments/rows.yaml": ("  dcae: {name: DCAE, paper: DCAE}\n", "")}, "gpstoken fit vavae", "fit dcae "),
    ],
    ids=["scale", "seeds", "sweeps", "rows"],
)
def test_parameters_reach_the_commands(copy, changes, present, absent):
    for name, (before, after) in changes.items():
        text = (copy / name).read_text()
        assert before in text
        (copy / name).write_text(text.replace(before, after))
    commands = "\n".join(stage.cmd for stage in Repo(str(copy)).index.stages)
    assert present in commands and absent not in commands


def test_a_changed_argument_changes_the_records_of_its_row_and_its_arms_alone(copy, monkeypatch, tmp_path):
    monkeypatch.chdir(copy)
    write_records(["--scale", "laptop", "-o", str(tmp_path / "before")])
    path = copy / "experiments/laptop/dcae.yaml"
    path.write_text(path.read_text().replace("attention_head_dim: 8", "attention_head_dim: 4"))
    write_records(["--scale", "laptop", "-o", str(tmp_path / "after")])
    changed = [
        str(path.relative_to(tmp_path / "after"))
        for path in (tmp_path / "after").rglob("*.yaml")
        if path.read_bytes() != (tmp_path / "before" / path.relative_to(tmp_path / "after")).read_bytes()
    ]
    # An arm of a row is laid over its file.
    assert sorted(changed) == ["fit/dcae.yaml", "fit/dcae_16.yaml"]


def test_a_line_a_stage_with_what_is_left(copy, tmp_path):
    """tools/lanes.py on a pipeline of three stages, one of which fails, and then none."""
    shutil.copytree(ROOT / "tools", copy / "tools", ignore=lambda *_: ["__pycache__"])
    stage = "{name}:\n    cmd: {cmd}\n    outs: [{name}.txt]\n  "
    names = (("prepare", "echo said > prepare.txt"), ("commands", "echo x > commands.txt"))

    def run(last: str) -> subprocess.CompletedProcess:
        text = "".join(stage.format(name=name, cmd=cmd) for name, cmd in (*names, ("site", last)))
        (copy / "dvc.yaml").write_text(f"stages:\n  {text}")
        command = [sys.executable, "tools/lanes.py", "quick"]
        return subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=300)

    failed = run("echo why >&2; false")
    assert failed.returncode == 1 and "failed: site" in failed.stderr and "why" in failed.stderr
    done = run("echo x > site.txt")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("3 stages at the quick scale")
    assert [line.split()[:4] for line in lines[1:]] == [
        ["1", "of", "3", "prepare"], ["2", "of", "3", "commands"], ["3", "of", "3", "site"],
    ]  # fmt: skip
    assert "unchanged" in lines[1] and lines[3].split()[-1].startswith("0:0")
