"""Result files of generators as `gpstoken evaluate-generator` writes them, with their costs."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reports.declared import generators
from reports.names import named_result
from reports.tables.columns import ACCURACY, INCEPTION_SCORES, SCORES
from reports.tables.results import Result

Record = dict[str, Any]
SAME_BUDGET = 0.02  # steps are whole numbers, and networks of one size differ by their first and last layers


def read_generators(results: Path, rows: Sequence[str] | None = None) -> dict[str, Record | None]:
    """The results of rows in results/SCALE/generators with their costs beside them; None where there is none.

    Without `rows` they are those that the paper compares.

    Raises:
        ValueError: if a file is not what its name says, or two of them cannot be compared with each other.
    """
    ours = {row: _read(results / "generators" / f"{row}.json") for row in rows or generators()}
    records = [record for record in ours.values() if record is not None]
    for record in records[1:]:
        first, other = _origin(records[0]), _origin(record)
        for name in first:
            if first[name] != other[name]:
                rows = f"{records[0]['row']} and {record['row']}"
                raise ValueError(f"{rows}: measured with different {name}, {first[name]} and {other[name]}")
    return ours


def as_result(record: Record | None, results: Path) -> Result | None:
    """A row of samples in the shape of a row of images, for claims: a number a seed, of all samples together."""
    if record is None:
        return None
    values = {name: np.array(score["per_seed"], dtype=float)[:, None] for name, score in record["scores"].items()}
    return Result(record, values, [0], ["all samples of a seed"], results / "generators" / f"{record['row']}.json")


def budget(record: Record) -> float | None:
    """Billions of multiply-adds of all training samples, forward, in all networks of a row; None if not counted."""
    networks, every = record.get("cost", {}).get("training", {}), record["generator"]["stages"]
    if not all("gmacs" in networks.get(name, {}) for name in every):
        return None
    return sum(stage["steps"] * stage["batch_size"] * networks[name]["gmacs"] for name, stage in every.items())


def _read(path: Path) -> Record | None:
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    cost = path.parent.with_name("cost") / path.name
    if cost.is_file():
        record["cost"] = json.loads(cost.read_text(encoding="utf-8"))
        named, scale = named_result(cost, record["cost"]), record.get("scale")
        if (named.group, named.row, named.scale) != ("cost", path.stem, scale):
            raise ValueError(f"{cost}: holds {named}, not the cost of {path.stem} at the scale {scale!r}")
    if (record.get("group"), record.get("row")) != ("generators", path.stem):
        raise ValueError(f"{path}: holds the row {record.get('row')!r} of the group {record.get('group')!r}")
    curve = [(f"step {point['step']}, ", point["scores"]) for point in record.get("curve", [])]
    for place, scores in [("", record["scores"]), *curve]:
        for name, score in scores.items():
            if name not in SCORES:
                raise ValueError(f"{path}: {place}score {name!r} has no column in reports/tables/columns.yaml")
            # A distance of another network must never pass for an FID.
            network = "inception" if name in INCEPTION_SCORES else name.partition("_")[2]
            if name != ACCURACY and network not in record["networks"]:
                raise ValueError(f"{path}: {place}score {name!r} belongs to the network {network}, which was not used")
            if len(score["per_seed"]) != len(record["seeds"]):
                held, seeds = len(score["per_seed"]), len(record["seeds"])
                raise ValueError(f"{path}: {place}score {name!r} has {held} numbers for {seeds} seeds")
    return record


def _origin(record: Record) -> dict[str, Any]:
    """What rows of one table share, in words as an error names it."""
    return {
        "scale": record["scale"],
        "seeds": record["seeds"],
        "batch size": record["training"]["batch_size"],
        "images": f"fingerprint {record['data']['fingerprint'][:12]}",
        "real images": {name: part["sha256"][:12] for name, part in record["reference"].items()},
        "numbers of samples": sorted({score["count"] for score in record["scores"].values()}),
    }


def source(record: Record) -> str:
    """Where a row of ours comes from: "ours, laptop scale, 64 px"."""
    side = record["data"].get("init_args", {}).get("image_size")
    return f"ours, {record['scale']} scale" + (f", {side} px" if side else "")


def samples_per_seed(record: Record) -> int:
    """How many samples of each seed were scored."""
    return max(score["count"] for score in record["scores"].values())


def stages(record: Record) -> dict[str, dict[str, Any]]:
    """Every stage: its parameters and budget, and what was measured of its training."""
    measured = record.get("cost", {}).get("training", {})
    return {name: stage | measured.get(name, {}) for name, stage in record["generator"]["stages"].items()}


def stage_hours(stage: dict[str, Any], speed: str = "iterations_per_second") -> float | None:
    """Iterations of a stage over iterations a second; `speed` may be that of its slowest or fastest iteration."""
    return stage["steps"] / stage[speed] / 3600 if stage.get(speed) else None


def hours(record: Record, speed: str = "iterations_per_second") -> float | None:
    """Training time of all stages."""
    parts = [stage_hours(stage, speed) for stage in stages(record).values()]
    return None if None in parts or not parts else sum(parts)


def memory(record: Record) -> float | None:
    """Peak memory of training in MB: that of the largest stage."""
    parts = [stage.get("peak_memory_mb") for stage in stages(record).values()]
    return None if None in parts or not parts else max(parts)


def positions(stage: dict[str, Any]) -> int | None:
    """Positions that a transformer computes with: tokens, or patches of the grid."""
    network = stage.get("network", {})
    shape, patch = network.get("shape"), network.get("patch_size", 1)
    return None if shape is None else math.prod(side // patch for side in shape)
