"""The columns of columns.yaml, and the cells of numbers in them."""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import yaml

from reports.tables.table import Cell, Column

DECLARED = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
METRICS = {name: Column(name, **{"better": "less"} | entry) for name, entry in DECLARED["metrics"].items()}
COLUMNS = {name: METRICS[name] for name in DECLARED["reconstruction"]}  # of tables of reconstructed images
SCORES = {name: METRICS[name] for name in DECLARED["samples"]}  # of tables of generated samples
INCEPTION_COLUMNS, INCEPTION_SCORES = DECLARED["inception"], DECLARED["inception_scores"]
# What a claim is tested in unless it says otherwise: the metrics of whole images.
CLAIM_METRICS = ("psnr", "ssim", "lpips_alexnet", "lpips_vgg16")


def columns_of(reader: str) -> list[Column]:
    """The columns of the tables of a reader, but for those of metrics."""
    return [Column(name, **entry) for name, entry in DECLARED[reader].items()]


def cells_of(reader: str, record: Mapping[str, Any]) -> dict[str, Cell]:
    """The numbers of a record of ours, of those columns that say where theirs stands; none where it has none."""
    cells = {}
    for column in columns_of(reader):
        value: Any = record if column.record else None
        for key in column.record.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            cells[column.name] = millions(value) if column.form == "M" else Cell(f"{value:{column.form}}", value)
    return cells


def printed_cells(reader: str, printed: Mapping[str, str]) -> dict[str, Cell]:
    """The same of a line of the paper's CSV file."""
    cells = {}
    for column in columns_of(reader):
        if text := printed.get(column.paper):
            form = column.paper_form
            cells[column.name] = Cell(f"{int(text):{form}}", int(text)) if form else Cell(text, float(text))
    return cells


def score_cell(name: str, score: Mapping[str, Any], interval: Sequence[float] | None = None) -> Cell:
    """The mean of a metric or score with its standard error."""
    # One seed tells nothing of the next; the error of a metric is of images too.
    error = score.get("standard_error") if "clusters" in score or len(score["per_seed"]) > 1 else None
    text = rounded(name, score["mean"]) + (f" ± {rounded(name, error)}" if error is not None else "")
    return Cell(text, score["mean"], error, tuple(interval) if interval else None, score["count"])


def millions(*counts: int, form: str = ".2f") -> Cell:
    """The parameters of networks after each other: "0.33 + 1.89 M"."""
    return Cell(" + ".join(f"{count / 1e6:{form}}" for count in counts) + " M", sum(counts))


def tokens_cell(text: str) -> Cell:
    """A number of tokens, as a grid where they are one: "256", "16x16"; ">256" has no value."""
    sides = text.split("x")
    return Cell(text, prod(map(int, sides)) if all(side.isdigit() for side in sides) else None)


def rounded(name: str, value: float, sign: str = "", more_digits: int = 0) -> str:
    """A number as its column prints it; `sign` "+" for differences."""
    column = METRICS[name]
    return f"{value * column.factor:{sign}.{column.digits + more_digits}f}"
