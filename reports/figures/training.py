"""The figure of training: loss and held-out quality over steps."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from gpstoken.training.files import METRICS_FILE, read_metrics
from reports.figures.style import Look, legend_below, page

PANELS = {"train/loss": "training loss (running mean of 5)", "validation/psnr": "held-out PSNR (dB)"}


def read_curves(row: Path) -> dict[str, np.ndarray]:
    """Every logged metric of a row as float[1 + seeds, steps], the steps first; only steps that all have."""
    logged: dict[str, list[dict[int, float]]] = {}
    for path in sorted(row.glob(f"seed*/{METRICS_FILE}")):
        seed: dict[str, dict[int, float]] = {}
        for step, name, value in read_metrics(path):
            seed.setdefault(name, {})[step] = value
        for name, curve in seed.items():
            logged.setdefault(name, []).append(curve)
    curves = {}
    for name, seeds in logged.items():
        steps = sorted(set.intersection(*(set(curve) for curve in seeds)))
        curves[name] = np.array([steps, *([curve[step] for step in steps] for curve in seeds)], dtype=float)
    return curves


def training(runs: Path, names: dict[str, str], styles: dict[str, Look]) -> Figure | None:
    """Training loss and held-out PSNR of every row over steps: mean of the seeds, band from lowest to highest.

    Args:
        runs: runs/SCALE/tokenizers.
        names: what each row is called.
        styles: how each row looks.
    """
    curves = {row: curve for row in names if (curve := read_curves(runs / row))}
    if not curves:
        return None
    figure = page(3.3 + 0.17 * (len(curves) // 4))
    for axes, (metric, title) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
        for row, logged in curves.items():
            if metric not in logged:
                continue
            steps, *seeds = logged[metric]
            smooth = np.stack([running_mean(seed) if metric == "train/loss" else seed for seed in seeds])
            colour, dash, marker = styles[row]
            # A marker at every fourth step or so: enough to tell lines apart, too few to hide them.
            often = max(1, len(steps) // 6)
            axes.plot(steps, smooth.mean(0), dash, color=colour, label=names[row], linewidth=1.2, marker=marker,
                      markersize=3.5, markevery=often)  # fmt: skip
            axes.fill_between(steps, smooth.min(0), smooth.max(0), color=colour, alpha=0.13, linewidth=0)
        axes.set_xlabel("step")
        axes.set_title(title)
    legend_below(figure, 4)
    return figure


def running_mean(values: np.ndarray, width: int = 5) -> np.ndarray:
    """Mean over `width` neighbours; fewer at the ends."""
    half = width // 2
    return np.array([values[max(0, place - half) : place + half + 1].mean() for place in range(len(values))])
