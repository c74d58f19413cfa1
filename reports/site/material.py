"""What the site is made from: the tables' JSON, the figures, and the result files behind the numbers."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reports.site.results import ResultFile, read_results

CLAIMS = "claims"
TABLES = Path(__file__).parents[1] / "tables" / "tables.yaml"
FIGURE_SUFFIXES = (".svg", ".png", ".pdf")  # the first that is there is shown
OTHER_FORMS = (".csv", ".tex", ".md", ".json")
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
        files: the result files that the tables cite, by their path from the repository's root.
    """

    tables: dict[str, dict[str, Any]]
    forms: dict[str, list[Path]]
    figures: dict[str, dict[str, Path]]
    files: dict[str, ResultFile]


def read_material(report: Path, results: Path) -> Material:
    """Reads the tables and figures of a report, and the result files that they cite.

    Raises:
        FileNotFoundError: where there is no table, or a table names a result file that is not in `results`.
        ValueError: where a table's JSON lacks a field, or a name is no file name.
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
        forms={
            name: [path for suffix in OTHER_FORMS if (path := folder / f"{name}{suffix}").is_file()] for name in names
        },
        figures=figures,
        files=read_results({*rows, *tests}, results),
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
