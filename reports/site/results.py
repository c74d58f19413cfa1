"""Result files and what a reader wants to know of the one behind a number."""

import json
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reports.names import Named, named_result

# What the page of a row has in words of its own, or what a reader finds in the file itself.
LEFT_OUT = ("row", "group", "scale", "seeds", "commit", "versions", "machine", "metrics", "scores")
LONGEST = 4000  # characters of a setting that is still read; curves and lists of every sample are longer


@dataclass(frozen=True)
class ResultFile:
    """A result file of ours and the MLflow runs that belong to it.

    Attributes:
        path: from the repository's root, and in the site.
        source: where the file is.
        record: its content.
        named: row, kind, group and scale.
        run: {"key", "run_id"} of its own MLflow run, or None where nothing was published.
        trainings: the MLflow runs of the training behind it, by name.
    """

    path: str
    source: Path
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
        threads = f", {machine['threads']} threads" if "threads" in machine else ""
        return f"{machine.get('device', 'unknown device')} ({machine.get('processor', 'unknown processor')}){threads}"

    @property
    def training(self) -> str:
        """What a tokenizer was trained and measured with."""
        training, size = self.record["training"], self.record.get("evaluated", {}).get("image_size")
        images, seeds = self.record["data"]["images"], len(self.record["seeds"])
        return (
            f"{self.named.scale} scale: {training['steps']} training steps of {training['batch_size']} images"
            f"{f' of {size} px' if size else ''}, {seeds} seed{'s' * (seeds != 1)}, "
            f"measured on {images} held-out images; {self.machine}"
        )

    @property
    def configuration(self) -> str:
        """What was measured, and on what, as YAML; without the numbers."""
        settings = {name: part for name, part in self.record.items() if name not in LEFT_OUT}
        short = {name: part for name, part in settings.items() if len(str(part)) < LONGEST}
        return yaml.safe_dump(short, sort_keys=False, allow_unicode=True, width=100)

    @property
    def numbers(self) -> dict[str, dict[str, Any]]:
        """Means with their standard errors, by metric."""
        numbers = self.record.get("metrics", {}) | self.record.get("scores", {})
        return {name: number for name, number in numbers.items() if isinstance(number, dict) and "mean" in number}


def read_results(paths: Set[str], folder: Path) -> dict[str, ResultFile]:
    """The result files that tables call `paths`, from `folder`, with the MLflow runs that the stamps in it name.

    Raises:
        FileNotFoundError: for a file that is not there.
        ValueError: for a path that is not under results/.
    """
    published: dict[str, dict[str, Any]] = {}
    for stamp in sorted(folder.glob("*/published.json")):
        published |= json.loads(stamp.read_text(encoding="utf-8")).get("published", {})
    files = {}
    for path in sorted(paths):
        source = _source(path, folder)
        record = json.loads(source.read_text(encoding="utf-8"))
        # A training is known by the hashes of its weights, whatever its name.
        stages = record.get("generator", {}).get("stages", {}).values()
        weights = set(record.get("checkpoints", [])).union(*(stage.get("sha256") or [] for stage in stages))
        trainings = {name: run for name, run in sorted(published.items()) if weights & set(run.get("weights", ()))}
        named = named_result(Path(path), record)
        files[path] = ResultFile(path, source, record, named, published.get(str(named)), trainings)
    return files


def _source(cited: str, results: Path) -> Path:
    first, *others = Path(cited).parts
    path = results.joinpath(*others)
    if first != "results" or ".." in others:
        raise ValueError(f"{cited}: a result file lies under results/")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: a table cites it and it is not there; python -m reports.tables, or --results")
    return path
