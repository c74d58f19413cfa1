"""One table as data: what every reader fills and every renderer writes."""

from dataclasses import dataclass, field

DASH = "-"


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
