"""The default data: photographs that `python -m datamodules.prepare` took out of ordinary packages."""

import csv
from pathlib import Path
from typing import Any, Literal

from datamodules.base import ImageDataModule, Photos
from datamodules.images import centre_and_tiles, random_square, read_rgb
from datamodules.splits import SPLITS


class Embedded(ImageDataModule):
    """The photographs of one domain, in memory as uint8.

    Training views are random squares of any scale (`random_square`), 64 an epoch for each photo; evaluation views are
    the centre square and the tiles of each photo (`centre_and_tiles`), so that samples cluster by `sources(split)`.

    Args:
        root: folder written by `python -m datamodules.prepare -o ROOT`.
        domain: which photographs. Labels are the person for faces, the ImageNet class for labelled (test only),
            else the number of the domain.
        working_size: photos are kept at this shortest side at most, in pixels; None: 4 * image_size.
        **options: those of ImageDataModule.
    """

    views_per_photo = 64
    training_view = staticmethod(random_square)

    def __init__(
        self,
        root: str,
        domain: Literal["natural", "faces", "retina", "satellite", "aerial", "labelled"] = "natural",
        working_size: int | None = None,
        **options: Any,
    ) -> None:
        """See the class."""
        super().__init__(**options)
        self.root = Path(root)
        self.domain = domain
        self.working_size = 4 * self.image_size if working_size is None else working_size

    def photos(self, split: str) -> Photos:
        """The photos of a split ("train"), or all their views ("val", "test"); see ImageDataModule."""
        index = self.root / "index.csv"
        if not index.is_file():
            found = "a folder without index.csv" if self.root.is_dir() else "nothing"
            raise ValueError(
                f"Embedded: found {found} at {self.root}; run `python -m datamodules.prepare -o {self.root}`"
            )
        with index.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["domain"] == self.domain]
        if not any(row["split"] == split for row in rows) and split != "val":
            counts = ", ".join(f"{sum(row['split'] == name for row in rows)} {name}" for name in SPLITS)
            raise ValueError(f"Embedded: {self.root} has no {split} photo of domain {self.domain!r} (it has {counts})")
        sources, labels, pictures = [], [], []
        for row in (row for row in rows if row["split"] == split):
            picture = read_rgb(self.root / row["path"], self.working_size)
            for view in [picture] if split == "train" else centre_and_tiles(picture, self.image_size):
                sources.append(row["source_id"])
                labels.append(int(row["label"]))
                pictures.append(view)
        return Photos(sources, labels, pictures)
