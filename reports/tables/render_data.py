"""A table for machines: CSV with every digit, JSON with everything."""

import csv
import io
import json
from dataclasses import asdict
from typing import Any

from reports.tables.table import Cell, Table


def as_csv(table: Table) -> str:
    """The rows; what belongs to a number (standard error, interval, count) in columns of its own, where it has any."""
    lines = []
    for row in table.rows:
        line: dict[str, Any] = {"row": row.row, "result": row.result, "commit": row.commit}
        for name, cell in row.cells.items():
            low, high = cell.interval or (None, None)
            line[name] = cell.text if cell.value is None else cell.value
            line |= {f"{name}_standard_error": cell.standard_error, f"{name}_low": low, f"{name}_high": high}
            line[f"{name}_count"] = cell.count
        lines.append({name: value for name, value in line.items() if value is not None})
    parts = ("", "_standard_error", "_low", "_high", "_count")
    names = [*(f"{head.name}{part}" for head in table.columns for part in parts), "row", "result", "commit"]
    used = {name for line in lines for name in line}
    file = io.StringIO()
    writer = csv.DictWriter(file, [name for name in names if name in used], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def as_json(table: Table) -> str:
    """Everything that a page needs; a missing number has no cell."""
    record = asdict(table)
    for row, line in zip(table.rows, record["rows"], strict=True):
        line["cells"] = {name: _cell(cell) for name, cell in row.cells.items()}
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _cell(cell: Cell) -> dict[str, Any]:
    return {"text": cell.text} if cell.value is None else asdict(cell)
