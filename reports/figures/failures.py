"""Pictures that a tokenizer of photographs was not made for: text, noise, thin lines, nothing at all."""

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from gpstoken import GPSToken
from gpstoken.images import load_image
from gpstoken.metrics import reconstruction_metrics
from reports.figures.pictures import reconstructed, sheet, show

WORDS = "The quick brown fox jumps over the lazy dog. "


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
