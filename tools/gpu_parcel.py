"""What travels to a GPU machine with the tree: photographs, weights and wheels, in scratch/gpu; see tools/gpu.py."""

import csv
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
import yaml
from PIL import Image

from gpstoken import GPSToken
from gpstoken.files.checkpoints import read_plain, write_plain
from gpstoken.files.pictures import read_picture
from gpstoken.files.provenance import commit
from gpstoken.files.writing import replacing

ROOT = Path(__file__).resolve().parents[1]
PHOTOGRAPHS, NETWORK = ROOT / "data/embedded", ROOT / "data/networks/lpips_alexnet.safetensors"
RECIPE = ROOT / "experiments/tokenizers/small.yaml"
# What the machine lacks, of what tests, benchmarks and training import; all of it is pure Python.
WHEELS = ("docstring-parser", "jsonargparse", "lightning", "lpips", "torch-fidelity", "typeshed-client")
MIB = 2**20
TRAVELLING, RETURNED = 64 * MIB, 16 * MIB  # the machine's limits: of all that travels, of each file that comes back


def prepare(carried: Path, results: Path | None) -> None:
    """Packs what travels, checks that it may, and prints the call of the machine.

    Raises:
        ValueError: if data are missing or too large.
    """
    weights = None if results is None else results / "weights.ckpt"
    for needed in filter(None, (PHOTOGRAPHS / "index.csv", NETWORK, weights)):
        if not needed.is_file():
            raise ValueError(f"{needed}: missing")
    if weights is None or not carried.is_dir():
        shutil.rmtree(carried, ignore_errors=True)
        pack(carried)
        pinned = dict(re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
        wanted = [f"{name}=={pinned[name]}" for name in WHEELS]
        command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*command, "--python-version", "3.12", "-d", carried / "wheels", *wanted], check=True)
    (carried / "weights.ckpt").unlink(missing_ok=True)
    if weights is not None:  # in half precision, which is enough to start from and leaves room for the tree to grow
        content = read_plain(weights)
        content["state_dict"] = {name: value.half() for name, value in content["state_dict"].items()}
        write_plain(carried / "weights.ckpt", content)
    (carried / "commit.txt").write_text(commit() if commit().isalnum() else "")  # not with changes
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    tree, along = size(ROOT / name for name in names), size(carried.rglob("*"))
    with torch.device("meta"):
        tokenizer = GPSToken(**settings(RECIPE)["model"]["init_args"]["tokenizer"]["init_args"])
    returned = sum(value.nbytes for value in tokenizer.state_dict().values())
    for what, bytes_, limit in (("tree and scratch/gpu", tree + along, TRAVELLING), ("weights", returned, RETURNED)):
        if bytes_ > limit:
            raise ValueError(f"{what}: {bytes_ / MIB:.1f} MiB, more than the {limit // MIB} MiB that may travel")
    print(f"{tree / MIB:.1f} MiB of tree and {along / MIB:.1f} MiB of scratch/gpu travel. Call the device tool's run:")
    print('  carry: ["scratch/gpu"]\n  timeout_s: 580\n  command: python3 tools/gpu.py --seconds 530')


def pack(carried: Path, every: int = 1) -> None:
    """Writes the training and validation photographs, at the size that training reads, and the network of LPIPS.

    Args:
        carried: folder for them.
        every: of each split, one photograph in so many.
    """
    sizes = [settings(phase)["data"]["init_args"]["working_size"] for phase in phases()]
    with (PHOTOGRAPHS / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["domain"] != "labelled"]
    kept = [row for split in ("train", "val") for row in [row for row in rows if row["split"] == split][::every]]
    for row in kept:
        source, target, content = PHOTOGRAPHS / row["path"], carried / "embedded" / row["path"], io.BytesIO()
        Image.fromarray(read_picture(source, max(sizes))).save(content, "jpeg", quality=90, subsampling=0)
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


def phases() -> list[Path]:
    """The recipe's phases in order."""
    return sorted(RECIPE.with_suffix("").glob("[0-9]*.yaml"))
