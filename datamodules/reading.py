"""Reading photographs of any kind as uint8[H, W, 3] arrays: upright, in RGB, or an error that names the file."""

import contextlib
import io
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class Member(Protocol):
    """A picture inside another file, such as a member of a tar shard; str() names it in errors.

    Attributes:
        path: the file it lies in, whose size and time of change tell whether the picture may have changed.
    """

    @property
    def path(self) -> Path:
        """See the class."""

    def read_bytes(self) -> bytes:
        """The picture as it would lie in a file of its own."""


def to_rgb(image: Image.Image) -> Image.Image:
    """An RGB picture of any mode, as a person expects to see it.

    Transparent pixels lie on white, grey becomes three equal channels, 16 bits keep their upper eight. Colour profiles
    are not applied: no published pipeline does.

    Args:
        image: a PIL image of any mode with an 8-bit or 16-bit depth.

    Returns:
        An image of mode RGB.

    Raises:
        ValueError: for 32-bit modes, whose range nothing tells.
    """
    # A PGM of 16 bits has mode I, stretched by PIL to the range of 16 bits.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode} (32 bits a pixel) has no known range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def read_rgb(source: str | Path | Member, shortest_side: int | None = None) -> np.ndarray:
    """Reads a picture upright, as EXIF says, and in RGB; of an animation the first frame.

    Args:
        source: the file, or a picture inside one.
        shortest_side: a longer shortest side is reduced to this many pixels (antialiased; bicubic after JPEG's own and
            box reduction, which leave at least twice the wanted size). None keeps every pixel.

    Returns:
        uint8[H, W, 3].

    Raises:
        ValueError: if the file is missing, is no picture, is cut short, or has more pixels than PIL allows
            (PIL.Image.MAX_IMAGE_PIXELS); the message names it.
    """
    try:
        content = (Path(source) if isinstance(source, str) else source).read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            # PIL itself only warns up to twice its limit.
            if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError(
                    f"{image.width} x {image.height} pixels, above PIL's limit of {Image.MAX_IMAGE_PIXELS}"
                )
            if shortest_side is None or min(image.size) <= shortest_side:
                return np.asarray(_upright(image))
            scale = shortest_side / min(image.size)
            target = [max(shortest_side, round(side * scale)) for side in image.size]
            image.draft("RGB", (2 * target[0], 2 * target[1]))
            stored = image.size
            upright = _upright(image)
            # EXIF may have swapped the sides, so that the target must be swapped with them.
            size = (target[1], target[0]) if upright.size != stored else (target[0], target[1])
            return np.asarray(upright.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0))
    except Exception as error:  # PIL's readers raise nearly anything for a broken file
        raise ValueError(f"{source}: cannot be read as a picture: {_reason(error)}") from error


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    # Pixels are good where EXIF is broken. In place, for then they are turned before the EXIF is written anew.
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    return to_rgb(image)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # it would name the buffer
        return "empty, or of no known format"
    if isinstance(error, OSError) and error.strerror:  # it would name the file again
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
