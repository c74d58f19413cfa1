"""The nearest training image of each sample, to reveal copies: by features for any number, by pixels for few.

Measured on one shared core of an Intel Xeon with AVX-512, on noise, with n samples and m training images. By 2048
features, 4,096 samples and 16,384 images took 3.6 s, n m 2048 multiply-adds at 38 billion per second, and 0.4 GB in
addition to the features; so 50,000 samples and ImageNet's 1,281,167 images take 1 hour and no more memory. By pixels,
exactly, 512 samples and 512 images of 256 x 256 took 12 s, n m 3 H W multiply-adds at 4 billion per second (13 billion
at 64 x 64), and 0.7 GB in addition to the images; 50,000 samples and 1,281,167 images would take 34 days, and 252 GB
for the images. So the search by pixels is left out above `MOST_PRODUCTS`, and result and report state this.
"""

import numpy as np
import torch
from torch import Tensor

from gpstoken.metrics.neighbour_features import check_alike, nearest_by_features

# Rows of a block: 512 images of 64 x 64 pixels take 50 MB as float64.
BLOCK = 512
ENTRIES = 2**25  # the most entries of a block: 268 MB as float64, and there are two blocks
# The most multiply-adds of a search by pixels: 2 to 7 hours on one core; the search of 34 days has 126 times as many.
MOST_PRODUCTS = 10**14
# For each sample: number of its nearest training image and distance to it, by pixels and by the network's features.
COLUMNS = ("nearest", "distance", "nearest_by_features", "distance_by_features")


def pixels_left_out(samples: int, training: int, shape: tuple[int, ...]) -> str | None:
    """Why the search by pixels is left out for this many images of shape [H, W, 3], or None if it is done."""
    products = samples * training * int(np.prod(shape))
    if products <= MOST_PRODUCTS:
        return None
    return (
        f"{samples:,} samples and test images against {training:,} training images of {shape[0]} x {shape[1]} pixels "
        f"are {products:.1e} multiply-adds, more than {MOST_PRODUCTS:.0e}; the nearest are sought by features alone"
    )


def nearest(queries: Tensor, references: Tensor, block: int = BLOCK) -> tuple[Tensor, Tensor]:
    """The nearest reference of every query, by Euclidean distance; among equally near ones the first.

    The distance is computed as x² + y² - 2xy in float64. Integers whose squares sum to less than 2⁵¹, such as pixels,
    are compared exactly: the result depends neither on the block size nor on the machine.

    Args:
        queries: [n, ...] of any type.
        references: [m, ...] with the same shape after m ≥ 1.
        block: the most rows that are held as float64 at once.

    Returns:
        Index long[n] and distance float64[n].

    Raises:
        ValueError: for shapes that differ, or no references.
    """
    check_alike(queries, references)
    block = max(1, min(block, ENTRIES // references[0].numel()))
    squares = torch.cat([part.flatten(1).double().square().sum(dim=1) for part in queries.split(block)])
    best = torch.full((len(queries),), torch.inf, dtype=torch.float64)
    index = torch.zeros(len(queries), dtype=torch.long)
    for first in range(0, len(references), block):
        y = references[first : first + block].flatten(1).double()
        y_squared = y.square().sum(dim=1)
        for start in range(0, len(queries), block):
            rows = slice(start, start + block)
            x = queries[rows].flatten(1).double()
            squared = torch.addmm(y_squared, x, y.T, alpha=-2) + squares[rows, None]
            column = squared.argmin(dim=1)  # the first of equal distances
            distances = squared.gather(1, column[:, None])[:, 0]
            nearer = distances < best[rows]
            best[rows] = torch.where(nearer, distances, best[rows])
            index[rows] = torch.where(nearer, first + column, index[rows])
    return index, best.clamp(min=0).sqrt()


def nearest_images(
    images: Tensor, pool: Tensor, training: Tensor, training_pool: Tensor, pixels: bool = True
) -> dict[str, Tensor]:
    """`COLUMNS` of every image: long[n] numbers and float64[n] distances.

    Args:
        images: uint8[n, H, W, 3]; their distance is Euclidean, over all levels of 0 to 255.
        pool: their features [n, d]; their distance is 1 - cosine.
        training: uint8[m, H, W, 3].
        training_pool: features [m, d].
        pixels: whether to compute the first two columns, see `pixels_left_out`.

    Raises:
        ValueError: for images of another size.
    """
    check_alike(images, training)
    columns = dict(zip(COLUMNS[:2], nearest(images, training), strict=True)) if pixels else {}
    return columns | dict(zip(COLUMNS[2:], nearest_by_features(pool, training_pool), strict=True))


def page(
    images: Tensor, labels: np.ndarray, near: dict[str, Tensor], training: Tensor, most: int
) -> dict[str, np.ndarray]:
    """The first samples of every class with their nearest training images, for a page of pictures.

    Args:
        images: uint8[n, H, W, 3], samples.
        labels: int64[n].
        near: the result of `nearest_images` for the samples.
        training: uint8[m, H, W, 3].
        most: the most samples per class; at most as many as the smallest class has.

    Returns:
        "classes" int64[K]; "indices" int64[K, k], numbers of the samples; "samples", "nearest", "nearest_by_features"
        uint8[K, k, H, W, 3]; "distances", "distances_by_features" float64[K, k]; without what `near` lacks.
    """
    classes, counts = np.unique(labels, return_counts=True)
    kept = min(most, int(counts.min()))
    indices = np.stack([np.flatnonzero(labels == label)[:kept] for label in classes])
    parts = {"classes": classes, "indices": indices, "samples": images.numpy()[indices]}
    for name, distances in (("nearest", "distance"), ("nearest_by_features", "distance_by_features")):
        if name in near:
            parts[name] = training.numpy()[near[name].numpy()[indices]]
            parts[distances.replace("distance", "distances")] = near[distances].numpy()[indices]
    return parts


def memorisation(samples: Tensor, test: Tensor) -> dict[str, float]:
    """Whether samples lie closer to training images than held-out images do.

    Args:
        samples: distances [n] of samples to their nearest training images.
        test: distances [m] of real test images to their nearest training images.

    Returns:
        {"sample_median", "test_median", "test_first_percentile", "share_below_first_percentile": share of samples below
        that percentile, about 0.01 for a model that does not copy}.
    """
    percentile = torch.quantile(test.double(), 0.01)
    return {
        "sample_median": float(torch.quantile(samples.double(), 0.5)),
        "test_median": float(torch.quantile(test.double(), 0.5)),
        "test_first_percentile": float(percentile),
        "share_below_first_percentile": float((samples.double() < percentile).double().mean()),
    }
