"""`python -m reports.figures`: one function a figure; PNG to look at, SVG to print."""

import argparse
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
import yaml
from matplotlib.figure import Figure
from PIL import Image
from skimage import data

from gpstoken import GPSToken
from gpstoken.drawing import contact_sheet, draw_gaussians, to_picture
from gpstoken.training.files import CHECKPOINT_FILE, METRICS_FILE, read_metrics
from reports.claims import judge
from reports.results import Result, read_result

# Okabe and Ito: told apart by colour-blind readers and in grey print.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"]
# Text stays text in SVG, and ids do not change from run to run.
STYLE = {"svg.hashsalt": "gpstoken", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False}
STYLE |= {"axes.spines.right": False, "figure.dpi": 150, "savefig.bbox": "tight"}


def main(arguments: list[str] | None = None) -> int:
    """Draws every figure; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m reports.figures", description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="results/SCALE")
    parser.add_argument("--runs", type=Path, required=True, help="runs/SCALE/tokenizers")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    declared = yaml.safe_load((Path(__file__).parent / "tables.yaml").read_text())["ablation"]
    results = {row: read_result(options.results / "tokenizers" / f"{row}.json") for row in declared["ours"]}
    found = {row: result for row, result in results.items() if result is not None}
    with mpl.rc_context(STYLE):
        if len(found) == len(results):
            save(ablation(found, declared["claims"]), options.output / "ablation")
        save(training(options.runs), options.output / "training")
    tokenizer = GPSToken.from_checkpoint(options.runs / "gpstoken_m128" / "seed0" / CHECKPOINT_FILE)
    overview(tokenizer).save(options.output / "overview.png")
    return 0


def save(figure: Figure, path: Path) -> None:
    """Writes PATH.png and PATH.svg without dates."""
    figure.savefig(path.with_suffix(".png"), metadata={"Software": None})
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def ablation(results: dict[str, Result], claims: list[list[str]]) -> Figure:
    """Means of the arms with 95 % intervals, and the paired differences that the claims are about."""
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots(2, 2, height_ratios=[len(results), len(claims)])
    scale = next(iter(results.values())).record["scale"]
    for column, (metric, title) in enumerate(
        [("psnr", "PSNR (dB), more is better"), ("lpips_alexnet", "LPIPS, less is better")]
    ):
        above, below = axes[0, column], axes[1, column]
        for place, (row, result) in enumerate(results.items()):
            value = result.record["metrics"][metric]
            above.errorbar(
                value["mean"], place, xerr=1.96 * value["standard_error"], fmt="o", color=COLOURS[place], capsize=3
            )
            above.scatter(value["per_seed"], [place] * len(value["per_seed"]), marker="|", color="black", zorder=3)
            if column == 0:
                above.text(-0.03, place, row, transform=above.get_yaxis_transform(), ha="right", va="center")
        above.set(title=title, yticks=[], ylim=(len(results) - 0.5, -0.5))
        for place, (first, second, _) in enumerate(claims):
            difference = judge(results[first], results[second], metric).difference
            below.errorbar(
                difference.mean, place, xerr=1.96 * difference.standard_error, fmt="s", color="black", capsize=3
            )
            if column == 0:
                text = f"{second}\nminus {first}"
                below.text(
                    -0.03, place, text, transform=below.get_yaxis_transform(), ha="right", va="center", fontsize=7
                )
        below.axvline(0, color="grey", linewidth=0.8)
        below.set(xlabel="paired difference", yticks=[], ylim=(len(claims) - 0.5, -0.5))
    figure.suptitle(f"Adaptivity ablation, {scale} scale (dot and bar: mean, 95 % interval; ticks: seeds)", fontsize=9)
    return figure


def training(runs: Path) -> Figure:
    """Held-out PSNR and training loss of every row over steps: mean of the seeds, band from lowest to highest."""
    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    panels = [("train/loss", "training loss"), ("validation/psnr", "held-out PSNR (dB), EMA weights")]
    for axes, (metric, title) in zip(figure.subplots(1, 2), panels, strict=True):
        for colour, row in zip(COLOURS, sorted(path for path in runs.iterdir() if path.is_dir()), strict=False):
            curves = [
                np.array([(step, value) for step, name, value in read_metrics(path) if name == metric])
                for path in sorted(row.glob(f"seed*/{METRICS_FILE}"))
            ]
            if not curves or not all(len(curve) for curve in curves):
                continue
            steps, values = curves[0][:, 0], np.stack([_smooth(curve[:, 1]) for curve in curves])
            axes.plot(steps, values.mean(axis=0), color=colour, label=row.name, marker="o" if len(steps) < 5 else None)
            axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)
        axes.set(xlabel="step", title=title)
    axes.legend(fontsize=7, frameon=False)
    return figure


def _smooth(values: np.ndarray, width: int = 5) -> np.ndarray:
    """Running mean that shrinks at the ends; a curve of a few points stays as it is."""
    if len(values) < 2 * width:
        return values
    return np.array([values[max(0, i - width // 2) : i + width // 2 + 1].mean() for i in range(len(values))])


@torch.no_grad()
def overview(tokenizer: GPSToken, side: int = 256) -> Image.Image:
    """Input, initial Gaussians, refined Gaussians, reconstruction: two photos as one tile, one as sixteen."""
    tile = tokenizer.image_size
    rows = []
    for picture, size in [(data.coffee(), tile), (data.chelsea(), tile), (data.chelsea(), 4 * tile)]:
        photo = Image.fromarray(picture)
        edge = min(photo.size)
        left, top = (photo.width - edge) // 2, (photo.height - edge) // 2
        photo = photo.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + edge, top + edge))
        image = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 127.5 - 1
        tokens = tokenizer.encode(image)
        before, after = (to_picture(x[0], max(1, side // size)) for x in (image, tokenizer.decode(tokens)))
        drawn = [draw_gaussians(before, gaussians) for gaussians in (tokenizer.layout(image), tokens.gaussians)]
        rows.append([before, *drawn, after])
    return contact_sheet(rows, gap=6)


if __name__ == "__main__":
    sys.exit(main())
