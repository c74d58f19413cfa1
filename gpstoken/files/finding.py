"""Finds the pictures of a folder: follows links, skips hidden files and everything that this program wrote there."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from gpstoken.files.pictures import ENDINGS, OTHER_ENDINGS, printable

# A folder with one file of each tuple was made by: a run of `gpstoken fit`, a prepared evaluation set, `generate` when
# complete, `generate` when incomplete. MLflow's folders of published pictures are recognised only by their name.
OURS = (
    (("config.yaml",), ("last.ckpt", "metrics.csv", "origin.json")),
    (("meta.json",), ("index.csv",), ("000000.png",)),
    (("samples.json",), ("labels.csv",)),
    ((".identity.json",),),
)
MLFLOW = ("mlruns", "mlartifacts")
DRAWN = ("Software", "gpstoken")  # the text in a picture that `encode --draw` writes beside its token file


@dataclass
class Found:
    """The result of a search.

    Attributes:
        names: paths of the pictures relative to the folder, with slashes, sorted; as `os.fsdecode` gives them.
        other: number of files for each ending of picture formats that are not read.
        ours: folders left out because this program made them.
        closed: folders without permission to read.
    """

    names: list[str] = field(default_factory=list)
    other: Counter = field(default_factory=Counter)
    ours: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """One line for each kind of file or folder that was left out."""
        lines = []
        if self.other:
            counts = ", ".join(f"{count} {ending}" for ending, count in sorted(self.other.items()))
            lines.append(f"{counts}: these picture formats are not read; convert the files to use them")
        for folders, why in ((self.ours, "made by gpstoken or MLflow"), (self.closed, "without permission to read")):
            if folders:
                more = f" and {len(folders) - 3} more" if len(folders) > 3 else ""
                shown = ", ".join(map(printable, sorted(folders)[:3]))
                lines.append(f"left out {len(folders)} folder{'s' * (len(folders) > 1)} {why}: {shown}{more}")
        return lines


def find_pictures(root: Path, leave_ours_out: bool = True) -> Found:
    """Searches a folder and all its subfolders for pictures, by the endings of file names.

    Links to files and folders are followed, unless a folder has already been searched or contains the root. Hidden
    files and folders are left out, and so are subfolders that this program made. A broken link counts as a picture if
    its name says so: reading it is an error that names it.

    Args:
        root: the folder.
        leave_ours_out: whether to leave out pictures that this program made.
    """
    result = Found()
    seen = _above(root)
    # Real folders come before linked ones, so a folder that can be reached by two paths gets its real path.
    waiting, links = [""], []
    while waiting or links:
        folder = waiting.pop() if waiting else links.pop(0)
        try:
            identity = _identity(root / folder)
            if identity in seen:
                continue
            seen.add(identity)
            with os.scandir(root / folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError:
            result.closed.append(folder or ".")
            continue
        there = {entry.name for entry in entries}
        if folder and leave_ours_out and _is_ours(folder, there):
            result.ours.append(folder)
            continue
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            ending = os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith("."):  # thumbnails, checkpoints and the like, made by file managers and tools
                continue
            if _is_folder(entry):
                (links if entry.is_symlink() else waiting).append(name)
            elif ending in ENDINGS:
                if not (leave_ours_out and ending == ".png" and _is_drawn(root / name, there)):
                    result.names.append(name)
            elif ending in OTHER_ENDINGS:
                result.other[ending] += 1
        links.sort()
    result.names.sort()
    return result


def _is_ours(folder: str, names: set[str]) -> bool:
    if folder.rpartition("/")[2] in MLFLOW:
        return True
    return any(all(any(name in names for name in choice) for choice in rule) for rule in OURS)


def _is_drawn(path: Path, there: set[str]) -> bool:
    """Whether a PNG is a drawing of `encode`; only a PNG beside a token file of the same name is opened."""
    if f"{path.stem}.safetensors" not in there:
        return False
    try:
        with path.open("rb") as file:
            return "\0".join(DRAWN).encode() in file.read(128)
    except OSError:
        return False


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _above(root: Path) -> set[tuple[int, int]]:
    return {_identity(folder) for folder in root.resolve().parents}


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino
