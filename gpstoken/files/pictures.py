"""The only reader of pictures, shared by training, `encode` and `score`.

All of them accept the same files and get the same pixels: upright as EXIF says, in RGB, the upper eight of 16 bits,
transparency on white, the first frame of an animation and the first of several pages. Colour profiles are not applied:
no published pipeline applies them.
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

# The endings for which a folder is searched. A file given by name may have any ending: its content decides.
ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Endings of pictures that are not read; the files in a folder are counted and reported.
OTHER_ENDINGS = (
    ".arw", ".avif", ".cr2", ".cr3", ".dng", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl", ".mpo", ".nef", ".pbm",
    ".pnm", ".psd", ".svg",
)  # fmt: skip
# The only readers of PIL that are called; some others start programs (EPS). The content selects the reader, not the
# ending; of a JPEG with several pictures (MPO) the first is read.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
Image.init()  # fills Image.OPEN
MAX_PIXELS = 2**27  # 384 MiB as RGB: admits photos of 108-megapixel phones, but not decompression bombs
MAX_BYTES = 2**31  # largest file: twice the size of the largest picture without compression
VARIABLE = "GPSTOKEN_MAX_PIXELS"

# PIL rejects a PNG with more than 1 MB of text or colour profile, but workflows of image generators and profiles of
# scanners can be larger. So each text may be as long as PIL allows for all texts of a file together.
PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)


class Member(Protocol):
    """A picture inside another file, such as a member of a tar shard; str() names it in errors.

    Attributes:
        path: the file that contains it; its size and modification time reveal a possible change of the picture.
    """

    @property
    def path(self) -> Path:
        """See the class's docstring."""

    def read_bytes(self) -> bytes:
        """The bytes of the picture, as in a file of its own."""


def read_picture(
    source: str | Path | Member, shortest_side: int | None = None, max_pixels: int | None = None
) -> np.ndarray:
    """Reads a picture upright, as EXIF says, and in RGB; see `to_rgb` for other modes.

    Args:
        source: the file, or a picture inside one.
        shortest_side: a larger picture is reduced so that its shortest side has this many pixels (antialiased; bicubic
            after JPEG's own and box reduction, which leave at least twice the target size). None keeps every pixel.
        max_pixels: the most pixels, checked before decoding; None: see `pixel_limit`.

    Returns:
        uint8[H, W, 3].

    Raises:
        ValueError: if the file is missing, not a picture or truncated, or has too many pixels or pixels of unknown
            range; the message is one line that names the file.
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


def picture_format(source: str | Path | Member) -> str:
    """The format of a picture, one of `FORMATS`: that of its content, which also selects its reader.

    Raises:
        ValueError: if the file is missing or of no known format; the message is one line that names the file.
    """
    try:
        with _content(source) as content:
            return _format(content.read(16))
    except Exception as error:
        raise ValueError(f"{printable(source)}: cannot be read as a picture: {_reason(error)}") from error


def check_pixels(size: tuple[int, int], max_pixels: int | None = None) -> None:
    """Checks that an image of (H, W) has at most `max_pixels` pixels; None: see `pixel_limit`.

    Raises:
        ValueError: if it has more.
    """
    limit = pixel_limit() if max_pixels is None else max_pixels
    height, width = size
    if width * height > limit:
        raise ValueError(
            f"{width} x {height} are {width * height:,} pixels, but {limit:,} are allowed; --max-pixels of encode and"
            f" decode, or {VARIABLE}, raises the limit"
        )


def pixel_limit() -> int:
    """The most pixels of a picture: MAX_PIXELS, or the value of the environment variable GPSTOKEN_MAX_PIXELS.

    Raises:
        ValueError: if the variable is not a whole number of at least 1.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return MAX_PIXELS
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{VARIABLE}: expected a whole number of pixels, got {text!r}")
    return int(text)


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts a picture of any mode to RGB, as a viewer would show it.

    Transparent pixels are shown on white, grey becomes three equal channels, 16 bits keep their upper eight.

    Args:
        image: a PIL image of any mode with an 8-bit or 16-bit depth.

    Returns:
        An image of mode RGB.

    Raises:
        ValueError: for 32-bit modes, whose range is unknown.
    """
    # A PGM of 9 to 16 bits has mode I, stretched by PIL to the range of 16 bits.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode} (32 bits per pixel) has no known range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def printable(name: object) -> str:
    r"""A file name in characters that any file and terminal can show; different names stay different.

    Args:
        name: the name, as `os.fsdecode` returns it. A byte that is not UTF-8 becomes \xe9, a line break \x0a, a
            backslash becomes two; other characters are unchanged.
    """
    content = str(name).encode(errors="surrogateescape").replace(b"\\", b"\\\\")
    text = content.decode(errors="backslashreplace")
    return "".join(f"\\x{ord(sign):02x}" if unicodedata.category(sign) == "Cc" else sign for sign in text)


def _content(source: str | Path | Member) -> BinaryIO:
    if not isinstance(source, str | Path):
        return io.BytesIO(source.read_bytes())
    status = os.stat(source)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # reading a pipe would block
        raise ValueError("not a file")
    if status.st_size > MAX_BYTES:
        raise ValueError(f"{status.st_size:,} bytes, but {MAX_BYTES:,} are allowed")
    return Path(source).open("rb")


def _open(content: BinaryIO) -> Image.Image:
    """Opens a picture with PIL, which reads its header; PIL's own limit of pixels does not apply."""
    reader, _ = Image.OPEN[_format(content.read(16))]
    content.seek(0)
    return reader(content, "")


def _format(start: bytes) -> str:
    for name in FORMATS:
        answer = Image.OPEN[name][1](start)
        if isinstance(answer, str):  # PIL is built without its library
            raise ValueError(answer)
        if answer:
            return name
    raise ValueError("empty, or not a known format")


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    # Broken EXIF data does not invalidate the pixels. In place, PIL rotates the pixels before it rewrites the EXIF.
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    return to_rgb(image)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:  # str(error) would repeat the file's name
        return error.strerror
    if isinstance(error, MemoryError):
        return "not enough memory"
    return " ".join(str(error).split()) or type(error).__name__
