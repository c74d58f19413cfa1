"""Figures of generation: score against training iterations, and pages of samples over their nearest neighbours."""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from reports.declared import generators, name_of, papers_row_of
from reports.figures.style import STYLE, WIDTH, looks, page
from reports.tables.columns import SCORES
from reports.tables.generation_notes import sampling_words
from reports.tables.generation_results import Record
from reports.tables.rows import read_published

CURVES = ("fid", "kid_efficientnet_lite0")  # the first that every point has is drawn
MOST_CLASSES, MOST_SAMPLES = 10, 8
MAGNIFIED = 128  # pixels; smaller images are enlarged to about this side, pixel by pixel
GAP, CAPTION, LABELS, TITLE = 4, 30, 128, 44  # pixels between pictures, under them, left of all and above all


def curves(ours: dict[str, Record | None]) -> Figure | None:
    """Our score over training iterations, mean of the seeds in a band from lowest to highest; the paper's FID beside.

    Never in one panel: the two are of different networks, data and sizes.
    """
    found = {row: record for row, record in ours.items() if record is not None and record.get("curve")}
    every = [point["scores"].keys() for record in found.values() for point in record["curve"]]
    metric = next((name for name in CURVES if every and all(name in scores for scores in every)), None)
    if metric is None:
        return None
    figure = page(3.2)
    left, right = figure.subplots(1, 2, width_ratios=[1.6, 1])
    styles = looks(generators())
    for row, record in found.items():
        points = sorted(record["curve"], key=lambda point: point["step"])
        seeds = np.array([point["scores"][metric]["per_seed"] for point in points]) * SCORES[metric].factor
        steps = [point["step"] for point in points]
        colour, dash, marker = styles[row]
        left.plot(
            steps, seeds.mean(1), dash, label=name_of(row), color=colour, marker=marker, markersize=4, linewidth=1.3
        )
        left.fill_between(steps, seeds.min(1), seeds.max(1), color=colour, alpha=0.15, linewidth=0)
    label = SCORES[metric].heading + ("" if metric == "fid" else " (no FID)")
    left.set(xlabel="training iterations (of the last stage)", ylabel=label, xlim=(0, None))
    record = next(iter(found.values()))
    left.set_title(f"ours, {record['scale']} scale, {len(record['seeds'])} seeds: mean, lowest to highest")
    papers = read_published("generator_training_sit_xl.csv")
    methods = dict.fromkeys(printed["method"] for printed in papers)
    for method, row in ((method, row) for method in methods for row in generators() if _is_of(method, row)):
        points = [(int(p["iterations"]) / 1e6, float(p["fid"])) for p in papers if p["method"] == method]
        colour, dash, marker = styles[row]
        right.plot(*zip(*points, strict=True), dash, color=colour, marker=marker, markersize=4, linewidth=1.3)
        right.annotate(method, points[0], xytext=(4, 5), textcoords="offset points", color=colour)
    right.set(xlabel="training iterations (million)", ylabel="FID-10K", ylim=(0, 22), xlim=(0.45, 1.05))
    right.set_xticks([0.5, 1.0])
    right.set_yticks(range(0, 21, 5))
    right.set_title("paper, ImageNet 256 px")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=3)
    return figure


