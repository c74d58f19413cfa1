"""The one reader of pictures: what trains, what `encode` takes and what `score` compares are read here alike.

Every reader accepts the same files and gets the same pixels: upright as EXIF says, in RGB, of 16 bits the upper eight,
transparency on white, of an animation or of several pages the first. Colour profiles are not applied: no published
pipeline does.
"""

import contextlib
import io
import os
import stat
import unicodedata
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

# What a folder is searched for. A file that is named by itself may have any ending: its content decides.
ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Endings of pictures that a folder is not searched for, to be counted and said.
OTHER_ENDINGS = (
    ".arw", ".avif", ".cr2", ".cr3", ".dng", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl", ".mpo", ".nef", ".pbm",
    ".pnm", ".psd", ".svg",
)  # fmt: skip
# No other of PIL's readers is ever called, some of which start programs (EPS). The content chooses, not the ending; of
# a JPEG with several pictures (MPO) the first is read.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
Image.init()  # fills Image.OPEN
MAX_PIXELS = 2**27  # 384 MiB as RGB: what telephones of 108 megapixels take is read, a bomb is not
MAX_BYTES = 2**31  # of a file: twice what the largest picture takes uncompressed
VARIABLE = "GPSTOKEN_MAX_PIXELS"

# PIL refuses a PNG with more than 1 MB of text or colour profile, as generators' workflows and scanners' profiles have.
# What it allows all texts of a file together one of them may have as well.
PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)


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


def read_picture(
    source: str | Path | Member, shortest_side: int | None = None, max_pixels: int | None = None
) -> np.ndarray:
    """Reads a picture upright, as EXIF says, and in RGB; see `to_rgb` for other modes.

    Args:
        source: the file, or a picture inside one.
        shortest_side: a longer shortest side is reduced to this many pixels (antialiased; bicubic after JPEG's own and
            box reduction, which leave at least twice the wanted size). None keeps every pixel.
        max_pixels: more are refused before they are decoded; None: see `pixel_limit`.

    Returns:
        uint8[H, W, 3].

    Raises:
        ValueError: if the file is missing, is no picture, is cut short, has pixels of unknown range or too many of
            them; one line that names it.
    """
    try:
        with _content(source) as content, _open(content) as image:
            check_pixels((image.height, image.width), max_pixels)
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
        raise ValueError(f"{printable(source)}: cannot be read as a picture: {_reason(error)}") from error


def check_pixels(size: tuple[int, int], max_pixels: int | None = None) -> None:
    """Refuses an image of (H, W) with more than `max_pixels`; None: see `pixel_limit`.

    Raises:
        ValueError: if it has more.
    """
    limit = pixel_limit() if max_pixels is None else max_pixels
    height, width = size
    if width * height > limit:
        raise ValueError(
            f"{width} x {height} are {width * height:,} pixels, and {limit:,} are allowed; --max-pixels of encode and"
            f" decode or {VARIABLE} raises the limit"
        )


def pixel_limit() -> int:
    """The most pixels of a picture: MAX_PIXELS, or what the environment variable GPSTOKEN_MAX_PIXELS says.

    Raises:
        ValueError: if the variable is no whole number of at least 1.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return MAX_PIXELS
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{VARIABLE}: expected a whole number of pixels, got {text!r}")
    return int(text)


def to_rgb(image: Image.Image) -> Image.Image:
    """An RGB picture of any mode, as a person expects to see it.

    Transparent pixels lie on white, grey becomes three equal channels, 16 bits keep their upper eight.

    Args:
        image: a PIL image of any mode with an 8-bit or 16-bit depth.

    Returns:
        An image of mode RGB.

    Raises:
        ValueError: for 32-bit modes, whose range nothing tells.
    """
    # A PGM of 9 to 16 bits has mode I, stretched by PIL to the range of 16 bits.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode} (32 bits a pixel) has no known range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def printable(name: object) -> str:
    r"""A name in characters that any file and any line of a terminal takes, reversibly: no two are written alike.

    Args:
        name: a file's, as `os.fsdecode` gives it. A byte of it that is not UTF-8 becomes \xe9, a line break \x0a, a
            backslash of its own two; other names stay as they are.
    """
    content = str(name).encode(errors="surrogateescape").replace(b"\\", b"\\\\")
    text = content.decode(errors="backslashreplace")
    return "".join(f"\\x{ord(sign):02x}" if unicodedata.category(sign) == "Cc" else sign for sign in text)


def _content(source: str | Path | Member) -> BinaryIO:
    if not isinstance(source, str | Path):
        return io.BytesIO(source.read_bytes())
    status = os.stat(source)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # a pipe would be waited for
        raise ValueError("not a file")
    if status.st_size > MAX_BYTES:
        raise ValueError(f"{status.st_size:,} bytes, and {MAX_BYTES:,} are allowed")
    return Path(source).open("rb")


def _open(content: BinaryIO) -> Image.Image:
    """PIL's image of a file whose header has been read; its own limit of pixels is not asked."""
    start = content.read(16)
    for name in FORMATS:
        reader, accept = Image.OPEN[name]
        answer = accept(start)
        if isinstance(answer, str):  # PIL is built without its library
            raise ValueError(answer)
        if answer:
            content.seek(0)
            return reader(content, "")
    raise ValueError("empty, or of no known format")


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    # Pixels are good where EXIF is broken. In place, for then they are turned before the EXIF is written anew.
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    return to_rgb(image)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:  # it would name the file again
        return error.strerror
    if isinstance(error, MemoryError):
        return "not enough memory"
    return " ".join(str(error).split()) or type(error).__name__
