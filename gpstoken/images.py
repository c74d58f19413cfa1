"""Reading pictures for the networks, cropping to a square or padding to a canvas, and writing."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from gpstoken.drawing import to_picture
from gpstoken.files.finding import DRAWN
from gpstoken.files.pictures import read_picture, to_rgb
from gpstoken.files.writing import replacing

Picture = str | Path | Image.Image | np.ndarray


def load_image(picture: Picture, size: int | None = None) -> Tensor:
    """Reads a picture in the form that `GPSToken.encode` takes.

    Args:
        picture: a file of any supported format (see `gpstoken.files.pictures`), a PIL image of any mode, or an array
            uint8[H, W, 3], uint8[H, W] or uint8[H, W, 4].
        size: side of the centre square to keep, in pixels (`centre_square`); None keeps the whole picture.

    Returns:
        float32[1, 3, H, W] in [-1, 1].

    Raises:
        ValueError: if the file cannot be read, the array is none of these, or the size is below 1.
    """
    if isinstance(picture, str | Path):
        photo = Image.fromarray(read_picture(picture))
    elif isinstance(picture, Image.Image):
        photo = to_rgb(ImageOps.exif_transpose(picture))
    else:
        photo = to_rgb(Image.fromarray(_checked(picture)))
    if size is not None:
        if size < 1:
            raise ValueError(f"load_image: size must be at least 1 pixel, got {size}")
        photo = centre_square(photo, size)
    return torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None].float() / 127.5 - 1


def save_image(image: Tensor, path: str | Path) -> None:
    """Writes float[3, H, W] or float[1, 3, H, W], about [-1, 1], as an 8-bit PNG, atomically.

    Raises:
        ValueError: for another shape, or values that are not finite.
        OSError: if it cannot be written.
    """
    if image.dim() == 4 and len(image) == 1:
        image = image[0]
    if image.dim() != 3 or len(image) != 3:
        raise ValueError(f"save_image: expected float[3, H, W] of one image, got shape {tuple(image.shape)}")
    if not image.isfinite().all():
        raise ValueError(f"{path}: some values of the image are not finite")
    save_picture(to_picture(image), path)


def save_picture(picture: Image.Image, path: str | Path) -> None:
    """Writes a PNG that names this program, so that data sets of photographs can leave it out.

    Raises:
        OSError: if it cannot be written.
    """
    text = PngInfo()
    text.add_text(*DRAWN)
    with replacing(path) as part:
        picture.save(part, format="PNG", pnginfo=text)


def centre_square(photo: Image.Image, size: int) -> Image.Image:
    """The centre square of a photo at `size` pixels; a smaller photo is enlarged.

    This is the crop of published results: halve while at least twice too large, resize the shortest side bicubically,
    crop the centre (Dhariwal and Nichol 2021, ADM).
    """
    while min(photo.size) >= 2 * size:
        photo = photo.resize((photo.width // 2, photo.height // 2), Image.Resampling.BOX)
    scale = size / min(photo.size)
    photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BICUBIC)
    left, top = (photo.width - size) // 2, (photo.height - size) // 2
    return photo.crop((left, top, left + size, top + size))


def pad(image: Tensor, canvas: tuple[int, int]) -> Tensor:
    """Pads float[B, C, H, W] to a canvas of (H, W) by repeating the last row and column; flat areas get few tokens."""
    height, width = image.shape[-2:]
    if (height, width) == tuple(canvas):
        return image
    return F.pad(image, (0, canvas[1] - width, 0, canvas[0] - height), mode="replicate")


def _checked(array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in array.shape:
        kind = f"{array.dtype}{list(array.shape)}"
        raise ValueError(f"load_image: expected a file, a PIL image or an array uint8[H, W, 3], got {kind}")
    return array[..., 0] if array.ndim == 3 and channels == 1 else array


def read_photo(path: str | Path) -> Image.Image:
    """Reads a photograph upright, as EXIF says, and in RGB; see `gpstoken.files.pictures`.

    Raises:
        ValueError: if it cannot be read.
    """
    return Image.fromarray(read_picture(path))
