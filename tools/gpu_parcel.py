"""What travels to a GPU machine with the tree: photographs, weights and wheels, in scratch/gpu; see tools/gpu.py."""

import csv
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml
from PIL import Image

from gpstoken.files.pictures import read_picture
from gpstoken.files.provenance import commit
from gpstoken.files.weights import read_weights
from gpstoken.files.writing import replacing

ROOT = Path(__file__).resolve().parents[1]
PHOTOGRAPHS, NETWORK = ROOT / "data/embedded", ROOT / "data/networks/lpips_alexnet.safetensors"
RECIPE = ROOT / "experiments/tokenizers/small.yaml"
# What the machine lacks, of what tests, benchmarks and training import; all of it is pure Python.
WHEELS = ("docstring-parser", "jsonargparse", "lightning", "lpips", "torch-fidelity", "typeshed-client")
MIB = 2**20
TRAVELLING = 64 * MIB  # the machine's limit
WEIGHTS = "small.safetensors"


def prepare(carried: Path, weights: Path | None) -> None:
    """Packs what travels, checks that it may, and prints the call of the machine.

    Args:
        carried: folder for it.
        weights: a file of `gpstoken export` from which the training starts, such as the one that came back.

    Raises:
        ValueError: if data are missing, damaged or too large.
    """
    for needed in (PHOTOGRAPHS / "index.csv", NETWORK):
        if not needed.is_file():
            raise ValueError(f"{needed}: missing; run python -m datamodules.prepare -o data/embedded")
    if weights is not None:
        read_weights(weights)
    # Quick where weights have come back, because the machine is held for half a minute.
    if weights is None or not carried.is_dir():
        shutil.rmtree(carried, ignore_errors=True)
        pack(carried)
        pinned = dict(re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
        wanted = [f"{name}=={pinned[name]}" for name in WHEELS]
        command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*command, "--python-version", "3.12", "-d", carried / "wheels", *wanted], check=True)
    if weights is not None:
        shutil.copy(weights, carried / WEIGHTS)
    (carried / "commit.txt").write_text(commit() if commit().isalnum() else "")  # not with changes
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    tree, along = size(ROOT / name for name in names), size(carried.rglob("*"))
    if tree + along > TRAVELLING:
        raise ValueError(f"tree and scratch/gpu: {(tree + along) / MIB:.1f} MiB, expected {TRAVELLING // MIB} at most")
    print(f"{tree / MIB:.1f} MiB of tree and {along / MIB:.1f} MiB of scratch/gpu travel. Call the device tool's run:")
    print('  carry: ["scratch/gpu"]\n  timeout_s: 580\n  command: python3 tools/gpu.py --seconds 530')


def pack(carried: Path, every: int = 1) -> None:
    """Writes the training and validation photographs, at the size that training reads, and the network of LPIPS.

    Args:
        carried: folder for them.
        every: of each split, one photograph in so many.
    """
    largest = max(data_of(phase)["working_size"] for phase in phases())
    with (PHOTOGRAPHS / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["domain"] != "labelled"]
    kept = [row for split in ("train", "val") for row in [row for row in rows if row["split"] == split][::every]]
    for row in kept:
        source, target, content = PHOTOGRAPHS / row["path"], carried / "embedded" / row["path"], io.BytesIO()
        Image.fromarray(read_picture(source, largest)).save(content, "jpeg", quality=90, subsampling=0)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as part:  # its name may end in png: readers look at the content
            part.write_bytes(min(content.getvalue(), source.read_bytes(), key=len))
    with replacing(carried / "embedded/index.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(kept[0]))
        writer.writeheader()
        writer.writerows(kept)
    shutil.copy(NETWORK, carried)


def size(paths: Iterable[Path]) -> int:
    """Bytes of those paths that are files."""
    return sum(path.stat().st_size for path in paths if path.is_file())


def settings(path: Path) -> dict:
    """A YAML file."""
    return yaml.safe_load(path.read_text())


def data_of(phase: Path) -> dict:
    """The arguments of a phase's data."""
    return settings(RECIPE)["data"]["init_args"] | settings(phase).get("data", {}).get("init_args", {})


def phases() -> list[Path]:
    """The recipe's phases in order, without those that the next one only repeats for longer."""
    files = sorted(RECIPE.with_suffix("").glob("[0-9]*.yaml"))
    kinds = [_kind(file) for file in files]
    return [file for file, kind, later in zip(files, kinds, [*kinds[1:], None], strict=True) if kind != later]


def _kind(phase: Path) -> dict:
    """What a phase sets, but for where it starts, how fast it learns and how long."""
    sets = settings(phase)
    for section, name in (("model", "learning_rate"), ("model", "weights"), ("trainer", "max_steps")):
        sets.get(section, {}).get("init_args", sets.get(section, {})).pop(name, None)
    return sets
