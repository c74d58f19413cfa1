"""Figures of pictures: Gaussians and reconstructions, over token counts, without and with a focus map."""

import textwrap

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Ellipse
from torch import Tensor

from gpstoken import Gaussians, GPSToken
from gpstoken.drawing import to_picture
from gpstoken.metrics import reconstruction_metrics, to_uint8
from gpstoken.metrics.focus import disc, region_psnr
from reports.figures.photographs import Photograph, credits
from reports.figures.style import WIDTH

COLUMNS = ("input", "initial Gaussians", "refined Gaussians", "reconstruction")


@torch.no_grad()
def overview(tokenizer: GPSToken, photographs: list[Photograph], whose: str) -> Figure | None:
    """Input, initial and refined Gaussians, reconstruction: photographs as one tile, the first as 4x4 tiles as well.

    Args:
        tokenizer: the tokenizer.
        photographs: a line each; None comes back without any.
        whose: what the tokenizer is, in words.
    """
    if not photographs:
        return None
    side = tokenizer.image_size
    lines = [(photograph, side) for photograph in photographs] + [(photographs[0], 4 * side)]
    figure, axes = _sheet(len(lines), len(COLUMNS), photographs, whose)
    for line, (photograph, size) in zip(axes, lines, strict=True):
        image = photograph.image(size)
        tokens = tokenizer.encode(image)
        show(line[0], image)
        show(line[1], image, tokenizer.layout(image))
        show(line[2], image, tokens.gaussians)
        show(line[3], tokenizer.decode(tokens))
        line[0].set_ylabel(f"{size} px, {tokens.features.shape[1]} tokens")
    for place, title in zip(axes[0], COLUMNS, strict=True):
        place.set_title(title)
    return figure


@torch.no_grad()
def tokens_picture(tokenizer: GPSToken, photographs: list[Photograph], whose: str) -> Figure | None:
    """The first photograph from a quarter of the trained token count to twice it: Gaussians, and PSNR under each."""
    if not photographs:
        return None
    photograph = photographs[0]
    image = photograph.image(tokenizer.image_size)
    counts = [max(1, round(tokenizer.num_tokens * factor)) for factor in (0.25, 0.5, 1, 2)]
    figure, axes = _sheet(2, 1 + len(counts), [photograph], whose, captions=1)
    axes[1, 0].axis("off")
    axes[1, 0].text(0.5, 0.5, "above: Gaussians\n\nhere: reconstruction\n\nbelow: its PSNR", ha="center", va="center")
    axes[1, 0].set_box_aspect(1)
    show(axes[0, 0], image)
    axes[0, 0].set_title("input")
    for column, count in zip(axes.T[1:], counts, strict=True):
        tokens = tokenizer.encode(image, count)
        after = tokenizer.decode(tokens)
        show(column[0], image, tokens.gaussians)
        show(column[1], after)
        column[0].set_title(f"{count} tokens" + (" (trained)" if count == tokenizer.num_tokens else ""))
        column[1].set_xlabel(f"{psnr(after, image):.2f} dB")
    return figure


@torch.no_grad()
def focus_picture(
    tokenizer: GPSToken, photographs: list[Photograph], whose: str, radius: float, strength: float
) -> Figure | None:
    """Photographs without and with a focus map on a central disc: Gaussians, reconstruction, PSNR inside and outside.

    Args:
        tokenizer: the tokenizer.
        photographs: a line each.
        whose: what the tokenizer is, in words.
        radius: of the disc, in sides.
        strength: of the map.
    """
    if not photographs:
        return None
    side = tokenizer.image_size
    inside = disc((side, side), radius)
    figure, axes = _sheet(len(photographs), 5, photographs, whose, captions=2 * len(photographs))
    for line, photograph in zip(axes, photographs, strict=True):
        image = photograph.image(side)
        show(line[0], image)
        for place, bias in ((1, None), (3, inside * strength)):
            tokens = tokenizer.encode(image, bias=bias)
            after = tokenizer.decode(tokens)
            show(line[place], image, tokens.gaussians)
            show(line[place + 1], after)
            part = region_psnr(to_uint8(after), to_uint8(image), inside)
            line[place + 1].set_xlabel(f"inside {part['psnr_inside'].item():.2f} dB\n"
                                       f"outside {part['psnr_outside'].item():.2f} dB")  # fmt: skip
        for place in line:
            place.add_patch(Circle(((side - 1) / 2,) * 2, radius * side, fill=False, edgecolor="white", linewidth=2))
            place.add_patch(Circle(((side - 1) / 2,) * 2, radius * side, fill=False, edgecolor="black", linestyle="--"))
    titles = ("input and disc", "no map", "reconstruction", f"map of strength {strength:g}", "reconstruction")
    for place, title in zip(axes[0], titles, strict=True):
        place.set_title(title)
    return figure


def psnr(reconstruction: Tensor, image: Tensor) -> float:
    """PSNR in dB of one image [1, 3, H, W] on 8-bit values."""
    return reconstruction_metrics(reconstruction, image)["psnr"].item()


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


def _sheet(
    rows: int, columns: int, photographs: list[Photograph], whose: str, captions: int = 0
) -> tuple[Figure, np.ndarray]:
    """A sheet of squares, as wide as a page; `captions` lines under them in all, credits of photographs at its foot."""
    text = textwrap.fill(f"{whose}. {credits(photographs)}", 130)
    lines = text.count("\n") + 1
    side = (WIDTH - 0.2) / columns
    height = rows * (side + 0.04) + 0.18 * captions + 0.4 + 0.14 * lines
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    figure.supxlabel(text, fontsize=7, x=0.01, ha="left")
    return figure, figure.subplots(rows, columns, squeeze=False)
