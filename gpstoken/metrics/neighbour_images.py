"""The nearest training image of each sample, so that a copied one shows."""

import numpy as np
import torch
from torch import Tensor

# Rows of a block: of 64 x 64 pixels 512 take 50 MB as float64.
BLOCK = 512
# Of a sample: number of and distance to its nearest training image, in pixels and by the network's features.
COLUMNS = ("nearest", "distance", "nearest_by_features", "distance_by_features")
# A unit vector's components are rounded to multiples of this: exact sums, and 3e-8 is what float32 features know.
GRAIN = 2.0**-24


def nearest(queries: Tensor, references: Tensor, block: int = BLOCK) -> tuple[Tensor, Tensor]:
    """The nearest reference of every query, by Euclidean distance; of equally near ones the first.

    From x² + y² - 2xy in float64. Whole numbers whose squares sum to less than 2⁵¹, as pixels are, are compared
    exactly: ties are ties, whatever the block or the machine.

    Args:
        queries: [n, ...] of any type.
        references: [m, ...] of the same shape behind m ≥ 1.
        block: rows that are held as float64 at once.

    Returns:
        Index long[n] and distance float64[n].

    Raises:
        ValueError: for shapes that differ, or no references.
    """
    if queries.shape[1:] != references.shape[1:] or not len(references):
        raise ValueError(
            f"nearest: one or more references of the shape of the queries expected, "
            f"got {list(references.shape)} for {list(queries.shape)}"
        )
    best = torch.full((len(queries),), torch.inf, dtype=torch.float64)
    index = torch.zeros(len(queries), dtype=torch.long)
    for first in range(0, len(references), block):
        y = references[first : first + block].flatten(1).double()
        y_squared = y.square().sum(dim=1)
        for start in range(0, len(queries), block):
            rows = slice(start, start + block)
            x = queries[rows].flatten(1).double()
            squared = torch.addmm(y_squared, x, y.T, alpha=-2) + x.square().sum(dim=1, keepdim=True)
            column = squared.argmin(dim=1)  # the first of equal ones
            found = squared.gather(1, column[:, None])[:, 0]
            nearer = found < best[rows]
            best[rows] = torch.where(nearer, found, best[rows])
            index[rows] = torch.where(nearer, first + column, index[rows])
    return index, best.clamp(min=0).sqrt()


def nearest_by_features(queries: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest reference of every query by cosine: index long[n] and 1 - cosine, float64[n] in [0, 2].

    Args:
        queries: features [n, d].
        references: features [m, d].

    Raises:
        ValueError: for shapes that differ, no references, or features of zero length.
    """
    index, distance = nearest(_direction(queries), _direction(references))
    return index, (distance * GRAIN).square() / 2  # |u - v|² = 2 - 2 u·v of unit vectors


def nearest_images(images: Tensor, pool: Tensor, training: Tensor, training_pool: Tensor) -> dict[str, Tensor]:
    """`COLUMNS` of every image: long[n] numbers and float64[n] distances.

    Args:
        images: uint8[n, H, W, 3]; their distance is Euclidean, over all levels of 0 to 255.
        pool: their features [n, d]; their distance is 1 - cosine.
        training: uint8[m, H, W, 3].
        training_pool: features [m, d].

    Raises:
        ValueError: for images of another size.
    """
    found = (*nearest(images, training), *nearest_by_features(pool, training_pool))
    return dict(zip(COLUMNS, found, strict=True))


def page(
    images: Tensor, labels: np.ndarray, near: dict[str, Tensor], training: Tensor, most: int
) -> dict[str, np.ndarray]:
    """The first samples of every class with their nearest training images, for a page of pictures.

    Args:
        images: uint8[n, H, W, 3], samples.
        labels: int64[n].
        near: their columns of `nearest_images`.
        training: uint8[m, H, W, 3].
        most: samples a class, at most; as many as the class with fewest has.

    Returns:
        "classes" int64[K]; "indices" int64[K, k], numbers of the samples; "samples", "nearest", "nearest_by_features"
        uint8[K, k, H, W, 3]; "distances", "distances_by_features" float64[K, k].
    """
    classes, counts = np.unique(labels, return_counts=True)
    kept = min(most, int(counts.min()))
    indices = np.stack([np.flatnonzero(labels == label)[:kept] for label in classes])
    parts = {"classes": classes, "indices": indices, "samples": images.numpy()[indices]}
    for name, distances in (("nearest", "distance"), ("nearest_by_features", "distance_by_features")):
        parts[name] = training.numpy()[near[name].numpy()[indices]]
        parts[distances.replace("distance", "distances")] = near[distances].numpy()[indices]
    return parts


def memorisation(samples: Tensor, test: Tensor) -> dict[str, float]:
    """Whether samples lie nearer to training images than held-out images do.

    Args:
        samples: distances [n] of samples to their nearest training images.
        test: distances [m] of real test images to theirs.

    Returns:
        {"sample_median", "test_median", "test_first_percentile", "share_below_first_percentile": of samples nearer than
        that percentile; of a model that does not copy about 0.01}.
    """
    percentile = torch.quantile(test.double(), 0.01)
    return {
        "sample_median": float(torch.quantile(samples.double(), 0.5)),
        "test_median": float(torch.quantile(test.double(), 0.5)),
        "test_first_percentile": float(percentile),
        "share_below_first_percentile": float((samples.double() < percentile).double().mean()),
    }


def _direction(features: Tensor) -> Tensor:
    """Unit vectors in multiples of `GRAIN`."""
    length = features.double().norm(dim=1, keepdim=True)
    if features.ndim != 2 or not bool((length > 0).all() and length.isfinite().all()):
        raise ValueError(f"nearest: features [n, d] of finite length above 0 expected, got {list(features.shape)}")
    return (features.double() / length / GRAIN).round()
