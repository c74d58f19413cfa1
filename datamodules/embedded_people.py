"""The embedded faces as people to be recognised."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from datamodules.crops import CROPS
from datamodules.embedded import Embedded
from datamodules.recognition import Recognition
from datamodules.samples import Photos
from datamodules.splits import SPLITS
from gpstoken.limits import flag, limits, text

FIELDS = ("sources", "labels", "pictures")  # of Photos


class EmbeddedPeople(Embedded):
    """All faces of the embedded photographs, ten of each of 40 people, and who is who (`recognition`).

    The split "test" has every face, because the rows of the tables were trained on photographs without them; a run that
    was trained on faces is tested with `held_out`. A face is sought among all other faces.

    Args:
        root: folder written by `python -m datamodules.prepare -o ROOT`.
        held_out: whether the split "test" has only the eight people that the domain "faces" does not train on.
        **options: those of Embedded except `domain`; of every face the whole square is seen, whatever `views` is.
    """

    @limits(root=text(), held_out=flag())
    def __init__(self, root: str, held_out: bool = False, **options: Any) -> None:
        """See the class."""
        super().__init__(root, domain="faces", **options)
        self.held_out = held_out
        self.name, self.views = "people", "centre"

    def photos(self, split: str) -> Photos:
        """The faces of a split; see the class."""
        if split != "test":
            return super().photos(split)
        return together(map(super().photos, SPLITS[1:] if self.held_out else SPLITS))

    def recognition(self, split: str) -> Recognition | None:
        """Each face of "test" as one box, and as gallery all faces.

        Raises:
            ValueError: if a face could not be read and was left out.
        """
        if split != "test":
            return None
        if skipped := self.skipped(split):
            raise ValueError(f"EmbeddedPeople: {skipped[0]}: a face that cannot be read cannot be recognised either")
        everyone = together(map(super().photos, SPLITS))
        people, gallery = np.array(everyone.labels)[:, None], [self._square(picture) for picture in everyone.pictures]
        first = len(super().photos("train")) if self.held_out else 0
        whole = ((0.0, 0.0, 1.0, 1.0),)
        return Recognition("identity", whole, people[first:], np.stack(gallery), people, np.arange(first, len(people)))

    def _square(self, picture: np.ndarray) -> np.ndarray:
        return CROPS[self.crop](picture, self.image_size)


def together(parts: Iterable[Photos]) -> Photos:
    """The pictures of several splits, one split after the other."""
    parts = list(parts)
    return Photos(*([item for part in parts for item in getattr(part, name)] for name in FIELDS))
