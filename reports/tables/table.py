"""One table as data: what every reader fills and every renderer writes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from reports.tables.columns import DASH, column_of


@dataclass(frozen=True)
class Head:
    """A column.

    Attributes:
        name: key of its cells.
        heading: as printed, without unit and arrow.
        kind: "number" (stands on the right, sorts by value) or "text".
        more_is_better: which way the arrow points; None: neither is better, and nothing is bold.
        unit: printed in brackets after the heading.
    """

    name: str
    heading: str
    kind: str = "text"
    more_is_better: bool | None = None
    unit: str = ""

    @property
    def printed(self) -> str:
        """The heading with its unit and arrow."""
        arrow = {None: "", True: " ↑", False: " ↓"}[self.more_is_better]
        return f"{self.heading}{f' ({self.unit})' * bool(self.unit)}{arrow}"


@dataclass(frozen=True)
class Cell:
    """What stands in one place; there is none where nothing was measured or printed.

    Attributes:
        text: as printed.
        value: every digit, as the result file or the paper has it; None where the cell is no number.
        standard_error: of the value.
        interval: 95 %, low and high.
        count: how many images or samples (a seed) it is of.
        best: of the rows of its source and group, where there are two or more.
    """

    text: str
    value: float | None = None
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    count: int | None = None
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        source: where it comes from: "ours, laptop scale, 64 px".
        cells: by the column's name.
        ours: whether it is of this repository.
        scale: of the run; None for printed and for missing rows.
        group: rows are compared within a source and a group.
        row: the name of the row or study; None for printed rows.
        result: path of the result file.
        commit: that it was measured at.
    """

    source: str
    cells: dict[str, Cell]
    ours: bool = False
    scale: str | None = None
    group: str = ""
    row: str | None = None
    result: str | None = None
    commit: str | None = None


@dataclass(frozen=True)
class Claim:
    """One tested claim in one metric; numbers in printed units (KID times 1000).

    Attributes:
        text: what is claimed.
        metric: the heading of the metric.
        difference: the row that the claim is made for minus the other; None where it was not measured.
        interval: its 95 % interval, low and high; None where there is too little to give one.
        claimed: the bound: "> 0".
        verdict: what came of it.
        digits: to print after the point.
        results: paths of the result files.
        scale: of the rows.
        of: how many images, photographs and seeds the difference is of.
    """

    text: str
    metric: str = DASH
    difference: float | None = None
    interval: tuple[float, float] | None = None
    claimed: str = DASH
    verdict: str = "not measured"
    digits: int = 3
    results: tuple[str, ...] = ()
    scale: str | None = None
    of: str = ""

    @property
    def said(self) -> tuple[str, str]:
        """The difference and its interval, as printed."""
        if self.difference is None:
            return DASH, DASH
        ends = [f"{end:+.{self.digits}f}" for end in self.interval or ()]
        return f"{self.difference:+.{self.digits}f}", " to ".join(ends) or DASH


@dataclass(frozen=True)
class Table:
    """A table with what stands around it; introduction, notes and sections are Markdown.

    Attributes:
        introduction: what was found, in a sentence or two.
        origins: where our numbers come from, a paragraph a scale.
        origin: scale, commit and seeds of our rows in a line, for captions.
        shown: names of the columns that pages show, what a reader compares; empty: all. CSV and JSON have all.
    """

    name: str
    title: str
    paper: str
    introduction: str
    columns: list[Head]
    rows: list[Row]
    origin: str = ""
    notes: list[str] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    sections: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)

    @property
    def visible(self) -> list[Head]:
        """The columns that pages show."""
        return [head for head in self.columns if not self.shown or head.name in self.shown]


def assembled(
    name: str,
    declared: dict[str, Any],
    introduction: list[str],
    captions: list[str],
    columns: list[Head],
    rows: list[Row],
    **more: Any,
) -> Table:
    """The table that a reader has filled: what tables.yaml declares of it, and a paragraph and a caption a scale.

    Args:
        name: of the table.
        declared: its entry; its notes stand unless `more` has others.
        introduction: what was found, in sentences.
        captions: lines of `origin`.
        columns: of `finished`.
        rows: of `finished`.
        more: other attributes of the table.
    """
    words = {"title": declared["title"], "paper": declared["paper"], "figures": declared.get("figures", [])}
    words["shown"] = ["source", *declared["shown"]] if "shown" in declared else []
    words |= {"introduction": "\n\n".join(introduction), "origin": " ".join(captions)}
    return Table(name=name, columns=columns, rows=rows, **{**words, "notes": declared.get("notes", []), **more})


def heads(names: Sequence[str]) -> list[Head]:
    """The columns of metrics and scores."""
    columns = [(name, column_of(name)) for name in names]
    return [Head(name, each.heading, "number", each.more_is_better, each.unit) for name, each in columns]


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
        found: dict[str, list[str]] = {}
        for row in rows:
            names = [head.heading for head in columns if head.name in row.cells and row.cells[head.name].best]
            if names and row.ours and row.scale == scale and "method" in row.cells:
                found.setdefault(row.cells["method"].text, []).extend(names)
        said = [f"{method} is best in {listed(list(dict.fromkeys(names)))}" for method, names in found.items()]
        sentences += [f"At the {scale} scale {'; '.join(said)}."] * bool(said)
    return " ".join(sentences)


def listed(parts: list[str]) -> str:
    """Words with commas between them, and an "and" before the last."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
