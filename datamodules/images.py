"""Reading and cropping photographs: the functions that every data set shares. Pictures are uint8[H, W, 3] arrays."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def to_rgb(image: Image.Image) -> Image.Image:
    """An RGB picture of any mode, as a person expects to see it.

    Transparent pixels lie on white, grey becomes three equal channels, 16-bit grey keeps its upper eight bits.

    Args:
        image: a PIL image of any mode with an 8-bit or 16-bit depth.

    Returns:
        An image of mode RGB.

    Raises:
        ValueError: for 32-bit modes, whose range nothing tells.
    """
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode} (32 bits a pixel) has no known range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def read_rgb(path: str | Path, shortest_side: int | None = None) -> np.ndarray:
    """Reads a picture upright, as EXIF says, and in RGB.

    Args:
        path: the file.
        shortest_side: a longer shortest side is reduced to this many pixels (antialiased; bicubic after JPEG's own and
            box reduction, which leave at least twice the wanted size). None keeps every pixel.

    Returns:
        uint8[H, W, 3].

    Raises:
        ValueError: if the file is missing, is no picture, or is cut short; the message names it.
    """
    try:
        with Image.open(path) as image:
            if shortest_side is not None and min(image.size) > shortest_side:
                scale = shortest_side / min(image.size)
                target = [max(shortest_side, round(side * scale)) for side in image.size]
                image.draft("RGB", (2 * target[0], 2 * target[1]))
                upright = ImageOps.exif_transpose(to_rgb(image))
                # EXIF may have swapped the sides, so that the target must be swapped with them.
                swapped = (upright.width > upright.height) != (image.width > image.height)
                size = (target[1], target[0]) if swapped else (target[0], target[1])
                return np.asarray(upright.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0))
            return np.asarray(ImageOps.exif_transpose(to_rgb(image)))
    except Exception as error:  # PIL's readers raise nearly anything for a broken file
        raise ValueError(f"{path}: cannot be read as a picture: {error}") from error


def adm_centre_crop(picture: np.ndarray, size: int) -> np.ndarray:
    """The crop that ADM made customary: halve while twice too large, bicubic to the shortest side, cut the centre.

    Source: Dhariwal & Nichol 2021, "Diffusion Models Beat GANs on Image Synthesis", released data loader.

    Args:
        picture: uint8[H, W, 3].
        size: side of the result in pixels.

    Returns:
        uint8[size, size, 3]; a smaller picture is enlarged.
    """
    image = Image.fromarray(picture)
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image)[top : top + size, left : left + size]


def random_square(picture: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """A square anywhere in the picture, of any scale from native pixels to the whole height, perhaps mirrored.

    The side is uniform in log scale between `size` and the shortest side, so that half of the crops show the
    composition of a photograph and half its texture.

    Args:
        picture: uint8[H, W, 3].
        size: side of the result in pixels.
        generator: the only source of chance.

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


def mirrored_centre(picture: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """`adm_centre_crop`, mirrored with probability 1/2: the training view of the paper.

    Args:
        picture: uint8[H, W, 3].
        size: side of the result in pixels.
        generator: the only source of chance.

    Returns:
        uint8[size, size, 3].
    """
    square = adm_centre_crop(picture, size)
    return square[:, ::-1] if generator.random() < 0.5 else square


def to_tensor(picture: np.ndarray) -> Tensor:
    """uint8[H, W, 3] in [0, 255] as float32[3, H, W] in [-1, 1]: x / 127.5 - 1."""
    return torch.from_numpy(picture.transpose(2, 0, 1).copy()).to(torch.float32) / 127.5 - 1


def centre_and_tiles(picture: np.ndarray, size: int) -> list[np.ndarray]:
    """The views of a photo that evaluation uses: its centre square, then its tiles at twice the scale.

    Args:
        picture: uint8[H, W, 3].
        size: side of the views in pixels.

    Returns:
        uint8[size, size, 3] each: `adm_centre_crop`, then the tiles, row by row and without overlap, of the picture
        reduced to a shortest side of 2 * size and centre-cropped to a multiple of size. A picture smaller than that has
        its centre square alone.
    """
    views = [adm_centre_crop(picture, size)]
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
