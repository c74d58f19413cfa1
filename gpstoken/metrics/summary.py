"""From numbers of images to a mean with its standard error, honest about crops of one photo and about seeds."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A mean and what it rests on.

    Attributes:
        mean: the mean over images, then seeds.
        standard_error: its standard error; two sources of chance are added in squares: which photographs were held out
            (images of one photograph count as one cluster) and which seed trained the model.
        count: number of images a seed.
        clusters: number of photographs.
        seeds: number of seeds.
        per_seed: the mean of each seed.
    """

    mean: float
    standard_error: float
    count: int
    clusters: int
    seeds: int
    per_seed: tuple[float, ...]

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval under a normal error."""
        return self.mean - 1.96 * self.standard_error, self.mean + 1.96 * self.standard_error


def summarise(values: np.ndarray, sources: list[str]) -> Estimate:
    """Averages values[seeds, images] whose images come from the photographs `sources`.

    With one photograph or one seed the chance that it stands for cannot be estimated and counts as zero; `clusters` and
    `seeds` say so.

    Raises:
        ValueError: if shapes differ or a value is not finite (naming the first).
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(sources) or not values.size:
        raise ValueError(f"summarise: expected values[seeds, {len(sources)} images], got shape {values.shape}")
    if not np.isfinite(values).all():
        seed, image = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(f"summarise: value of seed {seed}, image {image} is {values[seed, image]}")
    names, cluster = np.unique(np.asarray(sources), return_inverse=True)
    per_seed = values.mean(axis=1)
    mean = per_seed.mean()
    residual = np.bincount(cluster, weights=values.mean(axis=0) - mean)
    of_images = (residual**2).sum() / len(sources) ** 2 * len(names) / max(len(names) - 1, 1)
    of_seeds = per_seed.var(ddof=1) / len(per_seed) if len(per_seed) > 1 else 0.0
    if len(names) == 1:
        of_images = 0.0
    return Estimate(
        float(mean), float(np.sqrt(of_images + of_seeds)), len(sources), len(names), len(per_seed),
        tuple(float(value) for value in per_seed),
    )  # fmt: skip


def paired_difference(first: np.ndarray, second: np.ndarray, sources: list[str]) -> Estimate:
    """`first` - `second`, image by image and seed by seed: what both share in difficulty drops out.

    Args:
        first: values[seeds, images].
        second: values[seeds, images] of the same images, seeds and order.
        sources: the photograph of each image.

    Raises:
        ValueError: if the shapes differ.
    """
    if np.shape(first) != np.shape(second):
        raise ValueError(f"paired_difference: shapes differ, {np.shape(first)} and {np.shape(second)}")
    return summarise(np.asarray(first) - np.asarray(second), sources)
