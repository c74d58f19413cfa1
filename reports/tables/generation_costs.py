"""What training and sampling a generator cost, from the `cost` of its result."""

import math
from typing import Any

from reports.tables.generation_results import Record


def costs(ours: dict[str, Record | None]) -> dict[str, Record]:
    """The rows whose cost was measured."""
    return {row: record for row, record in ours.items() if record is not None and record.get("cost")}


def stages(record: Record) -> dict[str, dict[str, Any]]:
    """Every stage: its parameters and budget, and what was measured of its training."""
    measured = record.get("cost", {}).get("training", {})
    return {name: stage | measured.get(name, {}) for name, stage in record["generator"]["stages"].items()}


def stage_hours(stage: dict[str, Any], speed: str = "iterations_per_second") -> float | None:
    """Iterations of a stage over iterations a second; `speed` may be that of its slowest or fastest iteration."""
    return stage["steps"] / stage[speed] / 3600 if stage.get(speed) else None


def hours(record: Record, speed: str = "iterations_per_second") -> float | None:
    """Training time of all stages."""
    each = [stage_hours(stage, speed) for stage in stages(record).values()]
    return None if None in each or not each else sum(each)


def memory(record: Record) -> float | None:
    """Peak memory of training in MB: that of the largest stage."""
    each = [stage.get("peak_memory_mb") for stage in stages(record).values()]
    return None if None in each or not each else max(each)


def samples_per_second(record: Record) -> float | None:
    """Of the whole generator, from the class to the image."""
    return record.get("cost", {}).get("inference", {}).get("samples_per_second")


def positions(stage: dict[str, Any]) -> int | None:
    """Positions that a transformer computes with: tokens, or patches of the grid."""
    network = stage.get("network", {})
    shape, patch = network.get("shape"), network.get("patch_size", 1)
    return None if shape is None else math.prod(side // patch for side in shape)
