"""The default data of class-conditional generators: embedded photographs of five kinds, with the kind as the class."""

import csv
import math
from typing import Any, ClassVar

from datamodules.base import Photos
from datamodules.embedded import Embedded
from gpstoken.limits import limits, text

DOMAINS = {"natural": "natural", "face": "faces", "retina": "retina", "satellite": "satellite", "aerial": "aerial"}
CLASSES = tuple(DOMAINS)


class EmbeddedClasses(Embedded):
    """The photographs of five domains with the domain as the label: its place in `CLASSES`.

    Training is balanced: sample i belongs to class i % 5 whatever the length of an epoch, and within a class all photos
    occur equally often, give or take one. To this end the list of an epoch names photos repeatedly (each is in memory
    once): the only satellite scene occurs as often as all faces together. Evaluation sees each view once, class by
    class, for the classes that have photos in the split.

    Args:
        root: folder written by `python -m datamodules.prepare -o ROOT`.
        **options: those of Embedded except `domain`.
    """

    views_per_photo = 1  # an epoch goes through the balanced list once
    class_names: ClassVar[tuple[str, ...]] = CLASSES

    @limits(root=text())
    def __init__(self, root: str, **options: Any) -> None:
        """See the class."""
        super().__init__(root, domain="natural", **options)
        self.domain = self.name = "classes"

    def photos(self, split: str) -> Photos:
        """The photos of a split; see ImageDataModule.

        Raises:
            ValueError: if the data is missing, or a class has no photo to train on.
        """
        parts = [self._of(domain, split) for domain in DOMAINS.values()]
        if split == "train":
            # The least number of rounds after which every class begins anew.
            rounds = math.lcm(*map(len, parts))
            places = [(label, i % len(part)) for i in range(rounds) for label, part in enumerate(parts)]
        else:
            places = [(label, i) for label, part in enumerate(parts) for i in range(len(part))]
        return Photos(
            [parts[label].sources[i] for label, i in places],
            [label for label, _ in places],
            [parts[label].pictures[i] for label, i in places],
        )

    def _of(self, domain: str, split: str) -> Photos:
        index = self.root / "index.csv"
        if split == "test" and index.is_file():  # Embedded demands a test photo of its one domain
            with index.open(newline="", encoding="utf-8") as file:
                if not any((row["domain"], row["split"]) == (domain, split) for row in csv.DictReader(file)):
                    return Photos([], [], [])
        options = {"image_size": self.image_size, "crop": self.crop}
        return Embedded(str(self.root), domain, self.working_size, self.views, **options).photos(split)
