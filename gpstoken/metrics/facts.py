"""What the files of a set of images show: number, size, formats, repeated and grey images, range of levels, classes."""

import csv
import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpstoken.files.arrays import read_arrays
from gpstoken.files.pictures import picture_format
from gpstoken.metrics.samples import count, pictures, read_batches


@dataclass(frozen=True)
class ImageFacts:
    """What the files of a set of n images show.

    Attributes:
        images: n.
        size: (H, W) in pixels.
        formats: number of files by format, of a folder by their content: {"PNG": 50000}, or {"npz": 1}.
        repeated: number of images whose pixels are those of an earlier one.
        grey: number of images whose three channels are equal.
        levels: the lowest and the highest level of all pixels, in [0, 255].
        classes: number of images of each class that occurs; None if the files hold no labels.
        names: names of the pictures of a folder without their endings; None for one file.
        digests: a digest of the pixels of each image.
    """

    images: int
    size: tuple[int, int]
    formats: dict[str, int]
    repeated: int
    grey: int
    levels: tuple[int, int]
    classes: tuple[int, ...] | None
    names: frozenset[str] | None
    digests: frozenset[bytes]


def image_facts(source: str | Path, batch_size: int = 64) -> ImageFacts:
    """Looks at every image of a source once.

    Args:
        source: a source of `read_batches`.
        batch_size: images that are held at once.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: naming the file, if it is damaged, holds no images, or the pictures differ in size.
    """
    source = Path(source)
    digests: set[bytes] = set()
    number = grey = 0
    lowest, highest, size = 255, 0, (0, 0)
    for batch in read_batches(source, batch_size):
        images = batch.numpy()
        size = images.shape[2:]
        number += len(images)
        grey += int(((images[:, 0] == images[:, 1]) & (images[:, 1] == images[:, 2])).all(axis=(1, 2)).sum())
        lowest, highest = min(lowest, int(images.min())), max(highest, int(images.max()))
        digests.update(hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images)
    files = pictures(source) if source.is_dir() else []
    return ImageFacts(
        images=number,
        size=(int(size[0]), int(size[1])),
        formats=dict(Counter(map(picture_format, files))) if files else {source.suffix.removeprefix("."): 1},
        repeated=number - len(digests),
        grey=grey,
        levels=(lowest, highest),
        classes=class_counts(source),
        names=frozenset(file.relative_to(source).with_suffix("").as_posix() for file in files) if files else None,
        digests=frozenset(digests),
    )


def class_counts(source: str | Path) -> tuple[int, ...] | None:
    """Number of images of each class that occurs, by class, from `arr_1` of an npz or labels.csv of a folder.

    Both are what ADM's samplers and `gpstoken generate` write.

    Returns:
        The numbers; None if there are no labels, or something else than one whole number for each image.
    """
    source = Path(source)
    try:
        if source.is_dir():
            with (source / "labels.csv").open(newline="", encoding="utf-8") as file:
                labels = np.array([int(row["label"]) for row in csv.DictReader(file)])
        else:
            labels = read_arrays(source, {"arr_1"})["arr_1"]
    except Exception:  # no labels, or a file of another program under this name; labels are not needed for any score
        return None
    if labels.dtype.kind not in "iu" or labels.shape != (count(source),):
        return None
    return tuple(int(images) for images in np.unique(labels, return_counts=True)[1])


def balanced(classes: tuple[int, ...]) -> bool:
    """Whether labels were dealt out evenly: several images of each class, whose numbers differ by one at most.

    Drawn at random, the numbers of n labels of c classes vary by about √(n / c).
    """
    return len(classes) > 1 and min(classes) > 1 and max(classes) - min(classes) <= 1
