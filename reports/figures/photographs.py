"""The photographs that figures show: held out, those with credited makers first."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gpstoken.images import centre_square, read_photo


class Photograph(NamedTuple):
    """One photograph: its file, and what it is credited as."""

    path: Path
    credit: str

    def image(self, size: int) -> Tensor:
        """Its centre as float[1, 3, size, size] in [-1, 1]."""
        pixels = np.array(centre_square(read_photo(self.path), size))
        return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1


def held_out(root: Path, count: int, domain: str = "natural") -> list[Photograph]:
    """The first `count` test photographs of a domain, one of each sitting; CC licences, whose makers are named, lead.

    Args:
        root: folder that `python -m datamodules.prepare` wrote; none come back where there is no index.csv.
        count: how many at most.
        domain: as index.csv calls it.
    """
    index = root / "index.csv"
    if not index.is_file():
        return []
    with index.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (row["domain"], row["split"]) == (domain, "test")]
    rows.sort(key=lambda row: (row["licence"], row["path"]))
    sittings: dict[str, dict[str, str]] = {}
    for row in rows:
        sittings.setdefault(row["group_id"], row)
    return [
        Photograph(root / row["path"], f"{_named(row['source_id'])} ({row['licence']})")
        for row in list(sittings.values())[:count]
    ]


def credits(photographs: list[Photograph]) -> str:
    """One line that says whose the photographs are."""
    return "Held-out photographs: " + ", ".join(photograph.credit for photograph in photographs)


def _named(source: str) -> str:
    """PACKAGE__NAME, as datamodules names what it takes out of packages, in words."""
    package, _, name = source.rpartition("__")
    return f"{name} of {package}" if package else name
