"""The recipes of CONTRIBUTING.md, as they stand there: a tokenizer and a generator become rows of the tables."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"```(?:python|yaml)\n# (\S+?)(?:: (\w+))?\n(.*?)```", re.DOTALL)
# The quick scale, smaller still: 32 px, a handful of images.
TINY = {
    "scale.yaml": {
        "like": "quick", "images": {"count": 100}, "generate": {"n": 40}, "evaluate": {"networks": []},
        "evaluate-generator": {"allow-small": True},
    },
    "classes.yaml": {
        "class_path": "datamodules.EmbeddedClasses",
        "init_args": {"root": "data/embedded", "image_size": 32, "epoch_length": 40, "working_size": 48},
    },
    "tokenizers.yaml": {"data": {"init_args": {"image_size": 32, "working_size": 48}}, "trainer": {"max_steps": 2}},
    "patches.yaml": {"model": {"init_args": {"perceptual_weight": 0.0}}},
    "means.yaml": {"model": {"init_args": {"generator": {"init_args": {"shape": [16, 2, 2], "num_classes": 5}}}}},
    "generators.yaml": {"trainer": {"max_steps": 4, "val_check_interval": 4}},
}  # fmt: skip
# Every command that the pipeline would run for the two, in its order.
COMMANDS = """
fit patches
evaluate patches
profile patches
fit patches_classes
cache patches_classes
images train
images test
images patches_classes
features real
fit means
profile means
generate-curve means
evaluate-generator means
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The packages and the rows in a folder of their own, with the recipes followed."""
    folder = tmp_path_factory.mktemp("contributing")
    for name in ("gpstoken", "datamodules", "reports", "experiments"):
        ignored = shutil.ignore_patterns("__pycache__", "generated")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    (folder / "data").mkdir()
    for name in ("embedded", "networks"):
        (folder / "data" / name).symlink_to(ROOT / "data" / name)
    blocks = BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text())
    assert len(blocks) == 8
    for name, section, text in blocks:
        path = folder / name
        if section:  # a line in a section of a file
            lines = path.read_text().split("\n")
            place = next(number for number, line in enumerate(lines) if line.startswith(f"{section}:"))
            path.write_text("\n".join([*lines[: place + 1], text.rstrip("\n"), *lines[place + 1 :]]))
        else:
            path.write_text(text)
    (folder / "experiments/tiny").mkdir()
    for name, content in TINY.items():
        (folder / "experiments/tiny" / name).write_text(yaml.safe_dump(content))
    return folder


def run(folder, *words):
    environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stderr[-2000:]}"
    return done.stdout


# One process for all commands: each of its own would spend most of its time on imports.
ALL = """
import sys
from gpstoken import cli
for line in sys.stdin.read().strip().splitlines():
    code = cli.main([*line.split(), "--scale", "tiny"])
    assert code == 0, line
"""


def test_the_recipes_make_rows_of_every_table(copy):
    environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ALL],
        input=COMMANDS,
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # It measures memory, in forks of a process that has trained nothing.
    run(copy, sys.executable, "-m", "gpstoken.cli", "cost", "means", "--scale", "tiny")
    run(copy, sys.executable, "-m", "reports.tables", "--scale", "tiny", "-o", "tables")
    rows = {
        "reconstruction": ("Linear patches", "4 x 16"),
        "efficiency": ("Linear patches", "Class means"),
        "generation": ("Class means", "spread 0.1"),
        "generation_training": ("Class means",),
    }
    for table, words in rows.items():
        page = (copy / "tables" / f"{table}.md").read_text()
        assert all(word in page for word in words), (table, words)
    # Pages leave some columns to the other files.
    lines = json.loads((copy / "tables" / "generation.json").read_text())["rows"]
    line = next(line for line in lines if line["cells"]["method"]["text"] == "Class means")
    assert (line["cells"]["samples"]["text"], line["source"]) == ("1 x 40", "ours, tiny scale, 32 px")


def test_the_rows_are_stages_of_the_pipeline(copy, monkeypatch):
    monkeypatch.chdir(copy)
    from dvc.repo import Repo

    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, copy / name)
    (copy / ".dvc").mkdir()
    (copy / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    stages = {stage.addressing for stage in Repo(str(copy)).index.stages}
    assert {
        "fit@patches", "evaluate@patches", "profile@patches", "fit-tokenizer@patches_classes", "cache@patches_classes",
        "reconstructions@patches_classes", "fit-network@means", "profile-network@means", "generate@means",
        "evaluate-generator@means", "cost@means",
    } <= stages  # fmt: skip
