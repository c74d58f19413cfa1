"""Result files and what a reader wants to know of the one behind a number."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reports.names import Named, named_result
from reports.site.material import Material

# What the page of a row has in words of its own, or what a reader finds in the file itself.
TOLD_ELSEWHERE = ("row", "group", "scale", "seeds", "commit", "versions", "machine", "metrics", "scores")


@dataclass(frozen=True)
class ResultFile:
    """A result file of ours and the MLflow runs that belong to it.

    Attributes:
        path: from the repository's root, and in the site.
        record: its content.
        named: row, kind, group and scale.
        run: {"key", "run_id"} of its own MLflow run, or None where nothing was published.
        trainings: the MLflow runs of the training behind it, by name.
    """

    path: str
    record: dict[str, Any]
    named: Named
    run: dict[str, str] | None
    trainings: dict[str, dict[str, str]]

    @property
    def commit(self) -> str:
        """The commit of the code that measured."""
        return self.record.get("commit", "unknown")

    @property
    def machine(self) -> str:
        """Device, processor and threads."""
        machine = self.record.get("machine", {})
        said = f"{machine.get('device', 'unknown device')} ({machine.get('processor', 'unknown processor')})"
        return said + (f", {machine['threads']} threads" if "threads" in machine else "")

    @property
    def configuration(self) -> str:
        """What was measured, and on what, as YAML; without the numbers."""
        told = {name: part for name, part in self.record.items() if name not in TOLD_ELSEWHERE and _settings(part)}
        return yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=100)

    @property
    def numbers(self) -> dict[str, dict[str, Any]]:
        """Means with their standard errors, by metric."""
        both = self.record.get("metrics", {}) | self.record.get("scores", {})
        return {name: number for name, number in both.items() if isinstance(number, dict) and "mean" in number}


def _settings(part: Any) -> bool:
    """Whether it is short enough to be read; curves and lists of every sample are not."""
    return len(str(part)) < 4000


def result_files(material: Material) -> dict[str, ResultFile]:
    """The result files that the tables cite, by path."""
    files = {}
    for path, record in material.records.items():
        named = named_result(Path(path), record)
        used = _weights(record)
        trainings = {
            name: run for name, run in sorted(material.published.items()) if used & set(run.get("weights", ()))
        }
        files[path] = ResultFile(path, record, named, material.published.get(str(named)), trainings)
    return files


def _weights(record: dict[str, Any]) -> set[str]:
    """Hashes of the weights that a result was measured with: a training is known by them, whatever its name."""
    stages = record.get("generator", {}).get("stages", {}).values()
    return {*record.get("checkpoints", []), *(each for stage in stages for each in stage.get("sha256") or [])}


def cell_origin(row: dict[str, Any], cell: dict[str, Any], files: dict[str, ResultFile]) -> str:
    """The lines beside a number of ours: where it is from and how sure it is."""
    file = files[row["result"]]
    lines = [file.path, f"commit {row['commit'] or file.commit}"]
    lines.append(f"MLflow run {file.run['run_id']}" if file.run else "no MLflow run published")
    if cell.get("interval"):
        low, high = cell["interval"]
        lines.append(f"95 % interval {low:.6g} to {high:.6g}")
    if cell.get("count"):
        lines.append(f"n = {cell['count']:,}")
    return "\n".join(lines)
