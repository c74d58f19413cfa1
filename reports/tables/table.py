"""One table as data: what every reader fills and every renderer writes."""

from dataclasses import dataclass, field

DASH = "-"


@dataclass(frozen=True)
class Column:
    """A column, as columns.yaml declares it."""

    name: str  # key of its cells
    heading: str  # as printed, without unit and arrow
    kind: str = "number"  # stands on the right, sorts by value; or "text"
    better: str = ""  # "more" or "less": which way the arrow points; empty: neither is better, and nothing is bold
    unit: str = ""  # printed in brackets after the heading
    digits: int = 0  # of a metric: printed after the point
    factor: float = 1  # of a metric: the printed number is the measured one times this; heading or unit says so
    form: str = ""  # of another number: how it is printed, as columns.yaml says
    record: str = ""  # where the number stands in a record of ours: "counts.encoder.gmacs"
    paper: str = ""  # the number's column in the paper's CSV file
    paper_form: str = ""  # as `form`; empty: printed as there

    @property
    def more_is_better(self) -> bool | None:
        """None: neither is better."""
        return {"more": True, "less": False}.get(self.better)

    @property
    def titled(self) -> str:
        """The heading with its unit."""
        return f"{self.heading} ({self.unit})" if self.unit else self.heading

    @property
    def printed(self) -> str:
        """The heading with its unit and arrow."""
        return self.titled + {"more": " ↑", "less": " ↓", "": ""}[self.better]


@dataclass(frozen=True)
class Cell:
    """What stands in one place; there is none where nothing was measured or printed."""

    text: str  # as printed
    value: float | None = None  # every digit, as the result file or the paper has it; None where the cell is no number
    standard_error: float | None = None
    interval: tuple[float, float] | None = None  # 95 %, low and high
    count: int | None = None  # how many images or samples (a seed) it is of
    best: bool = False  # of the rows of its source and group, where they differ


@dataclass(frozen=True)
class Row:
    """One line."""

    source: str  # where it comes from: "ours, laptop scale, 64 px"
    cells: dict[str, Cell]  # by the column's name
    ours: bool = False  # whether it is of this repository
    scale: str | None = None  # of the run; None for printed and for missing rows
    group: str = ""  # rows are compared within a source and a group
    row: str | None = None  # the name of the row or study; None for printed rows
    result: str | None = None  # path of the result file
    commit: str | None = None  # that it was measured at


@dataclass(frozen=True)
class Claim:
    """One tested claim in one metric; numbers in printed units (KID times 1000)."""

    text: str  # what is claimed
    metric: str = DASH  # its heading
    difference: float | None = None  # the row that the claim is made for minus the other; None: not measured
    interval: tuple[float, float] | None = None  # its 95 % interval; None where there is too little to give one
    claimed: str = DASH  # the bound: "> 0"
    verdict: str = "not measured"  # what came of it
    digits: int = 3  # to print after the point
    results: tuple[str, ...] = ()  # paths of the result files
    scale: str | None = None  # of the rows
    of: str = ""  # how many images, photographs and seeds the difference is of

    @property
    def said(self) -> tuple[str, str]:
        """The difference and its interval, as printed."""
        if self.difference is None:
            return DASH, DASH
        ends = [f"{end:+.{self.digits}f}" for end in self.interval or ()]
        return f"{self.difference:+.{self.digits}f}", " to ".join(ends) or DASH


@dataclass(frozen=True)
class Table:
    """A table with what stands around it; introduction, origins, notes and sections are Markdown."""

    name: str
    title: str
    paper: str
    introduction: str  # what was found, in a sentence or two
    columns: list[Column]
    rows: list[Row]
    origin: str = ""  # scale, commit and seeds of our rows in a line, for captions
    notes: list[str] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    sections: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)  # names of the columns that pages show; empty: all
    origins: list[str] = field(default_factory=list)  # where our numbers come from, a paragraph a scale

    @property
    def visible(self) -> list[Column]:
        """The columns that pages show, what a reader compares. CSV and JSON have all."""
        return [column for column in self.columns if not self.shown or column.name in self.shown]
