"""Rows of anybody's samples: results of `gpstoken score` in results/SCALE/scored, a source of their own."""

import json
from pathlib import Path
from typing import Any

from reports.names import named_result
from reports.tables.assembly import Part, our_row
from reports.tables.columns import INCEPTION_SCORES, SCORES, rounded
from reports.tables.results import check_scale
from reports.tables.table import Cell


def scored_rows(results: Path) -> Part:
    """A row for every results/SCALE/scored/ROW.json, in the order of their names, and what to know of each.

    Raises:
        ValueError: if one is no result of `gpstoken score --row --scale`, or a score bears a name that is not its own.
    """
    rows, origins = [], []
    for path in sorted((results / "scored").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        named = named_result(path, record)
        if (named.group, named.row) != ("scored", path.stem):
            raise ValueError(f"{path}: holds the row {named.row!r} of the group {named.group!r}")
        check_scale(path, record, results.name)
        samples, reference, network = record["samples"], record["reference"], record["network"]
        cells = {"method": Cell(named.row), "samples": Cell(f"{samples['images']:,}", samples["images"])}
        cells |= _scores(path, record["metrics"], network["name"], samples["images"])
        # The best is marked among those that were scored against one reference alone.
        rows.append(our_row(f"scored samples, {results.name}", cells, None, record, path, reference["sha256"]))
        images = reference["images"] or reference["statistics"]
        origins.append(
            f"{named.row}: the samples of {samples['file']} were scored unchanged against {reference['file']}"
            f"{f' of {images:,} images' if images else ''}, with the features of {network['label']}; nothing is known "
            "of the generator behind them."
        )
    return Part(rows, "", origins)


def _scores(path: Path, metrics: dict[str, Any], network: str, count: int) -> dict[str, Cell]:
    """Of Inception `score` has the published names, which the columns have for FID, sFID and IS alone."""
    cells = {}
    for name, value in metrics.items():
        column = name
        if name in INCEPTION_SCORES or name in ("kid", "precision", "recall"):
            if network != "inception":
                raise ValueError(f"{path}: score {name!r} is of Inception, but the network was {network}")
            column = name if name in INCEPTION_SCORES else f"{name}_inception"
        if name == "is_std":  # over parts of the samples: no error of the mean
            continue
        if column not in SCORES:
            raise ValueError(f"{path}: score {name!r} has no column in reports/tables/columns.yaml")
        cells[column] = Cell(rounded(column, value), value, count=count)
    return cells