def samples_page(path: Path, record: Record) -> Figure | None:
    """A class a line: samples, and below each the real training image that is nearest, with the distance.

    Nearest in pixels; where those were not compared, as of ImageNet at 256 pixels, by features.

    Args:
        path: `classes` long[K], `samples` and `nearest` uint8[K, n, H, W, 3] and `distances` float[K, n], or both with
            `_by_features` behind, as `gpstoken evaluate-generator` writes them; None comes back without it.
        record: the result beside it.

    Raises:
        ValueError: if the file is not of this form.
    """
    if not path.is_file():
        return None
    classes, samples, nearest, distances, in_pixels = read_samples(path)
    names = record["classifier"]["classes"]
    zoom = max(1, MAGNIFIED // samples.shape[2])
    full = round(WIDTH * STYLE["savefig.dpi"])
    side = zoom * samples.shape[3] + GAP
    shown = min(samples.shape[1], MOST_SAMPLES, max(1, (full - LABELS + GAP) // side))
    strips, labels, captions = [], [], []
    top = 0
    for place in range(min(len(classes), MOST_CLASSES)):
        for pictures, label in ((samples, names[int(classes[place])]), (nearest, "nearest in training set")):
            strip = _line(pictures[place, :shown], zoom)
            labels.append((top + strip.shape[0] / 2, textwrap.fill(label, 13)))
            strips += [strip, np.full((GAP, *strip.shape[1:]), 255, np.uint8)]
            top += strip.shape[0] + GAP
        strips.append(np.full((CAPTION, *strips[0].shape[1:]), 255, np.uint8))
        captions += [
            ((column + 0.5) * side - GAP / 2, top, f"{distance:,.0f}" if in_pixels else f"{distance:.3f}")
            for column, distance in enumerate(distances[place, :shown])
        ]
        top += CAPTION
    sheet = np.concatenate(strips)
    height, width = sheet.shape[:2]
    figure = Figure(figsize=(full / STYLE["savefig.dpi"], (height + TITLE) / STYLE["savefig.dpi"]))
    # A pixel of the sheet is a pixel of the PNG.
    axes = figure.add_axes((LABELS / full, 0, width / full, height / (height + TITLE)))
    axes.imshow(sheet, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([y for y, _ in labels], [label for _, label in labels], fontsize=7.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for x, y, text in captions:
        axes.text(x, y, text, ha="center", va="top", fontsize=7)
    some = f", {min(len(classes), MOST_CLASSES)} of {len(names)} classes" if len(classes) < len(names) else ""
    unit = "Euclidean, levels 0 to 255" if in_pixels else "1 - cosine of features"
    text = (
        f"{name_of(record['row'])}, {record['scale']} scale{some}: {sampling_words(record['sampling'])}. Number: "
        f"distance ({unit})"
    )
    figure.text(0.5, 1 - 4 / (height + TITLE), textwrap.fill(text, 110), ha="center", va="top")
    return figure


def read_samples(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, bool]:
    """Reads and checks the file of samples of a row: classes, samples, nearest, distances, and whether in pixels.

    Raises:
        ValueError: if the file is not of the form that `samples_page` needs.
    """
    with np.load(path, allow_pickle=False) as file:
        in_pixels = "nearest" in file or "nearest_by_features" not in file
        by = "" if in_pixels else "_by_features"
        names = ("classes", "samples", f"nearest{by}", f"distances{by}")
        if missing := [name for name in names if name not in file]:
            raise ValueError(f"{path}: no {missing[0]!r} in it; write it anew with `gpstoken evaluate-generator`")
        classes, samples, nearest, distances = (file[name] for name in names)
    if samples.ndim != 5 or samples.dtype != np.uint8 or nearest.shape != samples.shape:
        raise ValueError(
            f"{path}: expected samples and nearest uint8[K, n, H, W, 3], got {samples.shape} and {nearest.shape}"
        )
    return classes, samples, nearest, distances, in_pixels


def _line(images: np.ndarray, zoom: int) -> np.ndarray:
    """uint8[n, H, W, 3] side by side, every pixel `zoom` times as wide and high."""
    large = images.repeat(zoom, axis=1).repeat(zoom, axis=2)
    gap = np.full((large.shape[1], GAP, 3), 255, np.uint8)
    return np.concatenate([part for image in large for part in (image, gap)][:-1], axis=1)


def _is_of(method: str, row: str) -> bool:
    """Whether the paper's method is that of a row of ours, as "SiT-XL/2 baseline" is that of SiT-XL/2."""
    return bool(papers_row_of(row)) and method.startswith(papers_row_of(row))
