"""Drawings of Gaussians over their image."""

import math

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gpstoken.gaussians import Gaussians

OUTLINE, CENTRE = (255, 214, 10), (230, 57, 70)


def to_picture(image: Tensor, scale: int = 1) -> Image.Image:
    """float[3, H, W], about [-1, 1], to an RGB picture `scale` times as large (nearest)."""
    levels = (127.5 * (image.detach().float().cpu().clamp(-1, 1) + 1)).round().to(torch.uint8)
    picture = Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def draw_gaussians(
    picture: Image.Image, gaussians: Gaussians, row: int = 0, canvas: tuple[int, int] | None = None
) -> Image.Image:
    """Draws the one-sigma ellipse and the centre of every Gaussian of image `row` on a copy of `picture`.

    Args:
        picture: the picture to draw on.
        gaussians: the Gaussians of a batch of images.
        row: number of the image in the batch.
        canvas: (H, W) of the Gaussians' canvas in pixels of `picture`, aligned at the top left; None: the picture's.
    """
    drawn = picture.copy()
    pen = ImageDraw.Draw(drawn)
    mu, sigma, rho = (part[row].detach().double().cpu() for part in (gaussians.mu, gaussians.sigma, gaussians.rho))
    angle = torch.linspace(0, 2 * math.pi, 49, dtype=torch.float64)
    # Cholesky factor of the covariance applied to the unit circle
    x = sigma[:, :1] * angle.cos()
    y = sigma[:, 1:] * (rho[:, None] * angle.cos() + (1 - rho[:, None] ** 2).sqrt() * angle.sin())
    height, width = canvas or (picture.height, picture.width)
    last = torch.tensor([width - 1, height - 1], dtype=torch.float64)
    outlines = (mu[:, None] + torch.stack([x, y], dim=-1) + 1) / 2 * last
    for outline, centre in zip(outlines, (mu + 1) / 2 * last, strict=True):
        pen.line([tuple(point) for point in outline.tolist()], fill=OUTLINE, width=1)
        (x0, y0), radius = centre.tolist(), 1
        pen.ellipse((x0 - radius, y0 - radius, x0 + radius, y0 + radius), fill=CENTRE)
    return drawn


def picture_row(
    before: Tensor, layouts: list[Gaussians], after: Tensor, row: int = 0, canvas: tuple[int, int] | None = None
) -> list[Image.Image]:
    """Image `row` of before[B, 3, H, W], each layout drawn on it, and after[B, 3, H, W]; small images magnified.

    Args:
        before: the images.
        layouts: Gaussians on a canvas of `canvas` (H, W) pixels, by default that of the images.
        after: their reconstructions.
        row: number of the image.
        canvas: see `layouts`.
    """
    scale = max(1, 256 // min(before.shape[-2:]))
    picture = to_picture(before[row], scale)
    height, width = canvas or before.shape[-2:]
    drawn = [draw_gaussians(picture, layout, row, (height * scale, width * scale)) for layout in layouts]
    return [picture, *drawn, to_picture(after[row], scale)]


def captioned(picture: Image.Image, text: str) -> Image.Image:
    """A copy of a picture with a line of text below it."""
    height = 18
    whole = Image.new("RGB", (picture.width, picture.height + height), "white")
    whole.paste(picture)
    middle = (picture.width / 2, picture.height + height / 2)
    ImageDraw.Draw(whole).text(middle, text, fill="black", anchor="mm", font=ImageFont.load_default(12))
    return whole


def contact_sheet(rows: list[list[Image.Image]], gap: int = 4) -> Image.Image:
    """Pictures of one size in a grid."""
    width, height = rows[0][0].size
    sheet = Image.new("RGB", (len(rows[0]) * (width + gap) - gap, len(rows) * (height + gap) - gap), "white")
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            sheet.paste(picture, (j * (width + gap), i * (height + gap)))
    return sheet
