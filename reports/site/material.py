"""What the site is made from: the tables' JSON, the figures, and the result files behind the numbers."""

import json
import re
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reports.names import named_result

CLAIMS = "claims"
TABLES = Path(__file__).parents[1] / "tables" / "tables.yaml"
FIGURE_SUFFIXES = (".svg", ".png", ".pdf")  # the first that is there is shown
OTHER_FORMS = ("csv", "tex", "md", "json")
FIELDS = (
    "name", "title", "paper", "introduction", "columns", "rows", "notes", "claims", "figures", "sections", "origins",
)  # fmt: skip
# What the page of a row has in words of its own, or what a reader finds in the file itself.
LEFT_OUT = ("row", "group", "scale", "seeds", "commit", "versions", "machine", "metrics", "scores")
LONGEST = 4000  # characters of a setting that is still read; curves and lists of every sample are longer


@dataclass(frozen=True)
class Material:
    """Everything that the pages say."""

    tables: dict[str, dict[str, Any]]  # contents of NAME.json by name, in the paper's order, the claims' first
    forms: dict[str, list[Path]]  # the other files of each table, by name
    figures: dict[str, dict[str, Path]]  # the files of each figure, by name and suffix
    files: dict[str, dict[str, Any]]  # result files that the tables cite, by their path from the repository's root


def read_material(report: Path, results: Path) -> Material:
    """Reads the tables and figures of a report, and the result files that they cite.

    Raises:
        FileNotFoundError: where there is no table, or a table names a result file that is not in `results`.
        ValueError: where a table's JSON lacks a field, a name is no file name, or a path is not under results/.
    """
    folder = report / "tables"
    tables = {path.stem: _read_table(path) for path in sorted(folder.glob("*.json"))}
    if not tables:
        raise FileNotFoundError(f"{folder}: no table; python -m reports.tables writes them")
    order = [CLAIMS, *yaml.safe_load(TABLES.read_text(encoding="utf-8"))]
    names = sorted(tables, key=lambda name: (order.index(name) if name in order else len(order), name))
    figures: dict[str, dict[str, Path]] = {}
    for path in sorted(report.glob("figures/*")):
        if path.suffix in FIGURE_SUFFIXES:
            figures.setdefault(path.stem, {})[path.suffix] = path
    rows = [row["result"] for table in tables.values() for row in table["rows"] if row["result"]]
    tests = [path for table in tables.values() for claim in table["claims"] for path in claim["results"]]
    return Material(
        tables={name: tables[name] for name in names},
        forms={name: [path for form in OTHER_FORMS if (path := folder / f"{name}.{form}").is_file()] for name in names},
        figures=figures,
        files=_read_results({*rows, *tests}, results),
    )


def _read_table(path: Path) -> dict[str, Any]:
    table = json.loads(path.read_text(encoding="utf-8"))
    missing = [field for field in FIELDS if field not in table]
    if missing:
        raise ValueError(f"{path}: no {missing[0]!r}; python -m reports.tables writes it anew")
    for name in [table["name"], *(row["row"] for row in table["rows"] if row["row"])]:
        if not re.fullmatch(r"\w[\w.+=-]*", name):
            raise ValueError(f"{path}: {name!r} cannot name a page; letters, digits and _ . + = - can")
    return table


def _read_results(paths: Set[str], folder: Path) -> dict[str, dict[str, Any]]:
    """The result files that tables call `paths`, from `folder`, with the MLflow runs that the stamps in it name."""
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
        settings = {name: part for name, part in record.items() if name not in LEFT_OUT and len(str(part)) < LONGEST}
        files[path] = {
            "path": path,  # from the repository's root, and in the site
            "source": source,  # where the file is
            "record": record,
            "named": named,
            "commit": record.get("commit", "unknown"),
            "run": published.get(str(named)),  # {"key", "run_id"} of its own MLflow run, if it was published
            "trainings": trainings,  # the MLflow runs of the training behind it, by name
            "configuration": yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=100),
        }
    return files


def _source(cited: str, results: Path) -> Path:
    first, *others = Path(cited).parts
    path = results.joinpath(*others)
    if first != "results" or ".." in others:
        raise ValueError(f"{cited}: a result file lies under results/")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: a table cites it and it is not there; python -m reports.tables, or --results")
    return path
