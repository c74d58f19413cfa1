"""What the site is made from: the tables' JSON, the figures, the result files behind the numbers, MLflow's run ids."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SUFFIXES = (".svg", ".png", ".pdf")  # the first that is there is shown
OTHER_FORMS = (".csv", ".tex", ".md", ".json")
CLAIMS = "claims"
FIELDS = (
    "name", "title", "paper", "introduction", "columns", "rows", "notes", "claims", "figures", "sections", "origins",
)  # fmt: skip


@dataclass(frozen=True)
class Material:
    """Everything that the pages say.

    Attributes:
        tables: contents of NAME.json by name, in the paper's order, the claims' first where they are there.
        forms: the other files of each table, by name.
        figures: the files of each figure, by name and suffix.
        records: contents of result files by their path from the repository's root.
        sources: where those files are.
        published: MLflow runs by name: {"key", "run_id"}.
    """

    tables: dict[str, dict[str, Any]]
    forms: dict[str, list[Path]]
    figures: dict[str, dict[str, Path]]
    records: dict[str, dict[str, Any]]
    sources: dict[str, Path]
    published: dict[str, dict[str, str]]


def read_material(tables: Path, figures: Path, results: Path, stamps: list[Path]) -> Material:
    """Reads the three folders and the stamps.

    Raises:
        FileNotFoundError: where there is no table, or a table names a result file that is not in `results`.
        ValueError: where a table's JSON lacks a field, or a name is no file name.
    """
    found = {path.stem: _table(path) for path in sorted(tables.glob("*.json"))}
    if not found:
        raise FileNotFoundError(f"{tables}: no table; python -m reports.tables writes them")
    declared = Path(__file__).parents[1] / "tables" / "tables.yaml"
    order = [CLAIMS, *yaml.safe_load(declared.read_text(encoding="utf-8"))]
    names = sorted(found, key=lambda name: (order.index(name) if name in order else len(order), name))
    drawn: dict[str, dict[str, Path]] = {}
    for path in sorted(figures.glob("*")):
        if path.suffix in SUFFIXES:
            drawn.setdefault(path.stem, {})[path.suffix] = path
    published: dict[str, dict[str, str]] = {}
    for stamp in stamps:
        published |= json.loads(stamp.read_text(encoding="utf-8")).get("published", {})
    sources = {cited: _source(cited, results) for cited in sorted(set(_cited(found)))}
    return Material(
        tables={name: found[name] for name in names},
        forms={name: [p for p in map((tables / name).with_suffix, OTHER_FORMS) if p.is_file()] for name in names},
        figures=drawn,
        records={cited: json.loads(path.read_text(encoding="utf-8")) for cited, path in sources.items()},
        sources=sources,
        published=published,
    )


def _table(path: Path) -> dict[str, Any]:
    table = json.loads(path.read_text(encoding="utf-8"))
    missing = [field for field in FIELDS if field not in table]
    if missing:
        raise ValueError(f"{path}: no {missing[0]!r}; python -m reports.tables writes it anew")
    for name in [table["name"], *(row["row"] for row in table["rows"] if row["row"])]:
        if not re.fullmatch(r"\w[\w.+=-]*", name):
            raise ValueError(f"{path}: {name!r} cannot name a page; letters, digits and _ . + = - can")
    return table


def _cited(tables: dict[str, dict[str, Any]]) -> Iterator[str]:
    for table in tables.values():
        yield from (row["result"] for row in table["rows"] if row["result"])
        for claim in table["claims"]:
            yield from claim["results"]


def _source(cited: str, results: Path) -> Path:
    path = results.joinpath(*Path(cited).parts[1:])
    if Path(cited).parts[0] != "results" or ".." in Path(cited).parts:
        raise ValueError(f"{cited}: a result file lies under results/")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: a table cites it and it is not there; python -m reports.tables, or --results")
    return path
