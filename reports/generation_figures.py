"""Figures of generation: score against training iterations, and pages of samples over their nearest neighbours."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from reports.figures import COLOURS, DASHES, STYLE
from reports.generation_cells import SCORES
from reports.generation_results import ROWS, Record, read_published

CURVE = "kid_efficientnet_lite0"
MOST_CLASSES, MOST_SAMPLES = 10, 8
MAGNIFIED = 128  # pixels; smaller images are enlarged to about this side, pixel by pixel
GAP = 8


def draw_all(ours: dict[str, Record | None], results: Path, output: Path) -> list[str]:
    """Draws what there is material for and names the rest on the terminal; returns the PNG files made."""
    figures = {"fid_curve": curves(ours) if any(record and record.get("curve") for record in ours.values()) else None}
    for row, record in ours.items():
        path = results / "generators" / f"{row}.samples.npz"
        figures[f"samples_{row}"] = samples_page(path, record) if record is not None and path.is_file() else None
    for name, figure in figures.items():
        if figure is None:
            print(f"{name}: nothing to draw yet")
            continue
        with mpl.rc_context(STYLE):
            figure.savefig(output / f"{name}.png", metadata={"Software": None})
            if name == "fid_curve":  # pictures gain nothing from SVG
                figure.savefig(output / f"{name}.svg", metadata={"Date": None})
    return [f"{name}.png" for name, figure in figures.items() if figure is not None]


def curves(ours: dict[str, Record | None]) -> Figure:
    """Our score over training iterations, mean of the seeds in a band from lowest to highest; the paper's FID beside.

    Never in one panel: the two are of different networks, data and sizes.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.4, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[1.6, 1])
        styles = dict(zip(ROWS, zip(COLOURS, DASHES, "os^", strict=False), strict=False))
        for row, (colour, dash, marker) in styles.items():
            points = [point for point in (ours[row] or {}).get("curve", []) if CURVE in point["scores"]]
            if not points:
                continue
            points.sort(key=lambda point: point["step"])
            seeds = np.array([point["scores"][CURVE]["per_seed"] for point in points]) * SCORES[CURVE].factor
            steps = [point["step"] for point in points]
            style = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.3}
            left.plot(steps, seeds.mean(1), dash, label=ROWS[row][0], **style)
            left.fill_between(steps, seeds.min(1), seeds.max(1), color=colour, alpha=0.15, linewidth=0)
        record = next(record for record in ours.values() if record is not None)
        left.set(
            xlabel="training iterations (of the last stage)", ylabel=f"{SCORES[CURVE].heading} (no FID)", xlim=(0, None)
        )
        left.set_title(
            f"ours, {record['scale']} scale, {len(record['seeds'])} seeds: mean, lowest to highest", fontsize=9
        )
        left.legend(frameon=False)
        papers = read_published("generator_training_sit_xl.csv")
        for method, row in {"SiT-XL/2 baseline": "grid", "GPSToken two-stage": "two_stage"}.items():
            points = [(int(p["iterations"]) / 1e6, float(p["fid"])) for p in papers if p["method"] == method]
            colour, dash, marker = styles[row]
            right.plot(*zip(*points, strict=True), dash, color=colour, marker=marker, markersize=4, linewidth=1.3)
            right.annotate(method, points[0], xytext=(4, 5), textcoords="offset points", fontsize=8, color=colour)
        right.set(xlabel="training iterations (million)", ylabel="FID-10K", ylim=(0, 22), xlim=(0.45, 1.05))
        right.set_xticks([0.5, 1.0])
        right.set_yticks(range(0, 21, 5))
        right.set_title("paper, ImageNet 256 px", fontsize=9)
        return figure


def samples_page(path: Path, record: Record) -> Figure:
    """A class a line: samples, and below each the real training image whose pixels are nearest, with the distance.

    Args:
        path: `classes` long[K], `samples` and `nearest` uint8[K, n, H, W, 3] and `distances` float[K, n], as
            `gpstoken evaluate-generator` writes them.
        record: the result beside it.

    Raises:
        ValueError: if the file is not of this form.
    """
    classes, samples, nearest, distances = read_samples(path)
    names = record["classifier"]["classes"]
    shown = range(min(len(classes), MOST_CLASSES))
    zoom = max(1, MAGNIFIED // samples.shape[2])
    strips, labels, captions = [], [], []
    top = 0
    for place in shown:
        for pictures, label in ((samples, names[int(classes[place])]), (nearest, "nearest in\ntraining set")):
            strip = _line(pictures[place, :MOST_SAMPLES], zoom)
            labels.append((top + strip.shape[0] / 2, label))
            strips += [strip, np.full((GAP // 2, *strip.shape[1:]), 255, np.uint8)]
            top += strip.shape[0] + GAP // 2
        strips.append(np.full((4 * GAP, *strips[0].shape[1:]), 255, np.uint8))
        captions += [
            ((column + 0.5) * (zoom * samples.shape[3] + GAP) - GAP / 2, top, f"{distance:,.0f}")
            for column, distance in enumerate(distances[place, :MOST_SAMPLES])
        ]
        top += 4 * GAP
    sheet = np.concatenate(strips)
    height, width = sheet.shape[:2]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width / STYLE["savefig.dpi"], height / STYLE["savefig.dpi"]))
        axes = figure.add_axes((0, 0, 1, 1))  # a pixel of the sheet is a pixel of the file
        axes.imshow(sheet, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([y for y, _ in labels], [label for _, label in labels], fontsize=8)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for x, y, text in captions:
            axes.text(x, y, text, ha="center", va="top", fontsize=6)
        some = f", {len(shown)} of {len(names)} classes" if len(shown) < len(names) else ""
        sampling = record["sampling"]
        axes.set_title(
            f"{ROWS[record['row']][0]}, {record['scale']} scale{some}: {sampling['sampler'].upper()}, "
            f"{sampling['steps']} steps, guidance {sampling['guidance']:g}. Number: distance (Euclidean, levels 0 to "
            "255)",
            fontsize=8,
        )
        return figure


def read_samples(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Reads and checks the file of samples of a row: classes, samples, nearest, distances.

    Raises:
        ValueError: if the file is not of the form that `samples_page` needs.
    """
    names = ("classes", "samples", "nearest", "distances")
    with np.load(path, allow_pickle=False) as file:
        if missing := [name for name in names if name not in file]:
            raise ValueError(f"{path}: no {missing[0]!r} in it; write it anew with `gpstoken evaluate-generator`")
        classes, samples, nearest, distances = (file[name] for name in names)
    if samples.ndim != 5 or samples.dtype != np.uint8 or nearest.shape != samples.shape:
        raise ValueError(
            f"{path}: expected samples and nearest uint8[K, n, H, W, 3], got {samples.shape} and {nearest.shape}"
        )
    return classes, samples, nearest, distances


def _line(images: np.ndarray, zoom: int) -> np.ndarray:
    """uint8[n, H, W, 3] side by side, every pixel `zoom` times as wide and high."""
    large = images.repeat(zoom, axis=1).repeat(zoom, axis=2)
    gap = np.full((large.shape[1], GAP, 3), 255, np.uint8)
    return np.concatenate([part for image in large for part in (image, gap)][:-1], axis=1)
