"""Figures of pictures: held-out photographs as a tokenizer sees them, credited at the foot, and generated samples."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Ellipse
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gpstoken import Gaussians, GPSToken, Tokens
from gpstoken.drawing import to_picture
from gpstoken.images import load_image
from gpstoken.metrics import reconstruction_metrics, to_uint8
from gpstoken.metrics.focus import disc, region_psnr
from reports.declared import name_of
from reports.figures.style import STYLE, WIDTH, page
from reports.tables.results import Result
from reports.tables.texts import paragraph

WORDS = "The quick brown fox jumps over the lazy dog. "
MOST_CLASSES, MOST_SAMPLES = 10, 8
MAGNIFIED = 128  # pixels; smaller images are enlarged to about this side, pixel by pixel
GAP, CAPTION, LABELS, TITLE = 4, 30, 128, 48  # pixels between pictures, under them, left of all and above all


def held_out(root: Path, count: int) -> dict[Path, str]:
    """The first `count` natural test photographs, one of each sitting, and the credit of each.

    CC licences, whose makers are named, lead. None come back where there is no index.csv in `root`, the folder that
    `python -m datamodules.prepare` writes.
    """
    index = root / "index.csv"
    if not index.is_file():
        return {}
    table = pd.read_csv(index, dtype=str, keep_default_na=False).sort_values(["licence", "path"])
    table = table.query("domain == 'natural' and split == 'test'").drop_duplicates("group_id").head(count)
    # PACKAGE__NAME is how datamodules names what it takes out of packages.
    sources = table["source_id"].str.replace(r"(.+)__(.*)", r"\2 of \1", regex=True)
    credits = sources + " (" + table["licence"] + ")"
    return {root / path: credit for path, credit in zip(table["path"], credits, strict=True)}


def overview(tokenizer: GPSToken, photographs: Sequence[Path], foot: str) -> Figure:
    """Input, initial and refined Gaussians, reconstruction: photographs as one tile, the first as 2x2 tiles as well."""
    side = tokenizer.image_size
    lines = [(photograph, side) for photograph in photographs] + [(photographs[0], 2 * side)]
    titles = ("input", "initial Gaussians", "refined Gaussians", "reconstruction")
    figure, panels = sheet(len(lines), titles, foot)
    for (before, initial, refined, after), (photograph, size) in zip(panels, lines, strict=True):
        image = load_image(photograph, size)
        show(before, image)
        show(initial, image, tokenizer.layout(image))
        tokens, _ = reconstructed(tokenizer, image, refined, after)
        before.set_ylabel(f"{size} px, {tokens.features.shape[1]} tokens")
    return figure


def tokens_picture(tokenizer: GPSToken, photographs: Sequence[Path], foot: str) -> Figure:
    """The first photograph from a quarter of the trained token count to twice it: Gaussians, and PSNR under each."""
    image = load_image(photographs[0], tokenizer.image_size)
    counts = [max(1, round(tokenizer.num_tokens * factor)) for factor in (0.25, 0.5, 1, 2)]
    titles = [f"{count} tokens" + (" (trained)" if count == tokenizer.num_tokens else "") for count in counts]
    figure, panels = sheet(2, ["input", *titles], foot, captions=1)
    (first, legend), *columns = panels.T
    legend.axis("off")
    legend.text(0.5, 0.5, "top: Gaussians\n\nmiddle: reconstruction\n\nbottom: its PSNR", ha="center", va="center")
    legend.set_box_aspect(1)
    show(first, image)
    for (above, below), count in zip(columns, counts, strict=True):
        _, after = reconstructed(tokenizer, image, above, below, num_tokens=count)
        below.set_xlabel(f"{reconstruction_metrics(after, image)['psnr'].item():.2f} dB")
    return figure


def focus_picture(
    tokenizer: GPSToken, photographs: Sequence[Path], foot: str, radius: float, strength: float
) -> Figure:
    """Photographs without and with a focus map on a central disc: Gaussians, reconstruction, PSNR inside and outside.

    `radius` of the disc is in sides of the picture, `strength` is that of the map.
    """
    side = tokenizer.image_size
    inside = disc((side, side), radius)
    titles = ("input and disc", "no map", "reconstruction", f"map of strength {strength:g}", "reconstruction")
    figure, panels = sheet(len(photographs), titles, foot, captions=2 * len(photographs))
    for line, photograph in zip(panels, photographs, strict=True):
        image = load_image(photograph, side)
        show(line[0], image)
        for left, right, bias in ((*line[1:3], None), (*line[3:], inside * strength)):
            _, after = reconstructed(tokenizer, image, left, right, bias=bias)
            within, without = region_psnr(to_uint8(after), to_uint8(image), inside).values()
            right.set_xlabel(f"inside {within.item():.2f} dB\noutside {without.item():.2f} dB")
        for axes in line:
            for edge in ({"edgecolor": "white", "linewidth": 2}, {"edgecolor": "black", "linestyle": "--"}):
                axes.add_patch(Circle(((side - 1) / 2,) * 2, radius * side, fill=False, **edge))
    return figure


def hard_pictures(side: int) -> dict[str, Image.Image]:
    """Pictures of `side` pixels by what they show; the same every time."""
    flat, text, lines = (Image.new("RGB", (side, side), colour) for colour in ("#b5651d", "white", "white"))
    pen, font = ImageDraw.Draw(text), ImageFont.load_default(side / 16)
    for line, top in enumerate(range(side // 32, side, side // 12)):
        pen.text((side // 32, top), (WORDS * 2)[line:], fill="black", font=font)
    pen = ImageDraw.Draw(lines)
    for place in range(side // 32, side, side // 8):
        pen.line((0, place, side, side - place), fill="black")
        pen.circle((side / 2, side / 2), place / 2, outline="red")
    ramp = np.broadcast_to(np.linspace(0, 255, side).round().astype(np.uint8)[:, None], (side, side, 3))
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    drawn = {"gradient": Image.fromarray(ramp), "noise": Image.fromarray(noise)}
    return {"one colour": flat, "text": text, "thin lines": lines, **drawn}


def failures(tokenizer: GPSToken, whose: str) -> Figure:
    """The hard pictures, their Gaussians and their reconstructions, with the PSNR under each."""
    pictures = hard_pictures(tokenizer.image_size)
    figure, panels = sheet(3, list(pictures), f"{whose}. Drawn pictures, of which it has seen none", captions=1)
    for (before, gaussians, after), picture in zip(panels.T, pictures.values(), strict=True):
        image = load_image(picture)
        show(before, image)
        _, reconstruction = reconstructed(tokenizer, image, gaussians, after)
        after.set_xlabel(f"{reconstruction_metrics(reconstruction, image)['psnr'].item():.2f} dB")
    return figure


@torch.no_grad()
def reconstructed(tokenizer: GPSToken, image: Tensor, left: Axes, right: Axes, **how: Any) -> tuple[Tokens, Tensor]:
    """Shows an image's Gaussians on the left and its reconstruction on the right; gives tokens and reconstruction."""
    tokens = tokenizer.encode(image, **how)
    reconstruction = tokenizer.decode(tokens)
    show(left, image, tokens.gaussians)
    show(right, reconstruction)
    return tokens, reconstruction


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
    style = {"facecolor": (1, 0.84, 0.04, 0.15), "edgecolor": "#ffd60a", "linewidth": 1.1 if len(mu) < 64 else 0.6}
    for centre, (x, y), xy in zip(mu, sigma, covariance, strict=True):
        lengths, directions = np.linalg.eigh([[x * x, xy], [xy, y * y]])
        angle = np.degrees(np.arctan2(directions[1, 1], directions[0, 1]))
        diameters = 2 * np.sqrt(lengths.clip(0))
        axes.add_patch(Ellipse(centre, diameters[1], diameters[0], angle=angle, **style))


