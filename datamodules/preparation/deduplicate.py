"""Near-duplicates by a 256-bit difference hash."""

import io

import numpy as np
from PIL import Image

from datamodules.preparation.photographs import Photograph

# Differing bits out of 256. Copies of one picture at other sizes and JPEG qualities differ in 0 to 8 bits; 12 leaves a
# margin and is far below the distance of unrelated pictures (128 on average).
NEAR = 12


def difference_hash(content: bytes) -> np.ndarray:
    """Signs of the horizontal grey differences on a 16 x 17 grid.

    Args:
        content: an image file.

    Returns:
        bool[256].
    """
    with Image.open(io.BytesIO(content)) as image:
        image.draft("L", (256, 256))
        grid = np.asarray(image.convert("L").resize((17, 16), Image.Resampling.BOX)).astype(int)
    return (grid[:, 1:] > grid[:, :-1]).ravel()


def deduplicate(photographs: list[Photograph]) -> list[Photograph]:
    """Keeps the largest of each set of near-duplicates of one domain.

    Args:
        photographs: in any order.

    Returns:
        The kept photographs, sorted by path.
    """
    kept: list[Photograph] = []
    hashes: dict[str, list[np.ndarray]] = {}
    for photograph in sorted(photographs, key=lambda item: (-item.size[0] * item.size[1], item.path)):
        known = hashes.setdefault(photograph.domain, [])
        bits = difference_hash(photograph.content)
        if all(np.count_nonzero(bits != other) > NEAR for other in known):
            known.append(bits)
            kept.append(photograph)
    return sorted(kept, key=lambda item: item.path)
