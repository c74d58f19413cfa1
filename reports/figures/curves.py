"""Figures of curves: quality over an argument of GPSToken, and scores over steps of training."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpstoken.training.files import METRICS_FILE, read_metrics
from reports.declared import generator, generators, name_of
from reports.figures import style
from reports.figures.style import METRICS, Look, Looks, Published, Results, curve, estimate, headline, page
from reports.tables.columns import COLUMNS, SCORES
from reports.tables.results import Result
from reports.tables.rows import read_published, sweep_of, varied

LOGGED = {"train/loss": "training loss (running mean of 5)", "validation/psnr": "held-out PSNR (dB)"}
GENERATED = ("fid", "kid_efficientnet_lite0")  # the first that every point has is drawn


def sensitivity(declared: dict[str, Any], results: Results, published: Published) -> Figure | None:
    """Quality over each swept argument, the others at their defaults; 95 % intervals are over images and seeds.

    The paper's points stand in panels of their own. None comes back where no argument has a second value.
    """
    sweeps, base = declared["sweeps"], declared["base"]
    curves: dict[str, dict[float, Result]] = {sweep: {} for sweep in sweeps}
    for row, result in results.items():
        for sweep in sweeps if row == base else {varied(declared, row)} & sweeps.keys():
            curves[sweep][sweep_of(sweep, result)] = result
    if base not in results or all(len(points) < 2 for points in curves.values()):
        return None
    figure = page(6.0)
    panels = figure.subplots(len(sweeps), 4)
    for zero, _, smallest in panels.T:
        # One axis shows whether s_min matters less than λ; s = 1 would flatten both.
        smallest.sharey(zero)
    for place, (metric, papers_metric) in enumerate(METRICS.items()):
        panels[0, place].set_title(f"ours: {COLUMNS[metric].titled}")
        panels[0, 2 + place].set_title(f"paper: {COLUMNS[papers_metric].heading}".replace(" (", "\n("))
        for line, (sweep, entry) in zip(panels, sweeps.items(), strict=True):
            points = {value: estimate(result, metric) for value, result in sorted(curves[sweep].items())}
            style.means(line[place], list(points), list(points.values()), style.OURS, markersize=4)
            usual = sweep_of(sweep, results[base])
            _finish(line[place], entry["axis"], list(points), (usual, points[usual].mean))
            rows = {float(row["value"]): row for row in published if row["parameter"] == entry["paper"]}
            rows[entry["default"]] = next(row for row in published if row["parameter"] == "default")
            points = {value: float(row[papers_metric]) for value, row in sorted(rows.items())}
            curve(line[2 + place], list(points), list(points.values()), style.PAPER, markersize=5)
            _finish(line[2 + place], entry["axis"], list(points), (entry["default"], points[entry["default"]]))
    record = results[base].record
    numbers = f"{record['data']['photographs']} photographs and {len(record['seeds'])} seeds"
    ours = f"Ours: {record['scale']} scale, mean and 95 % interval over {numbers}."
    rings = "Rings mark the default of each argument."
    headline(figure, f"{declared['title']}. {ours} Paper: ImageNet 256 px. {rings}")
    return figure


def _finish(axes: Axes, label: str, values: list[float], default: tuple[float, float]) -> None:
    """A ring around the point of the default, and a tick at each value, unless so many would run into each other."""
    axes.set_xlabel(label)
    ring = {"markerfacecolor": "none", "markeredgecolor": "black", "markeredgewidth": 0.8}
    axes.plot(*default, "o", markersize=9, **ring)
    if len(values) <= 5:
        axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.margins(x=0.15, y=0.2)


def read_curves(row: Path) -> dict[str, pd.DataFrame]:
    """Every logged metric of a row, a column a seed, by step; only steps that all seeds have."""
    logged: dict[str, list[pd.Series]] = defaultdict(list)
    for path in sorted(row.glob(f"seed*/{METRICS_FILE}")):
        table = pd.DataFrame(read_metrics(path), columns=["step", "name", "value"])
        for name, points in table.drop_duplicates(["step", "name"], keep="last").groupby("name"):
            logged[name].append(points.set_index("step")["value"])
    return {name: pd.concat(seeds, axis=1, join="inner").sort_index() for name, seeds in logged.items()}


def _seeds(axes: Axes, seeds: pd.DataFrame, look: Look, **more: Any) -> None:
    """The mean of the seeds, a column each, and a band from the lowest to the highest."""
    curve(axes, seeds.index, seeds.mean(axis=1), look, (seeds.min(axis=1), seeds.max(axis=1)), **more)


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
            seeds = curves[row][metric]
            if metric == "train/loss":
                seeds = seeds.rolling(5, center=True, min_periods=1).mean()
            # Some six markers a line: enough to tell lines apart, too few to hide them.
            more = {"label": names[row], "linewidth": 1.2, "markersize": 3.5, "markevery": max(1, len(seeds) // 6)}
            _seeds(axes, seeds, styles[row], alpha=0.13, **more)
        axes.set(xlabel="step", title=heading)
    style.legend_below(figure, 4)
    return figure


def curves(ours: Results) -> Figure | None:
    """Our generators' score over training iterations, mean and band of the seeds as above; the paper's FID beside.

    Never in one panel: the two are of different networks, data and sizes.
    """
    # One point is of a row that was sampled at the end alone.
    records = {row: result.record for row, result in ours.items() if len(result.record.get("curve", [])) > 1}
    scores = [point["scores"].keys() for record in records.values() for point in record["curve"]]
    metric = next((name for name in GENERATED if scores and all(name in names for names in scores)), None)
    if metric is None:
        return None
    figure = page(3.2)
    left, right = figure.subplots(1, 2, width_ratios=[1.6, 1])
    styles, size = style.looks(generators()), {"markersize": 4, "linewidth": 1.3}
    for row, record in records.items():
        seeds = pd.DataFrame({point["step"]: point["scores"][metric]["per_seed"] for point in record["curve"]}).T
        _seeds(left, seeds.sort_index() * SCORES[metric].factor, styles[row], label=name_of(row), **size)
    for method, printed in pd.DataFrame(read_published("generator_training_sit_xl.csv")).groupby("method", sort=False):
        x, y = printed["iterations"].astype(int) / 1e6, printed["fid"].astype(float)
        # A method of the paper is of the row whose name it begins with, as "SiT-XL/2 baseline" is of SiT-XL/2.
        papers = {row: generator(row).get("paper") for row in generators()}
        for row in (row for row, paper in papers.items() if paper and method.startswith(paper)):
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
