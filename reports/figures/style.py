"""How figures look, and how they are written: PNG to look at, SVG and PDF to print. Same inputs, same bytes."""

import textwrap
from collections.abc import Iterable, Sequence
from itertools import cycle, repeat
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpstoken.files.writing import replacing
from gpstoken.metrics import Estimate, summarise
from reports.tables.results import Result

WIDTH = 7.4  # inches: a page of print between its margins
# Text stays text in SVG and PDF, and ids do not change from run to run.
STYLE = {"svg.hashsalt": "gpstoken", "svg.fonttype": "none", "pdf.fonttype": 42, "font.size": 8}
STYLE |= {"axes.titlesize": 8, "figure.titlesize": 8, "legend.fontsize": 7.5, "legend.frameon": False}
STYLE |= {"axes.spines.top": False, "axes.spines.right": False, "savefig.dpi": 160}
# What is written of the day and of the program is left out.
METADATA = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None, "Producer": None}}
# Okabe and Ito, told apart by colour-blind readers, without their yellow, which white paper swallows; then indigo and
# wine (Tol) and grey. Dashes and markers tell rows apart in grey print.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#332288", "#882255", "#999999"]
DASHES = ["-", "--", "-.", ":"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
GREY, GREY_MARKERS = "#666666", ["<", ">", "p", "*", "d", "h", "1", "+", "x"]
METRICS = {"psnr": "psnr", "lpips_alexnet": "lpips"}  # ours, and the paper's, whose LPIPS is of a network unknown


class Look(NamedTuple):
    """How one row looks in every figure."""

    colour: str
    dash: str
    marker: str


Looks, Results, Published = dict[str, Look], dict[str, Result], list[dict[str, str]]
# Our numbers and the paper's where rows are not told apart, and differences.
OURS, PAPER, DIFFERENCE = Look("#0072B2", "-", "o"), Look("#D55E00", ":", "s"), Look("black", "-", "o")


def looks(names: Iterable[str]) -> Looks:
    """A look for each name, in their order: the first ten have colours of their own, the first 140 looks."""
    return dict(zip(dict.fromkeys(names), map(Look, cycle(COLOURS), cycle(DASHES), cycle(MARKERS)), strict=False))


def grey_looks(names: Iterable[str], known: Looks) -> Looks:
    """Looks of what only the paper has, beside those that are known: grey, with markers that no row of ours has."""
    unknown = dict.fromkeys(name for name in names if name not in known)
    return known | dict(zip(unknown, map(Look, repeat(GREY), repeat(""), cycle(GREY_MARKERS)), strict=False))


def estimate(result: Result, metric: str) -> Estimate:
    """The mean of a measured row with its 95 % interval, over images and seeds."""
    return summarise(result.values[metric], result.sources)


def page(height: float) -> Figure:
    """An empty figure as wide as a page, `height` inches high."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def headline(figure: Figure, text: str) -> None:
    """A line above all panels, broken where the page ends; a number stays with its unit."""
    figure.suptitle(textwrap.fill(text.replace(" px", "\N{NO-BREAK SPACE}px"), 110))


def legend_below(figure: Figure, columns: int) -> None:
    """One legend for all panels, outside of all data; what several panels show is named once."""
    shown = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=columns)


def dot(axes: Axes, x: float, y: float, look: Look, **more: Any) -> None:
    """A number without an interval."""
    axes.plot(x, y, look.marker, **{"color": look.colour, "markersize": 6, **more})


def interval(axes: Axes, value: Estimate, place: float, look: Look, upright: bool = False, **more: Any) -> None:
    """A dot with its 95 % interval along x, or upright along y; `place` is the other coordinate."""
    x, y, error = (place, value.mean, "yerr") if upright else (value.mean, place, "xerr")
    more = {error: value.half_width, "capsize": 3, "markersize": 5, **more}
    axes.errorbar(x, y, fmt=look.marker, color=look.colour, **more)


def curve(axes: Axes, x: Any, y: Any, look: Look, band: Any = None, alpha: float = 0.15, **more: Any) -> None:
    """A line with markers, over a band from `band[0]` to `band[1]`."""
    axes.plot(x, y, look.dash, color=look.colour, marker=look.marker, **more)
    if band is not None:
        axes.fill_between(x, *band, color=look.colour, alpha=alpha, linewidth=0)


def means(axes: Axes, x: Any, values: Sequence[Estimate], look: Look, **more: Any) -> None:
    """A line through means, over a band of their 95 % intervals."""
    band = zip(*(value.interval for value in values), strict=True)
    curve(axes, x, [value.mean for value in values], look, list(band), **more)


def save(figure: Figure, folder: Path, name: str) -> None:
    """Writes NAME.png, NAME.svg and NAME.pdf, each whole or not at all."""
    for form, metadata in METADATA.items():
        with replacing(folder / f"{name}.{form}") as part:
            figure.savefig(part, format=form, metadata=metadata)
