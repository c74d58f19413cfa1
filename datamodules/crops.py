"""Squares out of photographs. Pictures are uint8[H, W, 3] arrays.

Every number is measured with `adm_centre_crop`, the pinned protocol; `release_centre_crop` serves to compare with
numbers of the paper's released code.
"""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Crop = Callable[[np.ndarray, int], np.ndarray]
THINNEST = 16


def adm_centre_crop(picture: np.ndarray, size: int) -> np.ndarray:
    """The customary crop of ADM: halve while twice too large, resize the shortest side bicubically, cut the centre.

    This is the pinned protocol. Source: Dhariwal & Nichol 2021, "Diffusion Models Beat GANs on Image Synthesis",
    released data loader. Of a picture more than 16 times as long as it is wide only the central 16 widths are used,
    because resizing its shortest side could make it arbitrarily large.

    Args:
        picture: uint8[H, W, 3].
        size: side of the result in pixels.

    Returns:
        uint8[size, size, 3]; a smaller picture is enlarged.
    """
    image = Image.fromarray(_central_part(picture))
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    return _cut_centre(np.asarray(image), size)


def release_centre_crop(picture: np.ndarray, size: int) -> np.ndarray:
    """The crop of the paper's released code: resize the shortest side with OpenCV's bilinear filter, cut the centre.

    The filter has no antialiasing, so large photographs alias. Source: the rules of albumentations' SmallestMaxSize
    and CenterCrop. Very long pictures are treated as in `adm_centre_crop`.

    Args:
        picture: uint8[H, W, 3].
        size: side of the result in pixels.

    Returns:
        uint8[size, size, 3]; a smaller picture is enlarged.

    Raises:
        ValueError: if OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise ValueError("crop 'release' needs the package opencv-python-headless: pip install it") from error
    picture = _central_part(picture)
    height, width = picture.shape[:2]
    scale = size / min(height, width)
    sides = (round(width * scale), round(height * scale))
    return _cut_centre(cv2.resize(picture, sides, interpolation=cv2.INTER_LINEAR), size)


CROPS: dict[str, Crop] = {"adm": adm_centre_crop, "release": release_centre_crop}


def random_square(picture: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """A square anywhere in the picture, of any scale from native pixels to the whole height, perhaps mirrored.

    The side is uniform in log scale between `size` and the shortest side, so that half of the crops show the
    composition of a photograph and half its texture.

    Args:
        picture: uint8[H, W, 3].
        size: side of the result in pixels.
        generator: the only source of randomness.

    Returns:
        uint8[size, size, 3]; a picture whose shortest side is below `size` is enlarged.
    """
    height, width = picture.shape[:2]
    shortest = min(height, width)
    side = round(np.exp(generator.uniform(np.log(min(size, shortest)), np.log(shortest))))
    top = generator.integers(height - side + 1)
    left = generator.integers(width - side + 1)
    crop = Image.fromarray(picture[top : top + side, left : left + side])
    square = np.asarray(crop.resize((size, size), Image.Resampling.BICUBIC))
    return square[:, ::-1] if generator.random() < 0.5 else square


def mirrored_centre(
    picture: np.ndarray, size: int, generator: np.random.Generator, crop: Crop = adm_centre_crop
) -> np.ndarray:
    """The centre square, mirrored with probability 1/2: the training view of the paper.

    Args:
        picture: uint8[H, W, 3].
        size: side of the result in pixels.
        generator: the only source of randomness.
        crop: the function that cuts the square.

    Returns:
        uint8[size, size, 3].
    """
    square = crop(picture, size)
    return square[:, ::-1] if generator.random() < 0.5 else square


def centre_and_tiles(picture: np.ndarray, size: int, crop: Crop = adm_centre_crop) -> list[np.ndarray]:
    """The views of a photo that evaluation uses: its centre square, then its tiles at twice the scale.

    Args:
        picture: uint8[H, W, 3].
        size: side of the views in pixels.
        crop: the function that cuts the centre square.

    Returns:
        uint8[size, size, 3] each: the centre square, then the tiles, row by row and without overlap, of the picture
        reduced to a shortest side of 2 * size and centre-cropped to a multiple of size. A smaller picture has only its
        centre square.
    """
    views = [crop(picture, size)]
    height, width = picture.shape[:2]
    if min(height, width) < 2 * size:
        return views
    scale = 2 * size / min(height, width)
    image = Image.fromarray(picture).resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
    left, top = image.width % size // 2, image.height % size // 2
    reduced = np.asarray(image)
    for y in range(top, image.height - size + 1, size):
        views += [reduced[y : y + size, x : x + size] for x in range(left, image.width - size + 1, size)]
    return views


def to_tensor(picture: np.ndarray) -> Tensor:
    """uint8[H, W, 3] in [0, 255] as float32[3, H, W] in [-1, 1]: x / 127.5 - 1."""
    channels = torch.from_numpy(picture.transpose(2, 0, 1).copy())
    return channels.to(torch.float32).div_(127.5).sub_(1)


def _cut_centre(picture: np.ndarray, size: int) -> np.ndarray:
    top, left = (picture.shape[0] - size) // 2, (picture.shape[1] - size) // 2
    return picture[top : top + size, left : left + size]


def _central_part(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    longest = THINNEST * min(height, width)
    top, left = max(height - longest, 0) // 2, max(width - longest, 0) // 2
    return picture[top : top + min(height, longest), left : left + min(width, longest)]
