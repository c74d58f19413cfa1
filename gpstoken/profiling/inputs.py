"""The inputs for counting and timing networks."""

import csv
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gpstoken.images import centre_square, read_photo

PHOTOS = Path("data/embedded")


def photographs(batch: int, size: int, folder: Path = PHOTOS) -> Tensor:
    """The first natural test photographs, repeated if there are too few.

    Timing needs photographs, because the time of the partition and of the culled renderer depends on the image.

    Args:
        batch: number of images.
        size: side of the centre square in pixels.
        folder: a folder that `python -m datamodules.prepare` has written.

    Returns:
        float[batch, 3, size, size] in [-1, 1].

    Raises:
        FileNotFoundError: if the folder is missing.
        ValueError: if it has no natural test photograph, or a damaged one.
    """
    index = folder / "index.csv"
    if not index.is_file():
        raise FileNotFoundError(f"{index}: no photographs to time on; run `python -m datamodules.prepare -o {folder}`")
    with index.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("domain") == "natural" and row.get("split") == "test"]
    if not rows:
        raise ValueError(f"{index}: lists no natural test photograph to time on")
    photos = [np.array(centre_square(read_photo(folder / row["path"]), size)) for row in rows[:batch]]
    levels = torch.from_numpy(np.stack(list(islice(cycle(photos), batch))))
    return levels.permute(0, 3, 1, 2).float() / 127.5 - 1


def picture(batch: int, size: int) -> Tensor:
    """Noise float[batch, 3, size, size] in [-1, 1], for counting, which does not depend on the image."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.rand(1, 3, size, size).mul_(2).sub_(1).expand(batch, -1, -1, -1).contiguous()
