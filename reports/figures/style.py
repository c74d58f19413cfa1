"""How figures look, and how they are written: PNG to look at, SVG and PDF to print. Same inputs, same bytes."""

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpstoken.files.writing import replacing

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
PAPER, INK = "#D55E00", "#0072B2"  # the paper's numbers and ours where rows are not told apart


class Look(NamedTuple):
    """How one row looks in every figure."""

    colour: str
    dash: str
    marker: str


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name, in their order: the first ten have colours of their own, the first 140 looks."""
    return {
        name: Look(COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)], MARKERS[place % len(MARKERS)])
        for place, name in enumerate(dict.fromkeys(names))
    }


def grey_looks(names: Iterable[str]) -> dict[str, Look]:
    """Looks of what only the paper has: grey, with markers that no row of ours has."""
    return {
        name: Look(GREY, "", GREY_MARKERS[place % len(GREY_MARKERS)]) for place, name in enumerate(dict.fromkeys(names))
    }


def page(height: float) -> Figure:
    """An empty figure as wide as a page, `height` inches high."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def headline(figure: Figure, text: str) -> None:
    """A line above all panels, broken where the page ends; a number stays with its unit."""
    figure.suptitle(textwrap.fill(text.replace(" px", "\N{NO-BREAK SPACE}px"), 110))


def legend_below(figure: Figure, columns: int, *panels: Axes) -> None:
    """One legend for the panels, outside of all data; what several panels show is named once."""
    shown = {}
    for axes in panels or figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=columns)


def save(figure: Figure, folder: Path, name: str) -> None:
    """Writes NAME.png, NAME.svg and NAME.pdf, each whole or not at all."""
    for form, metadata in METADATA.items():
        with replacing(folder / f"{name}.{form}") as part:
            figure.savefig(part, format=form, metadata=metadata)
