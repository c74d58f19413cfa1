"""What all readers share: our rows, scale by scale, and the table of these and of the paper's rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reports.tables.results import Result
from reports.tables.rows import published
from reports.tables.table import Cell, Claim, Column, Row, Table
from reports.tables.texts import listed


@dataclass(frozen=True)
class Part:
    """What one scale gives to a table."""

    rows: list[Row]  # of the scale, measured or not
    caption: str = ""  # scale, commits and seeds in a line
    origins: list[str] = field(default_factory=list)  # where its numbers come from, paragraphs
    finding: str = ""  # what came of the claims, a sentence; empty where the table claims nothing
    claims: list[Claim] = field(default_factory=list)
    sections: list[str] = field(default_factory=list)  # further ones of its page
    notes: list[str] = field(default_factory=list)  # that stand before those of the table


def assembled(
    name: str,
    declared: dict[str, Any],
    columns: list[Column],
    parts: Sequence[Part],
    paper_row: Callable[[dict[str, str]], Row] | None = None,
    order: Callable[[Row], int] = lambda row: 0,
    introduction: str = "",
) -> Table:
    """The table that a reader has filled.

    Args:
        name: of the table.
        declared: its entry in tables.yaml.
        columns: every one that a row may have.
        parts: of the scales; what was not measured stands in the table with the first alone.
        paper_row: makes a row of a line of the paper's.
        order: where a row stands; those of one place stay in their order.
        introduction: where no part has a finding; default: what is best.
    """
    others = [replace(part, rows=[row for row in part.rows if row.result]) for part in parts[1:]]
    parts = [parts[0], *(part for part in others if part.rows)]
    papers = [paper_row(printed) for printed in published(declared)] if paper_row else []
    columns, rows = finished(columns, sorted([row for part in parts for row in part.rows] + papers, key=order))
    findings = [part.finding for part in parts if part.finding]
    return Table(
        name=name,
        title=declared["title"],
        paper=declared["paper"],
        introduction="\n\n".join(findings) or introduction or best_of_ours(columns, rows),
        columns=columns,
        rows=rows,
        origin=" ".join(part.caption for part in parts if part.caption),
        notes=[*dict.fromkeys(note for part in parts for note in part.notes), *declared.get("notes", [])],
        claims=[claim for part in parts for claim in part.claims],
        figures=declared.get("figures", []),
        sections=[section for part in parts for section in part.sections],
        shown=["source", *declared["shown"]] if "shown" in declared else [],
        origins=[origin for part in parts for origin in part.origins],
    )


def our_row(source: str, cells: dict[str, Cell], row: str | None, result: Result, group: str = "") -> Row:
    """A row of a result of ours."""
    record = result.record
    return Row(source, cells, True, record["scale"], group, row, result.path.as_posix(), record["commit"])


def missing_row(row: str, texts: Mapping[str, str], group: str = "") -> Row:
    """A row of ours that was not measured; of its texts those that are not empty."""
    return Row("ours, not measured", text_cells(texts), ours=True, group=group, row=row)


def text_cells(texts: Mapping[str, str]) -> dict[str, Cell]:
    """A cell for every text that is not empty."""
    return {name: Cell(text) for name, text in texts.items() if text}


def finished(columns: list[Column], rows: list[Row]) -> tuple[list[Column], list[Row]]:
    """The columns that any row has, the source first, and the rows with the best of their source and group marked."""
    columns = [column for column in columns if any(column.name in row.cells for row in rows)]
    better = {column.name: {"more": max, "less": min}.get(column.better) for column in columns}
    values: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        for name, cell in row.cells.items():
            if better.get(name) and cell.value is not None:
                values.setdefault((row.source, row.group, name), []).append(cell.value)
    best = {(*place, better[place[-1]](numbers)) for place, numbers in values.items() if len(set(numbers)) > 1}
    marked = []
    for row in rows:
        cells = {
            name: replace(cell, best=(row.source, row.group, name, cell.value) in best)
            for name, cell in row.cells.items()
            if name in better
        }
        marked.append(replace(row, cells={"source": Cell(row.source)} | cells))
    return [Column("source", "source", "text"), *columns], marked


def best_of_ours(columns: list[Column], rows: list[Row]) -> str:
    """Which of our rows is the best in what, at each scale: "At the laptop scale GPSToken-L256 is best in PSNR."."""
    sentences = []
    for scale in dict.fromkeys(row.scale for row in rows if row.ours and row.scale):
        best_in: dict[str, list[str]] = {}
        for row in rows:
            names = [column.heading for column in columns if column.name in row.cells and row.cells[column.name].best]
            if names and row.ours and row.scale == scale and "method" in row.cells:
                best_in.setdefault(row.cells["method"].text, []).extend(names)
        phrases = [f"{method} is best in {listed(list(dict.fromkeys(names)))}" for method, names in best_in.items()]
        sentences += [f"At the {scale} scale {'; '.join(phrases)}."] * bool(phrases)
    return " ".join(sentences)
