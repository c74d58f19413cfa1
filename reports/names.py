"""What a run is called in MLflow: the publisher gives the names, the site finds them again."""

from pathlib import Path
from typing import Any, NamedTuple

# Folders of results/SCALE whose records are no evaluation.
KINDS = {"efficiency": "profile", "cost": "cost", "speed": "profile"}


class Named(NamedTuple):
    """Which row, in which group, at which scale, and what was done with it."""

    row: str
    kind: str
    group: str
    scale: str

    def __str__(self) -> str:
        """The name of the run."""
        return f"{self.row} {self.kind} ({self.group}, {self.scale})"


def named_result(path: Path, record: dict[str, Any]) -> Named:
    """The names that a result says of itself; where its file lies or how it is called says nothing.

    Raises:
        ValueError: for a result that does not say its row, group and scale; names the file.
    """
    if {"machine", "rows"} <= record.keys() and "row" not in record:  # timings of kernels, of a machine alone
        return Named(record["machine"].get("processor", "unknown"), "timing", "benchmarks", "none")
    names = {name: record.get(name) for name in ("row", "group", "scale")}
    missing = [name for name, value in names.items() if not isinstance(value, str) or not value]
    if missing:
        raise ValueError(f"{path}: does not say its {' and '.join(missing)}; run the command that wrote it again")
    return Named(names["row"], KINDS.get(names["group"], "evaluation"), names["group"], names["scale"])


def named_training(folder: Path, seed: int, origin: dict[str, Any]) -> Named:
    """The names that a training says of itself in its origin; one that nobody has named is called by its folder."""
    row, group, scale = (origin.get(name, "none") for name in ("row", "group", "scale"))
    if row == "none":
        return Named(folder.resolve().name, folder.resolve().name, group, scale)
    return Named(row, f"seed{seed}", group, scale)


def sweep_tags(named: Named, arguments: dict[str, Any]) -> dict[str, str]:
    """{"sweep", "sweep_value"} of a row ARGUMENT=VALUE in the group `sweeps`, by `arguments` of its tokenizer."""
    parameter, equals, _ = named.row.partition("=")
    if named.group != "sweeps" or not equals:
        return {}
    return {"sweep": parameter, "sweep_value": str(arguments.get(parameter))}
