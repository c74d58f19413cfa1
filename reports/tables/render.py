"""A table as a page of Markdown, as LaTeX, as CSV with every digit and as JSON with everything."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from reports.tables.table import Column, Table
from reports.tables.texts import ENVIRONMENT


def as_csv(table: Table) -> str:
    """The rows; what belongs to a number (standard error, interval, count) in columns of its own, where it has any."""
    parts, lines = ("", "_standard_error", "_low", "_high", "_count"), []
    for row in table.rows:
        line: dict[str, Any] = {"row": row.row, "result": row.result, "commit": row.commit}
        for name, cell in row.cells.items():
            value = cell.text if cell.value is None else cell.value
            numbers = (value, cell.standard_error, *(cell.interval or (None, None)), cell.count)
            line |= {f"{name}{part}": number for part, number in zip(parts, numbers, strict=True)}
        lines.append(line)
    names = [*(f"{column.name}{part}" for column in table.columns for part in parts), "row", "result", "commit"]
    frame = pd.DataFrame(lines, columns=names, dtype=object).dropna(axis="columns", how="all")
    return frame.to_csv(index=False, lineterminator="\n")


def as_json(table: Table) -> str:
    """Everything that a page needs; a missing number has no cell."""
    record = asdict(table)
    heads = ("name", "heading", "kind", "more_is_better", "unit")
    record["columns"] = [{part: getattr(column, part) for part in heads} for column in table.columns]
    for line in record["rows"]:
        for name, cell in line["cells"].items():
            line["cells"][name] = cell if cell["value"] is not None else {"text": cell["text"]}
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def markdown(table: Table, folder: Path | None = None) -> str:
    """The page of a table; with `folder`, where it will lie, those of its figures whose PNG lies in ../figures."""
    shown = [name for name in table.figures if folder and (folder.parent / "figures" / f"{name}.png").is_file()]
    return ENVIRONMENT.get_template("page.md").render(table=table, figures=shown)


LONG = 50  # characters

# One character at a time, so that what a replacement holds is not replaced again.
ESCAPES = {character: f"\\{character}" for character in "&%$#_{}"}
ESCAPES |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"}
ESCAPES |= {"<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$", "≥": r"$\geq$", "≤": r"$\leq$"}
ESCAPES |= {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\rightarrow$", "λ": r"$\lambda$"}


def latex(table: Table, command: str = "") -> str:
    """The rows as a table float, with scale, commit and seeds in its caption; `command`, that made it, in a comment."""
    bold = " Bold: best of its source." if any(cell.best for row in table.rows for cell in row.cells.values()) else ""
    environment = ENVIRONMENT.overlay("<%", "%>", "<<", ">>", "<#", "#>")  # LaTeX is full of braces
    return environment.get_template("float.tex").render(
        table=table,
        command=" ".join(command.split()),
        caption=f"{table.title}. {table.origin}{bold}",
        places="".join(_place(table, column) for column in table.visible),
    )


def _place(table: Table, column: Column) -> str:
    """Numbers stand on the right; text that is too long for a line is broken."""
    if column.kind == "number":
        return "r"
    cells = [row.cells[column.name].text for row in table.rows if column.name in row.cells]
    return "p{0.16\\linewidth}" if max(map(len, cells), default=0) > LONG else "l"


def escape(text: str) -> str:
    """`text` with what LaTeX would read as a command written out."""
    return "".join(ESCAPES.get(character, character) for character in text)


ENVIRONMENT.filters["escaped"] = escape
