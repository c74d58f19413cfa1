"""The figure of λ, s and s_min: quality over each of them, the others as in GPSToken-M128."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpstoken.metrics import summarise
from reports.declared import main_row
from reports.figures.intervals import title
from reports.figures.style import INK, PAPER, headline, page
from reports.tables.columns import COLUMNS
from reports.tables.results import Result
from reports.tables.rows import read_published

METRICS = ("psnr", "lpips_alexnet")
PAPERS = {"psnr": "psnr", "lpips_alexnet": "lpips"}  # the paper does not say which network its LPIPS is of
# Argument of GPSToken -> (its letter, as the paper's table calls it, its default there).
KNOBS = {
    "lambda_": ("λ", "lambda", 2.5),
    "support_factor": ("support factor s", "support", 5.0),
    "min_region_size": ("s_min (px)", "s_min", 4.0),
}
Curve = dict[float, Result]


def curves_of(results: dict[str, Result]) -> dict[str, Curve]:
    """Each knob's results by its value, in the order of the values; empty without the base row.

    A result stands on the curve of the one argument in which it differs from the base row, and the base row on all.
    """
    if main_row() not in results:
        return {}
    base = _arguments(results[main_row()])
    curves: dict[str, Curve] = {knob: {base[knob]: results[main_row()]} for knob in KNOBS}
    for result in results.values():
        own = _arguments(result)
        changed = [name for name in own.keys() | base.keys() if own.get(name) != base.get(name)]
        if len(changed) == 1 and changed[0] in KNOBS:
            curves[changed[0]][own[changed[0]]] = result
    return {knob: dict(sorted(curve.items())) for knob, curve in curves.items()}


def sensitivity(curves: dict[str, Curve]) -> Figure | None:
    """Quality over each knob, 95 % interval over images and seeds; the paper's points in panels of their own."""
    if not any(len(curve) > 1 for curve in curves.values()):
        return None
    published = read_published("sensitivity_imagenet256.csv")
    figure = page(6.0)
    panels = figure.subplots(len(KNOBS), 4)
    for zero, _, smallest in panels.T:
        # One axis shows whether s_min matters less than λ; s = 1 would flatten both.
        smallest.sharey(zero)
    for line, (knob, (letter, papers_name, default)) in zip(panels, KNOBS.items(), strict=True):
        theirs = {default if row["parameter"] == "default" else float(row["value"]): row for row in published
                  if row["parameter"] in (papers_name, "default")}  # fmt: skip
        for column, metric in enumerate(METRICS):
            _ours(line[column], curves[knob], metric)
            points = {value: float(row[PAPERS[metric]]) for value, row in sorted(theirs.items())}
            line[2 + column].plot(points.keys(), points.values(), ":", color=PAPER, marker="s", markersize=5)
            _ring(line[2 + column], default, points[default])
            _ticks(line[2 + column], list(points))
        for axes in line:
            axes.set_xlabel(letter)
    for column, metric in enumerate(METRICS):
        panels[0, column].set_title(f"ours: {title(metric)}")
        panels[0, 2 + column].set_title(f"paper: {COLUMNS[PAPERS[metric]].heading.replace(' (', chr(10) + '(')}")
    record = next(iter(curves["lambda_"].values())).record
    headline(
        figure,
        f"Sensitivity. Ours: {record['scale']} scale, mean and 95 % interval over {record['data']['photographs']} "
        f"photographs and {len(record['seeds'])} seeds. Paper: ImageNet 256 px. Rings: the defaults of each.",
    )
    return figure


def _ours(axes: Axes, curve: Curve, metric: str) -> None:
    values = {value: summarise(result.values[metric], result.sources) for value, result in curve.items()}
    low, high = zip(*(value.interval for value in values.values()), strict=True)
    axes.plot(values.keys(), [value.mean for value in values.values()], "-", color=INK, marker="o", markersize=4)
    axes.fill_between(list(values), low, high, color=INK, alpha=0.15, linewidth=0)
    for place, result in curve.items():
        if result.record["row"] == main_row():
            _ring(axes, place, values[place].mean)
    _ticks(axes, list(values))


def _ring(axes: Axes, x: float, y: float) -> None:
    axes.plot([x], [y], "o", markersize=9, markerfacecolor="none", markeredgecolor="black", markeredgewidth=0.8)


def _ticks(axes: Axes, values: list[float]) -> None:
    """A tick at each value, unless there are so many that they would run into each other."""
    if len(values) <= 5:
        axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.margins(x=0.15, y=0.2)


def _arguments(result: Result) -> dict[str, Any]:
    return result.record["tokenizer"]["init_args"]
