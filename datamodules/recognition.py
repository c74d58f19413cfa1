"""What there is to recognise in the pictures of a split: the people of faces, the letters of rendered text."""

from dataclasses import dataclass

import numpy as np

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Recognition:
    """The parts of pictures that bear a label, and the gallery in which they are sought.

    `gpstoken evaluate` looks for every part of a reconstruction among the same parts of the gallery and compares the
    labels; see `gpstoken.metrics.recognition`.

    Attributes:
        metric: what the share of recognised parts is called in results, "identity" or "text".
        boxes: K boxes, (top, left, bottom, right) as shares of the side of a picture.
        labels: int[n, K], the label of each box of each picture of the split, in the order of the split.
        gallery: uint8[m, S, S, 3], clean pictures of the size of the split.
        gallery_labels: int[m, K], labels of their boxes.
        itself: int[n], the place of each picture in the gallery, where it is not sought; -1: it is not there.
    """

    metric: str
    boxes: tuple[Box, ...]
    labels: np.ndarray
    gallery: np.ndarray
    gallery_labels: np.ndarray
    itself: np.ndarray
