"""Result files of generators as `gpstoken evaluate-generator` writes them, with their costs."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from reports.declared import generators
from reports.tables.columns import ACCURACY, INCEPTION_SCORES, SCORES
from reports.tables.results import Result, check_same, read_record

Record = dict[str, Any]


def read_generators(results: Path, rows: Sequence[str] | None = None) -> dict[str, Result | None]:
    """The results of rows in results/SCALE/generators; None where there is none.

    A record has its cost beside it as "cost"; a score has a number a seed, of all samples together. Without `rows` they
    are those that the paper compares.

    Raises:
        ValueError: if a file is not what its name says or of another scale, or two of them cannot be compared.
    """
    ours = {row: _read(results, row) for row in rows or generators()}
    measured = [result for result in ours.values() if result is not None]
    for result in measured:
        check_same(measured[0], result, "seeds", "batch size", "images", "real images", "numbers of samples")
    return ours


def _read(results: Path, row: str) -> Result | None:
    path = results / "generators" / f"{row}.json"
    result = read_record(path, "generators", results.name)
    if result is None:
        return None
    record = result.record
    if cost := read_record(results / "cost" / path.name, "cost", results.name):
        record["cost"] = cost.record
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
    values = {name: np.array(score["per_seed"], dtype=float)[:, None] for name, score in record["scores"].items()}
    return replace(result, values=values, indices=[0], sources=["all samples of a seed"])


def budget(record: Record) -> float | None:
    """Billions of multiply-adds of all training samples, forward, in all networks of a row; None if not counted."""
    measured, every = record.get("cost", {}).get("training", {}), record["generator"]["stages"]
    if not all("gmacs" in measured.get(name, {}) for name in every):
        return None
    return sum(stage["steps"] * stage["batch_size"] * measured[name]["gmacs"] for name, stage in every.items())


def source(record: Record) -> str:
    """Where a row of ours comes from: "ours, laptop scale, 64 px"."""
    side = record["data"].get("init_args", {}).get("image_size")
    return f"ours, {record['scale']} scale" + (f", {side} px" if side else "")


def samples_per_seed(record: Record) -> int:
    """How many samples of each seed were scored."""
    return max(score["count"] for score in record["scores"].values())


def stages(record: Record) -> dict[str, dict[str, Any]]:
    """Every stage: its parameters and budget, its positions, and what was measured of its training.

    Positions are those that a transformer computes with: tokens, or patches of the grid; None where it does not say.
    """
    every, measured = {}, record.get("cost", {}).get("training", {})
    for name, stage in record["generator"]["stages"].items():
        network = stage.get("network", {})
        sides = [side // network.get("patch_size", 1) for side in network.get("shape", ())]
        every[name] = stage | measured.get(name, {}) | {"positions": math.prod(sides) if sides else None}
    return every


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


def seconds(record: Record) -> float | None:
    """Time of sampling an image with the whole generator."""
    speed = record.get("cost", {}).get("inference", {}).get("samples_per_second")
    return 1 / speed if speed else None
