"""The columns of columns.yaml: how metrics are headed, rounded and read, and the heads and cells of tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from reports.tables.table import Cell, Head

DECLARED = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


class Column(NamedTuple):
    """One column of a metric or score.

    Attributes:
        heading: as printed, without its arrow.
        digits: printed after the point.
        more_is_better: direction of the arrow.
        factor: the printed number is the measured one times this; the heading or the unit says so where it is not 1.
        unit: printed in brackets after the heading.
    """

    heading: str
    digits: int
    more_is_better: bool = False
    factor: float = 1.0
    unit: str = ""


def _column(heading: str, digits: int, better: str = "less", factor: float = 1, unit: str = "") -> Column:
    return Column(heading, digits, better == "more", factor, unit)


METRICS = {name: _column(**entry) for name, entry in DECLARED["metrics"].items()}
COLUMNS = {name: METRICS[name] for name in DECLARED["reconstruction"]}  # of tables of reconstructed images
SCORES = {name: METRICS[name] for name in DECLARED["samples"]}  # of tables of generated samples
INCEPTION_COLUMNS, INCEPTION_SCORES = DECLARED["inception"], DECLARED["inception_scores"]
ACCURACY = "class_accuracy"
# What a claim is tested in unless it says otherwise: the metrics of whole images.
CLAIM_METRICS = ("psnr", "ssim", "lpips_alexnet", "lpips_vgg16")


def heads(reader: str, columns: Mapping[str, Column] | None = None) -> list[Head]:
    """The columns of the tables of a reader, with those of metrics behind."""
    better = {"more": True, "less": False}
    declared = [
        Head(
            name, entry["heading"], entry.get("kind", "number"), better.get(entry.get("better")), entry.get("unit", "")
        )
        for name, entry in DECLARED[reader].items()
    ]
    return declared + [_head(name, column) for name, column in (columns or {}).items()]


def _head(name: str, column: Column) -> Head:
    return Head(name, column.heading, "number", column.more_is_better, column.unit)


def cells_of(reader: str, record: Mapping[str, Any]) -> dict[str, Cell]:
    """The numbers of a record of ours, of those columns that say where theirs stands; none where it has none."""
    cells = {}
    for name, entry in DECLARED[reader].items():
        value: Any = record if "record" in entry else None
        for key in entry.get("record", "").split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            cells[name] = millions(value) if entry["form"] == "M" else Cell(f"{value:{entry['form']}}", value)
    return cells


def printed_cells(reader: str, printed: Mapping[str, str]) -> dict[str, Cell]:
    """The same of a line of the paper's CSV file."""
    columns = {name: entry for name, entry in DECLARED[reader].items() if printed.get(entry.get("paper", ""))}
    return {name: _printed(printed[entry["paper"]], entry.get("paper_form")) for name, entry in columns.items()}


def _printed(text: str, form: str | None) -> Cell:
    value = float(text)
    return Cell(text, value) if form is None else Cell(f"{int(text):{form}}", int(text))


def score_cell(name: str, score: Mapping[str, Any], interval: Sequence[float] | None = None) -> Cell:
    """The mean of a metric or score with its standard error."""
    # One seed tells nothing of the next; the error of a metric is of images too.
    error = score.get("standard_error") if "clusters" in score or len(score["per_seed"]) > 1 else None
    text = rounded(name, score["mean"]) + (f" ± {rounded(name, error)}" if error is not None else "")
    return Cell(text, score["mean"], error, tuple(interval) if interval else None, score["count"])


def millions(count: int) -> Cell:
    """A number of parameters: "1.25 M"."""
    return Cell(f"{count / 1e6:.2f} M", count)


def heading(name: str) -> str:
    """The heading of a metric with its unit and its arrow: up where more is better."""
    return _head(name, METRICS[name]).printed


def rounded(name: str, value: float, sign: str = "", more_digits: int = 0) -> str:
    """A number as its column prints it; `sign` "+" for differences."""
    column = METRICS[name]
    return f"{value * column.factor:{sign}.{column.digits + more_digits}f}"
