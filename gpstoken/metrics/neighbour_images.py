"""The nearest training image of each sample, so that a copied one shows: by features of any number, by pixels of few.

Measured on one core of an Intel Xeon with AVX-512 that others used too, on noise, n samples against m training images:
by 2048 features 4,096 against 16,384 took 3.6 s, n m 2048 multiply-adds at 38 billion a second, and 0.4 GB beside the
features; 50,000 samples against ImageNet's 1,281,167 images so take 1 hour, and no more memory. By pixels, exactly, 512
against 512 of 256 x 256 took 12 s, n m 3 H W multiply-adds at 4 billion a second (13 billion at 64 x 64), and 0.7 GB
beside the images; 50,000 against 1,281,167 would take 34 days, and hold 252 GB of images. So the search by pixels is
left out beyond `MOST_PRODUCTS`, and the result and the report say so.
"""

import numpy as np
import torch
from torch import Tensor

from gpstoken.metrics.neighbour_features import check_alike, nearest_by_features

# Rows of a block: of 64 x 64 pixels 512 take 50 MB as float64.
BLOCK = 512
ENTRIES = 2**25  # of a block, at most: 268 MB as float64, and there are two
# Multiply-adds of a search by pixels, at most: 2 to 7 hours on one core; those of the 34 days are 126 times as many.
MOST_PRODUCTS = 10**14
# Of a sample: number of and distance to its nearest training image, in pixels and by the network's features.
COLUMNS = ("nearest", "distance", "nearest_by_features", "distance_by_features")


def pixels_left_out(samples: int, training: int, shape: tuple[int, ...]) -> str | None:
    """Why the search by pixels is left out of so many images of a shape [H, W, 3], or None where it is done."""
    products = samples * training * int(np.prod(shape))
    if products <= MOST_PRODUCTS:
        return None
    return (
        f"{samples:,} samples and test images against {training:,} training images of {shape[0]} x {shape[1]} pixels "
        f"are {products:.1e} multiply-adds, more than {MOST_PRODUCTS:.0e}; the nearest are sought by features alone"
    )


def nearest(queries: Tensor, references: Tensor, block: int = BLOCK) -> tuple[Tensor, Tensor]:
    """The nearest reference of every query, by Euclidean distance; of equally near ones the first.

    From x² + y² - 2xy in float64. Whole numbers whose squares sum to less than 2⁵¹, as pixels are, are compared
    exactly: ties are ties, whatever the block or the machine.

    Args:
        queries: [n, ...] of any type.
        references: [m, ...] of the same shape behind m ≥ 1.
        block: rows that are held as float64 at once, at most.

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
            column = squared.argmin(dim=1)  # the first of equal ones
            found = squared.gather(1, column[:, None])[:, 0]
            nearer = found < best[rows]
            best[rows] = torch.where(nearer, found, best[rows])
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
        pixels: False leaves the first two columns out, see `pixels_left_out`.

    Raises:
        ValueError: for images of another size.
    """
    check_alike(images, training)
    found = dict(zip(COLUMNS[:2], nearest(images, training), strict=True)) if pixels else {}
    return found | dict(zip(COLUMNS[2:], nearest_by_features(pool, training_pool), strict=True))


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
        uint8[K, k, H, W, 3]; "distances", "distances_by_features" float64[K, k]. What `near` lacks is left out.
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
