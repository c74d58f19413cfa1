"""Figures of curves: quality over an argument of GPSToken, and scores over steps of training."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpstoken.training.files import METRICS_FILE, read_metrics
from reports.declared import generators, main_row, name_of, papers_row_of
from reports.figures import style
from reports.figures.style import METRICS, Look, Looks, Results, curve, estimate, headline, page, title
from reports.tables.columns import COLUMNS, SCORES
from reports.tables.generation_results import Record
from reports.tables.results import Result
from reports.tables.rows import read_published

# Argument of GPSToken -> (its letter, as the paper's table calls it, its default there).
KNOBS = {
    "lambda_": ("λ", "lambda", 2.5),
    "support_factor": ("support factor s", "support", 5.0),
    "min_region_size": ("s_min (px)", "s_min", 4.0),
}
LOGGED = {"train/loss": "training loss (running mean of 5)", "validation/psnr": "held-out PSNR (dB)"}
GENERATED = ("fid", "kid_efficientnet_lite0")  # the first that every point has is drawn


def curves_of(results: Results) -> dict[str, dict[float, Result]]:
    """Each knob's results by its value, in the order of the values; empty without the base row.

    A result stands on the curve of the one argument in which it differs from the base row, and the base row on all.
    """
    if main_row() not in results:
        return {}
    arguments = {row: result.record["tokenizer"]["init_args"] for row, result in results.items()}
    base = arguments[main_row()]
    curves = {knob: {base[knob]: results[main_row()]} for knob in KNOBS}
    for row, changed in arguments.items():
        names = [name for name in changed.keys() | base.keys() if changed.get(name) != base.get(name)]
        if len(names) == 1 and names[0] in KNOBS:
            curves[names[0]][changed[names[0]]] = results[row]
    return {knob: dict(sorted(points.items())) for knob, points in curves.items()}


def sensitivity(curves: dict[str, dict[float, Result]]) -> Figure | None:
    """Quality over each knob, 95 % interval over images and seeds; the paper's points in panels of their own.

    None comes back where no knob has a second value.
    """
    if not any(len(results) > 1 for results in curves.values()):
        return None
    published = read_published("sensitivity_imagenet256.csv")
    figure = page(6.0)
    panels = figure.subplots(len(KNOBS), 4)
    for zero, _, smallest in panels.T:
        # One axis shows whether s_min matters less than λ; s = 1 would flatten both.
        smallest.sharey(zero)
    for place, (metric, papers_metric) in enumerate(METRICS.items()):
        panels[0, place].set_title(f"ours: {title(metric)}")
        panels[0, 2 + place].set_title(f"paper: {COLUMNS[papers_metric].heading}".replace(" (", "\n("))
        for line, (knob, (letter, papers_name, default)) in zip(panels, KNOBS.items(), strict=True):
            means = {value: estimate(result, metric) for value, result in curves[knob].items()}
            points = {value: mean.mean for value, mean in means.items()}
            band = list(zip(*(mean.interval for mean in means.values()), strict=True))
            usual = next(value for value, result in curves[knob].items() if result.record["row"] == main_row())
            _knob(line[place], letter, points, usual, style.OURS, band=band, markersize=4)
            rows = {float(row["value"]): row for row in published if row["parameter"] == papers_name}
            rows[default] = next(row for row in published if row["parameter"] == "default")
            points = {value: float(row[papers_metric]) for value, row in sorted(rows.items())}
            _knob(line[2 + place], letter, points, default, style.PAPER, markersize=5)
    record = next(iter(curves["lambda_"].values())).record
    numbers = f"{record['data']['photographs']} photographs and {len(record['seeds'])} seeds"
    ours = f"Ours: {record['scale']} scale, mean and 95 % interval over {numbers}."
    headline(
        figure,
        f"Sensitivity to λ, s and s_min. {ours} Paper: ImageNet 256 px. Rings mark the default of each argument.",
    )
    return figure


def _knob(axes: Axes, letter: str, points: dict[float, float], default: float, look: Look, **more: Any) -> None:
    """A curve with a ring at the default, and a tick at each value, unless so many would run into each other."""
    curve(axes, list(points), list(points.values()), look, **more)
    axes.set_xlabel(letter)
    ring = {"markerfacecolor": "none", "markeredgecolor": "black", "markeredgewidth": 0.8}
    axes.plot([default], [points[default]], "o", markersize=9, **ring)
    if len(points) <= 5:
        axes.set_xticks(list(points), [f"{value:g}" for value in points])
    axes.margins(x=0.15, y=0.2)


def read_curves(row: Path) -> dict[str, np.ndarray]:
    """Every logged metric of a row as float[1 + seeds, steps], the steps first; only steps that all have."""
    logged: dict[str, list[pd.Series]] = defaultdict(list)
    for path in sorted(row.glob(f"seed*/{METRICS_FILE}")):
        table = pd.DataFrame(read_metrics(path), columns=["step", "name", "value"])
        for name, points in table.drop_duplicates(["step", "name"], keep="last").groupby("name"):
            logged[name].append(points.set_index("step")["value"])
    return {
        name: pd.concat(seeds, axis=1, join="inner").sort_index().reset_index().to_numpy(float).T
        for name, seeds in logged.items()
    }


def training(runs: Path, names: dict[str, str], styles: Looks) -> Figure | None:
    """Training loss and held-out PSNR of tokenizers over steps: mean of the seeds, band from lowest to highest.

    `runs` is runs/SCALE/tokenizers; `names` and `styles` say what each row is called, and how it looks.
    """
    curves = {row: metrics for row in names if (metrics := read_curves(runs / row))}
    if not curves:
        return None
    figure = page(3.3 + 0.17 * (len(curves) // 4))
    for axes, (metric, heading) in zip(figure.subplots(1, 2), LOGGED.items(), strict=True):
        for row in (row for row in curves if metric in curves[row]):
            steps, *seeds = curves[row][metric]
            smooth = np.stack([running_mean(seed) if metric == "train/loss" else seed for seed in seeds])
            # Some six markers a line: enough to tell lines apart, too few to hide them.
            more = {"label": names[row], "linewidth": 1.2, "markersize": 3.5, "markevery": max(1, len(steps) // 6)}
            curve(axes, steps, smooth.mean(0), styles[row], (smooth.min(0), smooth.max(0)), alpha=0.13, **more)
        axes.set(xlabel="step", title=heading)
    style.legend_below(figure, 4)
    return figure


def running_mean(values: np.ndarray, width: int = 5) -> np.ndarray:
    """Mean over `width` neighbours; fewer at the ends."""
    half = width // 2
    return np.array([values[max(0, place - half) : place + half + 1].mean() for place in range(len(values))])


def curves(ours: dict[str, Record | None]) -> Figure | None:
    """Our generators' score over training iterations, mean and band of the seeds as above; the paper's FID beside.

    Never in one panel: the two are of different networks, data and sizes.
    """
    records = {row: record for row, record in ours.items() if record is not None and record.get("curve")}
    scores = [point["scores"].keys() for record in records.values() for point in record["curve"]]
    metric = next((name for name in GENERATED if scores and all(name in names for names in scores)), None)
    if metric is None:
        return None
    figure = page(3.2)
    left, right = figure.subplots(1, 2, width_ratios=[1.6, 1])
    styles, size = style.looks(generators()), {"markersize": 4, "linewidth": 1.3}
    for row, record in records.items():
        points = sorted(record["curve"], key=lambda point: point["step"])
        seeds = np.array([point["scores"][metric]["per_seed"] for point in points]) * SCORES[metric].factor
        steps, band = [point["step"] for point in points], (seeds.min(1), seeds.max(1))
        curve(left, steps, seeds.mean(1), styles[row], band, label=name_of(row), **size)
    for method, printed in pd.DataFrame(read_published("generator_training_sit_xl.csv")).groupby("method", sort=False):
        x, y = printed["iterations"].astype(int) / 1e6, printed["fid"].astype(float)
        # A method of the paper is of the row whose name it begins with, as "SiT-XL/2 baseline" is of SiT-XL/2.
        for row in (row for row in generators() if papers_row_of(row) and method.startswith(papers_row_of(row))):
            curve(right, x, y, styles[row], **size)
            place = x.iloc[0], y.iloc[0]
            right.annotate(method, place, xytext=(4, 5), textcoords="offset points", color=styles[row].colour)
    record = next(iter(records.values()))
    left.set(xlabel="training iterations (of the last stage)", xlim=(0, None))
    left.set_ylabel(SCORES[metric].heading + ("" if metric == "fid" else " (no FID)"))
    left.set_title(f"ours, {record['scale']} scale, {len(record['seeds'])} seeds: mean and range")
    right.set(xlabel="training iterations (million)", ylabel="FID-10K", ylim=(0, 22), xlim=(0.45, 1.05))
    right.set(xticks=[0.5, 1.0], yticks=range(0, 21, 5), title="paper, ImageNet 256 px")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=3)
    return figure
