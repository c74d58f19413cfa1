"""Checks of an image before it is tokenized (type, shape, range), and the canvas to which it is padded."""

import warnings
from dataclasses import dataclass
from math import gcd
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpstoken.files.pictures import check_pixels
from gpstoken.images import pad

ADVICE = "use gpstoken.load_image(path), which also takes PIL images and uint8 arrays"
MOST_WHOLE = 4  # tiles; a larger image as a whole is unlike the training images, and its cost is quadratic


@dataclass(frozen=True)
class Canvas:
    """The image sizes that a tokenizer takes unchanged, and those to which it pads others.

    Attributes:
        tile: side of a tile in pixels.
        grid: points of the rendering grid along a tile.
        least: minimum side length in pixels.
    """

    tile: int
    grid: int
    least: int

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) that an image of `size` (H, W) is padded to.

        A size that fits the grid stays unchanged; others grow to whole grid points, or above the area of four tiles to
        whole tiles. For networks trained at 64 pixels, photographs with a shortest side of 600 pixels reach 19.9 dB in
        tiles and 16.2 dB as a whole, with one of 150 pixels 18.0 dB both ways (laptop scale, eight held-out
        photographs).

        Raises:
            ValueError: if the image has no pixel.
        """
        if min(size) < 1:
            raise ValueError(f"image: expected at least one pixel, got {size[0]}x{size[1]}")
        return tuple(size) if min(size) >= self.least and self._fits(size) else self.enlarged(size)

    def enlarged(self, size: tuple[int, int]) -> tuple[int, int]:
        """Like `size`, but above the area of four tiles a size that fits the grid grows to whole tiles, too."""
        step = self.tile // gcd(self.tile, self.grid)
        height, width = (-(-max(side, self.least) // step) * step for side in size)
        if height * width > MOST_WHOLE * self.tile**2:
            height, width = (-(-side // self.tile) * self.tile for side in size)
        return height, width

    def tiles(self, size: tuple[int, int]) -> tuple[int, int]:
        """(rows, columns) of tiles into which a canvas of `size` (H, W) is cut; (1, 1) is the image as a whole.

        Raises:
            ValueError: for sides that do not span a whole number of points of the rendering grid.
        """
        if min(size) < 1 or not self._fits(size):
            step = f"{self.tile // gcd(self.tile, self.grid)} pixels"
            raise ValueError(f"image: sides must be multiples of {step}, got {size[0]}x{size[1]}")
        return (1, 1) if any(side % self.tile for side in size) else (size[0] // self.tile, size[1] // self.tile)

    def pad(self, image: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Pads float[B, 3, H, W] by repeating the last row and column, and its bias [..., H, W] with zeros.

        Few tokens go to the padding, because it is flat.
        """
        size = (image.shape[-2], image.shape[-1])
        canvas = self.size(size)
        if canvas == size:
            return image, bias
        if bias is not None and bias.shape[-2:] == size:
            bias = F.pad(bias, (0, canvas[1] - size[1], 0, canvas[0] - size[0]))
        return pad(image, canvas), bias

    def of_tokens(
        self, size: tuple[int, int] | None, canvas: tuple[int, int] | None, max_pixels: int | None = None
    ) -> tuple[int, int]:
        """(H, W) to which tokens are rendered, padding included; `size` and `canvas` are those of `Tokens`.

        Raises:
            ValueError: if this tokenizer never pads like that, or the image has more than `max_pixels` pixels (None:
                see `pixel_limit`).
        """
        size = size or (self.tile, self.tile)
        canvas = canvas or size
        most = max(self.tile, self.least)
        if any(not 0 <= padded - side < most for padded, side in zip(canvas, size, strict=True)):
            sizes = "{}x{} padded to {}x{}".format(*size, *canvas)
            raise ValueError(f"tokens: {sizes} cannot come from this tokenizer, which pads by less than {most}")
        if not torch.compiler.is_compiling():
            try:
                check_pixels(size, max_pixels)  # padding is bounded by a tile
            except ValueError as error:
                raise ValueError(f"tokens: {error}") from error
        return canvas

    def _fits(self, size: tuple[int, int]) -> bool:
        return not any(side * self.grid % self.tile for side in size)


def check_image(image: Any, values: bool) -> None:
    """Checks that `GPSToken.encode` can take an image; the error says what it is and how to convert it.

    Args:
        image: float[B, 3, H, W] in [-1, 1].
        values: whether to check the range too; this synchronizes with the device, so not within a training loop.

    Raises:
        ValueError: for another type, shape or range.
    """
    if not isinstance(image, Tensor):
        kind = f"{type(image).__module__}.{type(image).__qualname__}"
        raise ValueError(f"image: expected a tensor float[B, 3, H, W] in [-1, 1], got a {kind}; {ADVICE}")
    shape = list(image.shape)
    one, last = image.dim() == 3 and 3 in (shape[0], shape[2]), image.dim() == 4 and shape[1] != 3 and shape[3] == 3
    if one or last:
        turn = ".permute(0, 3, 1, 2)" if last else "[None]" if shape[0] == 3 else ".permute(2, 0, 1)[None]"
        scale = "" if image.is_floating_point() else " / 127.5 - 1"
        raise ValueError(f"image: expected float[B, 3, H, W] in [-1, 1], got shape {shape}: image{turn}{scale} has it")
    if image.dim() != 4 or shape[1] != 3 or 0 in shape[2:]:
        raise ValueError(f"image: expected float[B, 3, H, W] in [-1, 1], got shape {shape}; {ADVICE}")
    if not image.is_floating_point():
        raise ValueError(f"image: expected float in [-1, 1], got {image.dtype}; for 0 to 255 use image / 127.5 - 1")
    if values and image.numel() and not torch.compiler.is_compiling():
        _check_range(*(bound.item() for bound in image.detach().aminmax()))


def _check_range(low: float, high: float) -> None:
    # Bicubic resizing and noise exceed [-1, 1] slightly; an image of 0 to 255 that is not black exceeds 2.
    if low < -2 or high > 2:
        hint = (
            "for 0 to 255 use image / 127.5 - 1" if low >= 0 else "is it normalized by ImageNet's mean? undo it first"
        )
        raise ValueError(f"image: expected values in [-1, 1], got {low:.4g} to {high:.4g}; {hint}")
    if 0 <= low < 0.1 and 0.6 < high <= 1:  # this may be a bright image, so it is only a warning
        warnings.warn(
            f"image: all values are within {low:.3g} and {high:.3g}; expected [-1, 1]: for 0 to 1 use 2 * image - 1",
            stacklevel=4,
        )
