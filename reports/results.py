"""Result files as `gpstoken evaluate` writes them, read and checked."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Result:
    """One row of a table.

    Attributes:
        record: the JSON file.
        values: float[seeds, images] of every metric, from the CSV beside it.
        sources: the photograph of each image.
    """

    record: dict[str, Any]
    values: dict[str, np.ndarray]
    sources: list[str]


def read_result(path: Path) -> Result | None:
    """Reads ROW.json and ROW.csv; None where the row has not been evaluated.

    Raises:
        ValueError: if the two files do not belong together.
    """
    if not path.is_file():
        return None
    record = json.loads(path.read_text())
    with path.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    seeds, images = record["seeds"], record["data"]["images"]
    order = [(str(seed), str(index)) for seed in seeds for index in range(images)]
    if [(row["seed"], row["index"]) for row in rows] != order:
        raise ValueError(
            f"{path.with_suffix('.csv')}: expected seeds {seeds} with images 0 to {images - 1} each, in order"
        )
    values = {
        name: np.array([float(row[name]) for row in rows]).reshape(len(seeds), images) for name in record["metrics"]
    }
    return Result(record, values, [row["source"] for row in rows[:images]])


def comparable(first: Result, second: Result) -> bool:
    """Whether two rows saw the same images under the same seeds, so that they can be compared image by image."""
    return (
        first.record["seeds"] == second.record["seeds"]
        and first.record["data"]["fingerprint"] == second.record["data"]["fingerprint"]
    )
