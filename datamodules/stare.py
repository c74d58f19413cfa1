"""STARE, photographs of the retina."""

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.base import ImageDataModule, Photos
from datamodules.subsets import contents, split_or_all
from gpstoken.limits import flag, limits, text


@dataclass(frozen=True)
class Compressed:
    """A gzip-compressed file: `read_bytes` gives its content, `str` its path."""

    path: Path

    def read_bytes(self) -> bytes:
        """The content (1.3 MB), at most 64 MiB of it: otherwise a small file could fill the memory."""
        with gzip.open(self.path) as file:
            return file.read(2**26)

    def __str__(self) -> str:  # noqa: D105
        return str(self.path)


class STARE(ImageDataModule):
    """STARE: 80/10/10 of `root/im0001.ppm` or `.ppm.gz` ..., 605 x 700 px, label 0; all are test with `test_on_all`."""

    licence = "none stated; published for research"
    citation = "Hoover, Kouznetsova and Goldbaum, Locating Blood Vessels in Retinal Images, IEEE TMI 19 (2000) 203-210"
    obtain = "unpack stare-images.tar (20 images) or all-images.zip (397) of cecas.clemson.edu/~ahoover/stare to {root}"

    @limits(root=text(), test_on_all=flag())
    def __init__(self, root: str, test_on_all: bool = False, **options: Any) -> None:
        """See the class; options are those of ImageDataModule."""
        super().__init__(**options)
        self.root, self.test_on_all = Path(root), test_on_all

    def photos(self, split: str) -> Photos:
        """The pictures of a split; see ImageDataModule."""
        # A picture that is there both plain and compressed counts once: the dict keeps the plain file, as the last.
        paths = [*self.root.glob("im[0-9]*.ppm.gz"), *self.root.glob("im[0-9]*.ppm")]
        pictures = {path.name.partition(".")[0]: Compressed(path) if path.suffix == ".gz" else path for path in paths}
        if not (names := sorted(pictures)):
            raise self.missing(f"{contents(self.root)}, no im0001.ppm or .ppm.gz")
        photos = Photos(names, [0] * len(names), [pictures[name] for name in names])
        return split_or_all(photos, split, self.test_on_all, "STARE")
