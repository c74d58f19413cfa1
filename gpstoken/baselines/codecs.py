"""JPEG, WebP and AVIF at a given number of bytes: the floor that a reader knows."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

# Format -> options of Pillow beside the quality, which is searched.
FORMATS: Mapping[str, dict[str, Any]] = {
    "JPEG": {"optimize": True, "progressive": True},
    "WEBP": {"method": 6},
    "AVIF": {"speed": 4},
}


def coded(picture: np.ndarray, most_bytes: int, kind: str) -> tuple[np.ndarray, int]:
    """The best picture that a format makes of at most so many bytes, by bisection of its quality from 0 to 100.

    The files are those that Pillow writes, with their headers. A picture that does not fit at the lowest quality is
    reduced, in steps of an eighth of its side, and enlarged again.

    Args:
        picture: uint8[H, W, 3].
        most_bytes: largest number of bytes.
        kind: "JPEG", "WEBP" or "AVIF".

    Returns:
        (the decoded picture uint8[H, W, 3], bytes of its file).

    Raises:
        ValueError: for an unknown format, or if even the smallest picture takes more bytes.
    """
    if kind not in FORMATS:
        raise ValueError(f"codec: expected one of {', '.join(FORMATS)}, got {kind!r}")
    photo = Image.fromarray(picture)
    for eighths in range(8, 0, -1):
        size = tuple(max(1, side * eighths // 8) for side in photo.size)
        reduced = photo if eighths == 8 else photo.resize(size, Image.Resampling.LANCZOS)
        content = _largest(reduced, most_bytes, kind)
        if content is not None:
            decoded = Image.open(io.BytesIO(content)).convert("RGB")
            if decoded.size != photo.size:
                decoded = decoded.resize(photo.size, Image.Resampling.BICUBIC)
            return np.asarray(decoded), len(content)
    raise ValueError(f"codec: {kind} cannot code {photo.width}x{photo.height} pixels in {most_bytes} bytes")


def _largest(photo: Image.Image, most_bytes: int, kind: str) -> bytes | None:
    """The file of the highest quality that has at most so many bytes; None if there is none."""
    best, low, high = None, 0, 100
    while low <= high:
        quality = (low + high) // 2
        file = io.BytesIO()
        photo.save(file, kind, quality=quality, **FORMATS[kind])
        if file.tell() <= most_bytes:
            best, low = file.getvalue(), quality + 1
        else:
            high = quality - 1
    return best
