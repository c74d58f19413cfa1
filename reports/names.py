"""What a run is called in MLflow: the publisher gives the names, the site finds them again."""

from pathlib import Path
from typing import Any, NamedTuple

# Folders of results/SCALE whose records are no evaluation.
KINDS = {"efficiency": "profile", "cost": "cost"}


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
    """The names of a result file results/SCALE/GROUP/ROW.json; what the record itself says goes first."""
    scale, group = path.resolve().parts[-3:-1]
    group = record.get("group", group)
    return Named(record.get("row", path.stem), KINDS.get(group, "evaluation"), group, record.get("scale", scale))


def sweep_tags(named: Named, arguments: dict[str, Any]) -> dict[str, str]:
    """{"sweep", "sweep_value"} of a row ARGUMENT=VALUE in the group `sweeps`, by `arguments` of its tokenizer."""
    parameter, equals, _ = named.row.partition("=")
    if named.group != "sweeps" or not equals:
        return {}
    return {"sweep": parameter, "sweep_value": str(arguments.get(parameter))}
