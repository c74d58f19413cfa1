"""Means with standard errors from values per image, which account for crops of the same photo and for seeds."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error and sample sizes.

    Attributes:
        mean: the mean over images, then seeds.
        standard_error: its standard error, the root of the sum of two variances: one for the choice of held-out
            photographs (images of one photograph count as one cluster) and one for the seed of the training.
        count: number of images per seed.
        clusters: number of photographs.
        seeds: number of seeds.
        per_seed: the mean of each seed.
        degrees_of_freedom: degrees of freedom of the standard error (Welch and Satterthwaite); few seeds make a wide
            interval.
    """

    mean: float
    standard_error: float
    count: int
    clusters: int
    seeds: int
    per_seed: tuple[float, ...]
    degrees_of_freedom: float

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval: Student's t with the degrees of freedom of the standard error."""
        return float(student.ppf(0.975, self.degrees_of_freedom)) * self.standard_error

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean."""
        return self.mean - self.half_width, self.mean + self.half_width


def summarise(values: np.ndarray, sources: list[str]) -> Estimate:
    """Averages values[seeds, images] whose images come from the photographs `sources`.

    With a single photograph or seed the corresponding variance cannot be estimated and counts as zero, as `clusters`
    and `seeds` show.

    Raises:
        ValueError: if shapes differ, or naming the first value that is not finite.
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
    # (variance of the mean, degrees of freedom) for each source of variance that can be estimated
    parts = []
    if len(names) > 1:
        of_photographs = (residual**2).sum() / len(sources) ** 2 * len(names) / (len(names) - 1)
        parts.append((of_photographs, len(names) - 1))
    if len(per_seed) > 1:
        parts.append((per_seed.var(ddof=1) / len(per_seed), len(per_seed) - 1))
    variance = sum(part for part, _ in parts)
    spread = sum(part**2 / freedom for part, freedom in parts)
    return Estimate(
        mean=float(mean),
        standard_error=float(np.sqrt(variance)),
        count=len(sources),
        clusters=len(names),
        seeds=len(per_seed),
        per_seed=tuple(float(value) for value in per_seed),
        # Without any spread the interval is a point for any degrees of freedom.
        degrees_of_freedom=float(variance**2 / spread) if spread else 1.0,
    )


def paired_difference(first: np.ndarray, second: np.ndarray, sources: list[str]) -> Estimate:
    """`first` - `second`, image by image and seed by seed, so that an image's difficulty cancels.

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


def summarise_seeds(values: list[float]) -> dict[str, float | list[float] | None]:
    """Mean over seeds; its standard error covers only the seeds, not the images, and is None for a single seed."""
    spread = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "standard_error": spread, "per_seed": values}
