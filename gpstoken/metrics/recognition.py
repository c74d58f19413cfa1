"""Whether what a picture shows is still recognised after reconstruction: people by their faces, letters by their shape.

A part of a picture is recognised if the nearest of the gallery's same parts, itself left out, has its label. Nearest is
by correlation of grey levels, so that brightness, contrast and weights of a network play no part. The share of the
originals' own parts that are recognised is the ceiling.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpstoken.metrics.summary import summarise

SIDE = 32  # pixels of a side of a part when it is compared
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
SIDES = ("image", "reconstruction")
FLAT = 1e-3  # grey levels: parts with a smaller deviation show nothing


class PartsOf(nn.Module):
    """Parts of images as features, for `Recorder`.

    Args:
        boxes: K boxes, (top, left, bottom, right) as shares of the sides.
    """

    def __init__(self, boxes: Sequence[tuple[float, float, float, float]]) -> None:
        """See the class."""
        super().__init__()
        self.boxes = tuple(boxes)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """uint8[B, 3, H, W] to {"parts": float32[B, K, SIDE²]}: grey, of mean 0 and length 1; a flat part is 0.

        Raises:
            ValueError: if a box has no pixel.
        """
        grey = torch.einsum("bchw,c->bhw", images.float(), torch.tensor(LUMINANCE, device=images.device))
        height, width = grey.shape[1:]
        parts = []
        for top, left, bottom, right in self.boxes:
            part = grey[:, round(top * height) : round(bottom * height), round(left * width) : round(right * width)]
            if not part[0].numel():
                raise ValueError(f"recognition: images of {height}x{width} pixels are too small for their parts")
            part = F.interpolate(part[:, None], (SIDE, SIDE), mode="bilinear", antialias=True).flatten(1)
            part = part - part.mean(dim=1, keepdim=True)
            length = part.norm(dim=1, keepdim=True)
            parts.append(torch.where(length > FLAT * SIDE, part / length, 0.0))
        return {"parts": torch.stack(parts, dim=1)}


def recognised(
    parts: np.ndarray, labels: np.ndarray, gallery: np.ndarray, gallery_labels: np.ndarray, itself: np.ndarray
) -> np.ndarray:
    """The share of each image's parts that are recognised, float64[n] in [0, 1]; a flat part never is.

    Args:
        parts: float32[n, K, d] of mean 0 and length 1, see `PartsOf`.
        labels: int[n, K].
        gallery: float32[m, K, d].
        gallery_labels: int[m, K].
        itself: int[n], the place of each image in the gallery, where it is not sought; -1: it is not there.

    Raises:
        ValueError: for shapes that disagree.
    """
    if parts.shape[1:] != gallery.shape[1:] or labels.shape != parts.shape[:2] or len(itself) != len(parts):
        raise ValueError(f"recognition: {parts.shape} of labels {labels.shape} do not fit the gallery {gallery.shape}")
    rows = np.flatnonzero(itself >= 0)
    hits = np.empty(labels.shape, dtype=bool)
    for place in range(labels.shape[1]):
        correlation = parts[:, place] @ gallery[:, place].T
        correlation[rows, itself[rows]] = -np.inf
        nearest = gallery_labels[correlation.argmax(axis=1), place]
        hits[:, place] = (nearest == labels[:, place]) & parts[:, place].any(axis=1)
    return hits.mean(axis=1)


def recognise(
    recognition: Any, sides: dict[str, Callable[[str], np.ndarray]]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What is recognised of every image.

    The second column tells rows apart none of whose letters can be read: it is 1 for an exact reconstruction and about
    0 where nothing is left.

    Args:
        recognition: the labels, boxes and gallery of a data set, `datamodules.Recognition`.
        sides: for "image" and "reconstruction", a function from "<metric>.parts.<side>" to its values for all images,
            float32[n, K, SIDE²].

    Returns:
        Columns of the reconstructions, float64[n] each: the share of recognised parts by the name of the metric, and
        "parts_correlation", the mean normalised correlation of the parts with the originals' own. Then float64[n], the
        share of recognised parts of the originals.
    """
    pixels = torch.from_numpy(recognition.gallery).permute(0, 3, 1, 2)
    gallery = PartsOf(recognition.boxes)(pixels)["parts"].numpy()
    known = (recognition.labels, gallery, recognition.gallery_labels, recognition.itself)
    original, reconstruction = (sides[side](f"{recognition.metric}.parts.{side}") for side in SIDES)
    columns = {
        recognition.metric: recognised(reconstruction, *known),
        "parts_correlation": (original.astype(np.float64) * reconstruction).sum(axis=2).mean(axis=1),
    }
    return columns, recognised(original, *known)


def summarised(recognition: Any, originals: np.ndarray, sources: list[str]) -> dict[str, Any]:
    """What limits the share: the ceiling, an `Estimate` of the originals' own share, and numbers of what is sought.

    Args:
        recognition: see `recognise`.
        originals: float64[n], the share of each original.
        sources: the photograph of each.
    """
    return {
        "ceiling": asdict(summarise(originals[None], sources)),
        "parts": int(recognition.labels.size),
        "labels": len(np.unique(recognition.gallery_labels)),
        "gallery": len(recognition.gallery),
    }