def sheet(rows: int, titles: Sequence[str], foot: str, captions: int = 0) -> tuple[Figure, np.ndarray]:
    """A sheet of squares, as wide as a page, with a text at its foot; `captions` lines under the squares in all."""
    text = textwrap.fill(foot, 130)
    side = (WIDTH - 0.2) / len(titles)
    figure = page(rows * (side + 0.04) + 0.18 * captions + 0.4 + 0.14 * (text.count("\n") + 1))
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    figure.supxlabel(text, fontsize=7, x=0.01, ha="left")
    panels = figure.subplots(rows, len(titles), squeeze=False)
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title)
    return figure, panels


def samples_page(result: Result | None) -> Figure | None:
    """A class a line: samples, and below each the real training image that is nearest, with the distance.

    Nearest in pixels; where those were not compared, as of ImageNet at 256 pixels, by features. ROW.samples.npz beside
    the result has `classes` long[K], `samples` and `nearest` uint8[K, n, H, W, 3] and `distances` float[K, n], or both
    with `_by_features` behind, as `gpstoken evaluate-generator` writes them. None comes back without one of the files.

    Raises:
        ValueError: if the file is not of this form.
    """
    path = result and result.path.with_suffix(".samples.npz")
    if path is None or not path.is_file():
        return None
    classes, samples, nearest, distances, in_pixels = _read_samples(path)
    record, dpi = result.record, STYLE["savefig.dpi"]
    names = record["classifier"]["classes"]
    zoom = max(1, MAGNIFIED // samples.shape[2])
    high, wide = (zoom * side + GAP for side in samples.shape[2:4])
    full = round(WIDTH * dpi)
    lines = min(len(classes), MOST_CLASSES)
    shown = min(samples.shape[1], MOST_SAMPLES, max(1, (full - LABELS + GAP) // wide))
    pictures = np.stack([samples, nearest], axis=1)[:lines, :, :shown].repeat(zoom, axis=3).repeat(zoom, axis=4)
    # From [class, samples or nearest, place, y, x, colour] to one sheet: gaps after pictures, captions below a class.
    pictures = np.pad(pictures, [(0, 0)] * 3 + [(0, GAP), (0, GAP), (0, 0)], constant_values=255)
    sheet = pictures.swapaxes(2, 3).reshape(lines, 2 * high, shown * wide, 3)
    sheet = np.pad(sheet, [(0, 0), (0, CAPTION), (0, 0), (0, 0)], constant_values=255).reshape(-1, shown * wide, 3)
    height, width = len(sheet), shown * wide - GAP
    figure = Figure(figsize=(full / dpi, (height + TITLE) / dpi))
    # A pixel of the sheet is a pixel of the PNG.
    axes = figure.add_axes((LABELS / full, 0, width / full, height / (height + TITLE)))
    axes.imshow(sheet[:, :width], interpolation="nearest")
    labels = {}
    for line in range(lines):
        top = line * (2 * high + CAPTION)
        labels[top + (high - GAP) / 2] = textwrap.fill(names[int(classes[line])], 13)
        labels[top + high + (high - GAP) / 2] = textwrap.fill("nearest in training set", 13)
        for place, distance in enumerate(distances[line, :shown]):
            text = f"{distance:,.0f}" if in_pixels else f"{distance:.3f}"
            axes.text((place + 0.5) * wide - GAP / 2, top + 2 * high, text, ha="center", va="top", fontsize=7)
    axes.set_xticks([])
    axes.set_yticks(list(labels), labels.values(), fontsize=7.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    some = f", {lines} of {len(names)} classes" if len(classes) < len(names) else ""
    unit = "Euclidean, pixels 0 to 255" if in_pixels else "1 - cosine of features"
    drawn = paragraph("sampling", record["sampling"])
    text = f"{name_of(record['row'])}, {record['scale']} scale{some}: {drawn}. Number: distance ({unit})"
    figure.text(0.5, 1 - 4 / (height + TITLE), textwrap.fill(text, 110), ha="center", va="top")
    return figure


def _read_samples(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, bool]:
    """Checked: classes, samples, nearest, distances, and whether these are in pixels."""
    with np.load(path, allow_pickle=False) as file:
        in_pixels = "nearest" in file or "nearest_by_features" not in file
        by = "" if in_pixels else "_by_features"
        names = ("classes", "samples", f"nearest{by}", f"distances{by}")
        if missing := [name for name in names if name not in file]:
            raise ValueError(f"{path}: no {missing[0]!r} in it; write it anew with `gpstoken evaluate-generator`")
        classes, samples, nearest, distances = (file[name] for name in names)
    if samples.ndim != 5 or samples.dtype != np.uint8 or nearest.shape != samples.shape:
        shapes = f"{samples.shape} and {nearest.shape}"
        raise ValueError(f"{path}: expected samples and nearest uint8[K, n, H, W, 3], got {shapes}")
    return classes, samples, nearest, distances, in_pixels
