"""FFHQ, 70,000 aligned faces."""

import re
from pathlib import Path
from typing import Any

from datamodules.base import ImageDataModule, Photos
from datamodules.subsets import class_folders, contents, draw, files, hold_out, picture_names
from gpstoken.limits import at_least, limits, optional, text

FOLDERS = ("images1024x1024", "thumbnails128x128", ".")  # the first that holds faces is used


class FFHQ(ImageDataModule):
    """FFHQ. Test: random images; val: at most 2,000 of the others; train: the rest. Every label is 0.

    Args:
        root: holds `images1024x1024/` or `thumbnails128x128/`, or is itself a folder of NNNNN.png (of 256 px, say); the
            faces lie in it, or in folders 00000 to 69000 below it. Faces smaller than `image_size` are enlarged.
        subset: size of the test set; where there are no more faces, it takes all and leaves none to train on.
        list_file: text file that lists the test set, one path below `root` per line. It is obeyed if it exists and
            written if it does not.
        **options: those of ImageDataModule.
    """

    licence = "CC BY-NC-SA 4.0; each photograph under its own Flickr licence"
    citation = "Karras, Laine and Aila, A Style-Based Generator Architecture for GANs, CVPR 2019"
    obtain = "fetch images1024x1024 (89 GB) or thumbnails128x128 (2 GB) to {root} by NVlabs/ffhq-dataset"

    @limits(root=text(), subset=at_least(1), list_file=optional(text()))
    def __init__(self, root: str, subset: int = 5000, list_file: str | None = None, **options: Any) -> None:
        """See the class."""
        super().__init__(**options)
        self.root = Path(root)
        self.subset = subset
        self.list_file = list_file

    def photos(self, split: str) -> Photos:
        """The pictures of a split; see ImageDataModule."""
        if not (names := next(filter(None, map(self._names, FOLDERS)), [])):
            raise self.missing(f"{contents(self.root)}, no picture named NNNNN.png")
        test = draw(names, self.subset, self.list_file)
        if split == "test":
            return files(self.root, test)
        return hold_out(files(self.root, sorted(set(names) - set(test))), split)

    def _names(self, folder: str) -> list[str]:
        below = class_folders(self.root / folder)
        names = [*picture_names(self.root / folder), *(f"{part}/{name}" for part in below for name in below[part])]
        return sorted((Path(folder) / name).as_posix() for name in names if re.fullmatch(r"(\d{5}/)?\d{5}\.\w+", name))
