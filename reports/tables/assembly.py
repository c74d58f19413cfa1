"""What all readers share: our rows, scale by scale, and the table of these and of the paper's rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reports.tables.table import Cell, Claim, Head, Row, Table


@dataclass(frozen=True)
class Part:
    """What one scale gives to a table.

    Attributes:
        rows: of the scale.
        caption: scale, commits and seeds in a line.
        origins: where its numbers come from, paragraphs.
        finding: what came of the claims, a sentence; empty where the table claims nothing.
        claims: tested.
        sections: further ones of its page.
        notes: that stand before those of the table.
    """

    rows: list[Row]
    caption: str
    origins: list[str]
    finding: str = ""
    claims: list[Claim] = field(default_factory=list)
    sections: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def assembled(
    name: str,
    declared: dict[str, Any],
    columns: list[Head],
    parts: Sequence[Part | None],
    rows: Sequence[Row] = (),
    order: Callable[[Row], int] = lambda row: 0,
    introduction: Callable[[list[Head], list[Row]], str] | None = None,
) -> Table:
    """The table that a reader has filled.

    Args:
        name: of the table.
        declared: its entry in tables.yaml.
        columns: every one that a row may have.
        parts: of the scales, None for one that has nothing; the findings of these are the introduction.
        rows: further rows, the paper's.
        order: where a row stands; those of one place stay in their order.
        introduction: words of the columns and rows instead, where no part has a finding; default: what is best.
    """
    parts = [part for part in parts if part is not None]
    rows = sorted([*(row for part in parts for row in part.rows), *rows], key=order)
    columns, rows = finished(columns, rows)
    findings = [part.finding for part in parts if part.finding]
    return Table(
        name=name,
        title=declared["title"],
        paper=declared["paper"],
        introduction="\n\n".join(findings or [(introduction or best_of_ours)(columns, rows)]),
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


def caption(records: Sequence[Mapping[str, Any]], of: str = "scale", more: str | None = None) -> str:
    """Scale, commits and seeds of records of one scale in a line; `more` stands in place of the seeds."""
    if not records:
        return "Ours: not measured."
    seeds = f", seeds {', '.join(map(str, records[0]['seeds']))}" if more is None else more
    return f"Ours: {records[0]['scale']} {of}, commit {commits(records)}{seeds}."


def commits(records: Iterable[Mapping[str, Any]]) -> str:
    """The commits that records were measured at."""
    return ", ".join(sorted({record["commit"] for record in records}))


def devices(records: Iterable[Mapping[str, Any]]) -> str:
    """The devices that records were measured on."""
    return ", ".join(sorted({"{device} ({processor})".format(**record["machine"]) for record in records}))


def our_row(
    source: str, cells: dict[str, Cell], row: str | None, record: Mapping[str, Any], file: Path, group: str = ""
) -> Row:
    """A row of a record of ours."""
    return Row(source, cells, True, record["scale"], group, row, file.as_posix(), record["commit"])


def missing_row(row: str, texts: Mapping[str, str], group: str = "") -> Row:
    """A row of ours that was not measured; of its texts those that are not empty."""
    return Row("ours, not measured", text_cells(texts), ours=True, group=group, row=row)


def text_cells(texts: Mapping[str, str]) -> dict[str, Cell]:
    """A cell for every text that is not empty."""
    return {name: Cell(text) for name, text in texts.items() if text}


def finished(columns: list[Head], rows: list[Row]) -> tuple[list[Head], list[Row]]:
    """The columns that any row has, the source first, and the rows with the best of their source and group marked."""
    columns = [Head("source", "source"), *(head for head in columns if any(head.name in row.cells for row in rows))]
    best: set[tuple[int, str]] = set()
    for head in columns:
        groups: dict[tuple[str, str], list[tuple[int, float]]] = {}
        for place, row in enumerate(rows):
            cell = row.cells.get(head.name)
            if head.more_is_better is not None and cell is not None and cell.value is not None:
                groups.setdefault((row.source, row.group), []).append((place, cell.value))
        for group in groups.values():
            top = (max if head.more_is_better else min)(value for _, value in group)
            best |= {(place, head.name) for place, value in group if value == top and len(group) > 1}
    shown = {head.name for head in columns}
    marked = []
    for place, row in enumerate(rows):
        cells = {name: cell for name, cell in row.cells.items() if name in shown}
        cells = {name: replace(cell, best=(place, name) in best) for name, cell in cells.items()}
        marked.append(replace(row, cells={"source": Cell(row.source)} | cells))
    return columns, marked


def best_of_ours(columns: list[Head], rows: list[Row]) -> str:
    """Which of our rows is the best in what, at each scale: "At the laptop scale GPSToken-L256 is best in PSNR."."""
    sentences = []
    for scale in dict.fromkeys(row.scale for row in rows if row.ours and row.scale):
        best_in: dict[str, list[str]] = {}
        for row in rows:
            names = [head.heading for head in columns if head.name in row.cells and row.cells[head.name].best]
            if names and row.ours and row.scale == scale and "method" in row.cells:
                best_in.setdefault(row.cells["method"].text, []).extend(names)
        phrases = [f"{method} is best in {listed(list(dict.fromkeys(names)))}" for method, names in best_in.items()]
        sentences += [f"At the {scale} scale {'; '.join(phrases)}."] * bool(phrases)
    return " ".join(sentences)


def listed(parts: list[str]) -> str:
    """Words with commas between them, and an "and" before the last."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
