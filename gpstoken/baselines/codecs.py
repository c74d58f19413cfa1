"""JPEG, WebP and AVIF as tokenizers whose tokens are bytes: the floor that every reader knows."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gpstoken.base import Code, Tokenizer
from gpstoken.drawing import to_picture
from gpstoken.limits import at_least, limits, one_of

# Format -> options of Pillow beside the quality, which is searched.
FORMATS: Mapping[str, dict[str, Any]] = {
    "JPEG": {"optimize": True, "progressive": True},
    "WEBP": {"method": 6},
    "AVIF": {"speed": 4},
}
HEADER = 4  # bytes for height and width, to which a picture that was reduced is enlarged again


class Codec(Tokenizer):
    """A picture format as a tokenizer: the tokens of an image are the bytes of its best file that is small enough.

    Files are those that Pillow writes, with their headers. The quality is found by bisection from 0 to 100. A picture
    that does not fit at the lowest quality is reduced, in steps of an eighth of its sides, and enlarged again. There
    are no weights, so there is nothing to train.
    """

    @limits(kind=one_of(*FORMATS), num_tokens=at_least(1))
    def __init__(self, kind: str = "JPEG", num_tokens: int = 9472) -> None:
        """Makes the tokenizer; the default has as many bytes as 256 tokens of 37 numbers have at 8 bits a number.

        Args:
            kind: "JPEG", "WEBP" or "AVIF".
            num_tokens: the most bytes of one image.
        """
        super().__init__()
        self.config = {"kind": kind, "num_tokens": num_tokens}
        self.kind, self.num_tokens = kind, num_tokens

    def code(self, size: tuple[int, int], num_tokens: int | None = None) -> Code:
        """The bytes of an image of any size: `num_tokens`, by default the tokenizer's own number."""
        count = self.num_tokens if num_tokens is None else num_tokens
        return Code(count, (count,), 1, 256)

    def encode(self, image: Tensor, num_tokens: int | None = None) -> Tensor:
        """float[B, 3, H, W] in [-1, 1] to bytes long[B, N]: height, width, the file, and zeros behind it.

        Raises:
            ValueError: for sides of 65,536 pixels or more, or if even the smallest picture takes more bytes.
        """
        size = (image.shape[-2], image.shape[-1])
        count = self.code(size, num_tokens).tokens
        if max(size) >= 2**16:
            raise ValueError(f"image: {self.kind} takes sides below {2**16} pixels, got {size[0]}x{size[1]}")
        rows = []
        for each in image:
            content = np.array(size, ">u2").tobytes() + self._file(to_picture(each), count - HEADER)
            rows.append(torch.frombuffer(bytearray(content.ljust(count, b"\0")), dtype=torch.uint8))
        return torch.stack(rows).long().to(image.device)

    def decode(self, tokens: Tensor) -> Tensor:
        """Bytes long[B, N] of `encode` to float[B, 3, H, W] in [-1, 1].

        Raises:
            ValueError: for bytes that are no file of this format.
        """
        images = []
        for row in tokens.to(torch.uint8).cpu().numpy():
            height, width = np.frombuffer(row[:HEADER].tobytes(), ">u2").tolist()
            try:
                picture = Image.open(io.BytesIO(row[HEADER:].tobytes()), formats=[self.kind]).convert("RGB")
            except OSError as error:
                raise ValueError(f"tokens: not the bytes of a {self.kind} file ({error})") from error
            if picture.size != (width, height):
                picture = picture.resize((width, height), Image.Resampling.BICUBIC)
            images.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
        return torch.stack(images).float().to(tokens.device) / 127.5 - 1

    @property
    def last_layer(self) -> Tensor:
        """There is none.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{self.kind}: has no weights to train")

    def _file(self, picture: Image.Image, most_bytes: int) -> bytes:
        for eighths in range(8, 0, -1):
            size = tuple(max(1, side * eighths // 8) for side in picture.size)
            reduced = picture if eighths == 8 else picture.resize(size, Image.Resampling.LANCZOS)
            content = self._largest(reduced, most_bytes)
            if content is not None:
                return content
        sides = f"{picture.width}x{picture.height}"
        raise ValueError(f"num_tokens: {self.kind} cannot code {sides} pixels in {most_bytes + HEADER} bytes")

    def _largest(self, picture: Image.Image, most_bytes: int) -> bytes | None:
        """The file of the highest quality that has at most so many bytes; None if there is none."""
        best, low, high = None, 0, 100
        while low <= high:
            quality = (low + high) // 2
            file = io.BytesIO()
            picture.save(file, self.kind, quality=quality, **FORMATS[self.kind])
            if file.tell() <= most_bytes:
                best, low = file.getvalue(), quality + 1
            else:
                high = quality - 1
        return best
