"""Letters to be read: lines of text on flat grounds and on photographs."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datamodules.crops import CROPS
from datamodules.embedded import Embedded
from datamodules.recognition import Box, Recognition
from datamodules.samples import Photos
from gpstoken.limits import limits, text

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono-Bold")
# Letters of each line, its top and its height, as shares of the side: at 256 px the capitals are 77, 39 and 19 px high.
LINES = ((2, 0.02, 0.46), (4, 0.50, 0.24), (8, 0.76, 0.14))
MARGIN = 0.04
EM = 0.9  # size of the font in widths of a box: the W of DejaVuSerif is wider than its size
FINER = 4  # letters are drawn on a grid so many times finer, so that their place does not depend on the size
PICTURES = 60
CONTRAST = 0.4  # of photographs under text, so that the originals can be read
LUMINANCE = np.array([0.299, 0.587, 0.114])


def boxes() -> tuple[Box, ...]:
    """The boxes of the letters, line by line: (top, left, bottom, right) as shares of the side."""
    width = 1 - 2 * MARGIN
    return tuple(
        (top, MARGIN + i * width / count, top + height, MARGIN + (i + 1) * width / count)
        for count, top, height in LINES
        for i in range(count)
    )


def ink(letters: list[int], font: str, size: int) -> np.ndarray:
    """Where there are letters: float[size, size] in [0, 1], each letter in the middle of its box.

    Args:
        letters: numbers in `LETTERS`, one for each of `boxes`.
        font: one of `FONTS`.
        size: side in pixels.
    """
    side = FINER * size
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    for letter, (top, left, bottom, right) in zip(letters, boxes(), strict=True):
        middle = ((left + right) / 2 * side, (top + bottom) / 2 * side)
        draw.text(middle, LETTERS[letter], 255, _font(font, round(EM * (right - left) * side)), "mm")
    return np.asarray(mask.resize((size, size), Image.Resampling.BOX), dtype=np.float64) / 255


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    import matplotlib  # whose fonts they are; of the extra `pipeline`, so only where letters are drawn

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


class RenderedText(Embedded):
    """Pictures of 14 random capitals in three sizes, three fonts and many colours, and which they are (`recognition`).

    Every other picture is on one colour, the others on test photographs of the domain "natural", of less contrast.
    There is nothing to train on.

    Args:
        root: folder written by `python -m datamodules.prepare -o ROOT`.
        **options: those of Embedded except `domain`.
    """

    licence = "DejaVu fonts: that of Bitstream Vera (free), public domain; photographs: CARD.md beside index.csv"
    citation = "the DejaVu fonts, and the photographers and packages that CARD.md beside index.csv names"

    @limits(root=text())
    def __init__(self, root: str, **options: Any) -> None:
        """See the class."""
        super().__init__(root, domain="natural", **options)
        self.name, self.views = "text", "centre"

    def photos(self, split: str) -> Photos:
        """The pictures of "test", which are the same on every machine but for the rounding of Pillow's versions."""
        if split != "test":
            return Photos([], [], [])
        photographs, size = super().photos(split), self.image_size
        squares = [CROPS[self.crop](picture, size).astype(np.float64) for picture in photographs.pictures]
        grounds = [CONTRAST * square + (1 - CONTRAST) * square.mean(axis=(0, 1)) for square in squares]
        generator = np.random.default_rng(0)
        pictures, sources = [], []
        for number, letters in enumerate(self._letters()):
            place = number // 2 % len(grounds)
            flat = np.broadcast_to(generator.integers(0, 256, 3).astype(np.float64), (size, size, 3))
            ground = grounds[place] if number % 2 else flat
            # Light letters on a dark ground, and dark ones on a light ground.
            colour = generator.integers(0, 64, 3) + (192 if np.median(ground @ LUMINANCE) < 128 else 0)
            opaque = ink(letters, FONTS[number // 2 % len(FONTS)], size)[..., None]
            pictures.append((ground + (colour - ground) * opaque).round().astype(np.uint8))
            sources.append(photographs.sources[place] if number % 2 else f"flat-{number}")
        return Photos(sources, [0] * len(pictures), pictures)

    def recognition(self, split: str) -> Recognition | None:
        """The letters of "test", and as gallery each letter in each font, black on white and white on black."""
        if split != "test":
            return None
        count = len(boxes())
        masks = np.stack([ink([letter] * count, font, self.image_size) for font in FONTS for letter in range(26)])
        levels = (255 * np.concatenate([masks, 1 - masks])).round().astype(np.uint8)
        return Recognition(
            "text",
            boxes(),
            np.array(self._letters()),
            np.repeat(levels[..., None], 3, axis=-1),
            np.tile(np.arange(26), 2 * len(FONTS))[:, None].repeat(count, axis=1),
            np.full(PICTURES, -1),
        )

    @staticmethod
    def _letters() -> list[list[int]]:
        """The letters of every picture, all different within it."""
        generator = np.random.default_rng(1)
        return [generator.permutation(26)[: len(boxes())].tolist() for _ in range(PICTURES)]
