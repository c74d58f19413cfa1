"""Result files as `gpstoken evaluate` writes them, read and checked."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reports.names import named_result
from reports.tables.columns import COLUMNS, INCEPTION_COLUMNS


@dataclass(frozen=True)
class Result:
    """One row of a table.

    Attributes:
        record: the JSON file.
        values: float[seeds, images] of every metric, from the CSV beside it.
        indices: the index of each image.
        sources: the photograph of each image.
        path: the JSON file.
    """

    record: dict[str, Any]
    values: dict[str, np.ndarray]
    indices: list[int]
    sources: list[str]
    path: Path = Path()

    @property
    def evaluated(self) -> dict[str, Any]:
        """What was evaluated: row, focus, image_size, num_tokens of the whole image and code; as trained if not said.

        `code` has the shape of the tokens, the numbers of each (`channels`) and `codebook_size`, or is None.
        """
        trained = self.record["tokenizer"].get("init_args", {})
        usual = {name: trained[name] for name in ("image_size", "num_tokens") if name in trained}
        return {"row": self.record["row"], "focus": None, "code": None, **usual, **self.record.get("evaluated", {})}


def read_result(path: Path) -> Result | None:
    """Reads ROW.json and ROW.csv; None where the row has not been evaluated.

    Raises:
        ValueError: if the two files do not belong together, the first does not say its row, group and scale, the row is
            not that of its file name, or a distance bears a name that is not its own.
    """
    if not path.is_file():
        return None
    table = path.with_suffix(".csv")
    if not table.is_file():
        raise ValueError(f"{path}: the numbers of its images, {table.name}, are missing")
    record = json.loads(path.read_text())
    if named_result(path, record).row != path.stem:
        raise ValueError(f"{path}: holds the row {record['row']!r}")
    _check_scores(path, record.get("scores", {}))
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
    return Result(record, values, indices, sources, path)


def _check_scores(path: Path, scores: dict[str, Any]) -> None:
    for name, score in scores.items():
        if name not in COLUMNS:
            raise ValueError(f"{path}: score {name!r} has no column in reports/tables/columns.yaml")
        # A distance of another network must never pass for an FID.
        label = score.get("label", COLUMNS[name].heading)
        if name in INCEPTION_COLUMNS and not label.replace("-Inception", "").endswith(("FID", "KID")):
            raise ValueError(f"{path}: score {name!r} is labelled {label!r}, which is no Inception distance")


def check_scale(path: Path, record: dict[str, Any], scale: str) -> None:
    """Refuses a result that lies in the folder of another scale.

    Raises:
        ValueError: naming the file and both scales.
    """
    if record["scale"] != scale:
        raise ValueError(
            f"{path}: belongs to the scale {record['scale']!r}, not {scale!r}; move it to that scale's folder"
        )


def clusters(data: dict[str, Any]) -> str:
    """What the images of a result come from, in words: "16 photographs"; faces are counted by person."""
    return f"{data['photographs']} {'people' if data.get('dataset') == 'faces' else 'photographs'}"


def check_same_origin(results: list[Result], sizes_differ: bool = False) -> None:
    """Refuses rows that cannot be compared with each other: of another scale, other images, seeds or budget.

    Args:
        results: the rows.
        sizes_differ: whether images of several sizes, of the same views of the same photographs, may be compared.

    Raises:
        ValueError: naming the first two rows that differ, and in what.
    """
    first_of_size: dict[Any, Result] = {}
    for result in results:
        same_size = first_of_size.setdefault(result.evaluated["image_size"] if sizes_differ else None, result)
        check_same(results[0], result, "scale")
        check_same(same_size, result, "images")
        for name in ("photographs", "seeds", "training"):
            check_same(results[0], result, name)


def check_same(first: Result, other: Result, name: str) -> None:
    """Refuses two rows that differ in `name`: scale, images, photographs, seeds or training.

    Raises:
        ValueError: naming the rows and what differs.
    """
    values = []
    for result in (first, other):
        images = {"images": result.record["data"]["fingerprint"], "photographs": (result.indices, result.sources)}
        values.append(images[name] if name in images else result.record[name])
    if values[0] != values[1]:
        rows = f"{first.record['row']} and {other.record['row']}"
        raise ValueError(f"{rows}: measured with different {name}, {' and '.join(_short(name, v) for v in values)}")


def _short(name: str, value: Any) -> str:
    if name == "images":
        return f"fingerprint {value[:12]}"
    if name == "photographs":
        return f"{len(value[0])} images of {len(set(value[1]))}"
    return repr(value)
