"""`python -m reports.figures`: one function a figure; PNG to look at, SVG to print. Same inputs, same bytes."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from PIL import Image
from skimage import data
from torch import Tensor

from gpstoken import Gaussians, GPSToken
from gpstoken.drawing import to_picture
from gpstoken.photos import centre_square
from gpstoken.training.files import CHECKPOINT_FILE, METRICS_FILE, read_metrics
from reports import intervals
from reports.rows import declarations, read_table

# Okabe and Ito: told apart by colour-blind readers; the line styles tell them apart in grey print.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"]
DASHES = ["-", "--", "-.", ":"]
# Text stays text in SVG, and ids do not change from run to run.
STYLE = {"svg.hashsalt": "gpstoken", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False}
STYLE |= {"axes.spines.right": False, "savefig.dpi": 160, "savefig.bbox": "tight"}
OVERVIEW_ROW = "gpstoken_m128"


def main(arguments: list[str] | None = None) -> int:
    """Draws every figure that there is material for, and names the others; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m reports.figures", description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="results/SCALE")
    parser.add_argument("--runs", type=Path, required=True, help="runs/SCALE/tokenizers")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    tables = declarations()
    rows = dict.fromkeys(row for table in tables.values() for row in table["ours"])
    # A row looks the same in every figure, whichever others are there.
    styles = dict(zip(rows, zip(cycle(COLOURS), cycle(DASHES), strict=False), strict=False))
    curves = {row: curve for row in rows if (curve := read_curves(options.runs / row))}
    checkpoint = options.runs / OVERVIEW_ROW / "seed0" / CHECKPOINT_FILE
    figures: dict[str, Callable[[], Figure | None]] = {}
    for name, declared in tables.items():
        ours, published = read_table(declared, options.results)
        measured = {row: result for row, result in ours.items() if result is not None}
        if "figure" in declared:
            figures[name] = partial(intervals.arms, declared, measured, styles)
        elif name == "tokens":
            figures[name] = partial(intervals.tokens, declared, measured, published)
    figures |= {
        "training": lambda: training(curves, styles) if curves else None,
        "overview": lambda: overview(GPSToken.from_checkpoint(checkpoint)) if checkpoint.is_file() else None,
    }
    with mpl.rc_context(STYLE):
        for name, draw in figures.items():
            figure = draw()
            if figure is None:
                print(f"{name}: nothing to draw yet")
                continue
            figure.savefig(options.output / f"{name}.png", metadata={"Software": None})
            if name != "overview":  # pictures gain nothing from SVG
                figure.savefig(options.output / f"{name}.svg", metadata={"Date": None})
    return 0


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


def training(curves: dict[str, dict[str, np.ndarray]], styles: dict[str, tuple[str, str]]) -> Figure:
    """Training loss and held-out PSNR of every row over steps: mean of the seeds, band from lowest to highest."""
    figure = Figure(figsize=(7.4, 3.2), layout="constrained")
    panels = [("train/loss", "training loss (running mean of 5)"), ("validation/psnr", "held-out PSNR (dB)")]
    for axes, (metric, title) in zip(figure.subplots(1, 2), panels, strict=True):
        for row, logged in curves.items():
            colour, dash = styles[row]
            if metric not in logged:
                continue
            steps, *seeds = logged[metric]
            smooth = np.stack([running_mean(seed) if metric == "train/loss" else seed for seed in seeds])
            marker = "o" if len(steps) < 8 else None
            axes.plot(steps, smooth.mean(0), dash, color=colour, label=row, linewidth=1.3, marker=marker, markersize=3)
            axes.fill_between(steps, smooth.min(0), smooth.max(0), color=colour, alpha=0.15, linewidth=0)
        axes.set_xlabel("step")
        axes.set_title(title, fontsize=9)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def running_mean(values: np.ndarray, width: int = 5) -> np.ndarray:
    """Mean over `width` neighbours; fewer at the ends."""
    half = width // 2
    return np.array([values[max(0, place - half) : place + half + 1].mean() for place in range(len(values))])


@torch.no_grad()
def overview(tokenizer: GPSToken) -> Figure:
    """Input, initial Gaussians, refined Gaussians, reconstruction: two photos as one tile, one as 4x4 tiles."""
    side = tokenizer.image_size
    rows = [(data.chelsea(), side), (data.coffee(), side), (data.chelsea(), 4 * side)]
    figure = Figure(figsize=(9.4, 2.35 * len(rows) + 0.25), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    axes = figure.subplots(len(rows), 4)
    for line, (photo, size) in zip(axes, rows, strict=True):
        photo = np.array(centre_square(Image.fromarray(photo), size))
        image = torch.from_numpy(photo).permute(2, 0, 1)[None] / 127.5 - 1
        tokens = tokenizer.encode(image)
        show(line[0], image)
        show(line[1], image, tokenizer.layout(image))
        show(line[2], image, tokens.gaussians)
        show(line[3], tokenizer.decode(tokens))
        line[0].set_ylabel(f"{size} px, {tokens.features.shape[1]} tokens", fontsize=10)
    for place, title in zip(
        axes[0], ("input", "initial Gaussians", "refined Gaussians", "reconstruction"), strict=True
    ):
        place.set_title(title, fontsize=11)
    return figure


def show(axes: Axes, image: Tensor, gaussians: Gaussians | None = None) -> None:
    """An image float[1, 3, H, W] in [-1, 1]; under Gaussians, drawn as one-sigma ellipses, it is dimmed."""
    height, width = image.shape[-2:]
    pixels = np.asarray(to_picture(image[0])) / 255
    axes.imshow(pixels if gaussians is None else 0.6 * pixels, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if gaussians is None:
        return
    # canvas [-1, 1] is the centres of the first and the last pixel
    scale = torch.tensor([width - 1, height - 1]).double() / 2
    mu, sigma = ((gaussians.mu[0].double() + 1) * scale).numpy(), (gaussians.sigma[0].double() * scale).numpy()
    covariance = gaussians.rho[0].double().numpy() * sigma[:, 0] * sigma[:, 1]
    line = 1.1 if len(mu) < 64 else 0.6
    for centre, (x, y), xy in zip(mu, sigma, covariance, strict=True):
        lengths, directions = np.linalg.eigh([[x * x, xy], [xy, y * y]])
        angle = np.degrees(np.arctan2(directions[1, 1], directions[0, 1]))
        diameters = 2 * np.sqrt(lengths.clip(0))
        axes.add_patch(
            Ellipse(
                centre, diameters[1], diameters[0], angle=angle, facecolor=(1, 0.84, 0.04, 0.15), edgecolor="#ffd60a",
                linewidth=line,
            )
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
