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
        indices: the index of each image.
        sources: the photograph of each image.
    """

    record: dict[str, Any]
    values: dict[str, np.ndarray]
    indices: list[int]
    sources: list[str]


def read_result(path: Path) -> Result | None:
    """Reads ROW.json and ROW.csv; None where the row has not been evaluated.

    Raises:
        ValueError: if the two files do not belong together, or the row is not that of its file name.
    """
    if not path.is_file():
        return None
    table = path.with_suffix(".csv")
    if not table.is_file():
        raise ValueError(f"{path}: the numbers of its images, {table.name}, are missing")
    record = json.loads(path.read_text())
    if record["row"] != path.stem:
        raise ValueError(f"{path}: holds the row {record['row']!r}")
    with table.open(newline="") as file:
        rows = {(int(row["seed"]), int(row["index"])): row for row in csv.DictReader(file)}
    seeds, count = record["seeds"], record["data"]["images"]
    indices = sorted({index for _, index in rows})
    if len(indices) != count or set(rows) != {(seed, index) for seed in seeds for index in indices}:
        raise ValueError(f"{table}: expected each of {count} images once for each of the seeds {seeds}")
    sources = [rows[seeds[0], index]["source"] for index in indices]
    values = {
        name: np.array([[float(rows[seed, index][name]) for index in indices] for seed in seeds])
        for name in record["metrics"]
    }
    return Result(record, values, indices, sources)


def check_same_origin(results: list[Result]) -> None:
    """Refuses rows that cannot stand in one table: of another scale, other images, seeds or budget.

    Raises:
        ValueError: naming the first two rows that differ, and in what.
    """
    for result in results[1:]:
        for name in ("scale", "images", "seeds", "training"):
            first, other = _origin(results[0])[name], _origin(result)[name]
            if first != other:
                rows = f"{results[0].record['row']} and {result.record['row']}"
                raise ValueError(f"{rows}: measured with different {name}, {_short(first)} and {_short(other)}")


def _origin(result: Result) -> dict[str, Any]:
    record = result.record
    images = (record["data"]["fingerprint"], result.indices, result.sources)
    return {"scale": record["scale"], "images": images, "seeds": record["seeds"], "training": record["training"]}


def _short(value: Any) -> str:
    return f"fingerprint {value[0][:12]}" if isinstance(value, tuple) else repr(value)
