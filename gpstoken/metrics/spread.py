"""How far a score lies from that of infinitely many images: its bias and its standard error at this number of images.

A Fréchet distance of n samples exceeds that of infinitely many by about b / n. Halves of the samples exceed it by
2 b / n, so their mean distance minus that of all samples is the bias b / n (the extrapolation of Chong and Forsyth,
2020, from two points). Two disjoint halves are independent, and half of their difference has the variance of the score
of all samples (McCarthy, 1969, "half-samples"), as long as the score depends on single images linearly. Where samples
and reference have the same distribution, it depends on pairs of images instead, and this standard error is too large,
by √2. With two samples a dimension the bias is some 15 % too large, because terms of 1 / n² are not yet small.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gpstoken.metrics.frechet import Statistics, frechet_distance
from gpstoken.metrics.generation import SPLITS, FeatureSet
from gpstoken.metrics.kernel import kernel_distance
from gpstoken.metrics.moments import mean_and_covariance


@dataclass(frozen=True)
class Spread:
    """What the number of images does to a score.

    Attributes:
        bias: by how much it exceeds the score of infinitely many images, on average; None if unknown.
        standard_error: standard deviation of the score over other samples and references of the same number; None if
            unknown.
        how: how both were found.
    """

    bias: float | None
    standard_error: float | None
    how: str


def frechet_floor(covariance: Tensor, *counts: int) -> float:
    """Expected Fréchet distance of samples of a Gaussian from the Gaussian, or from one another, by chance alone.

    To second order in the errors E of a sample's mean and covariance it is E|e|² + ½ Σ E[E_ij²] / (λ_i + λ_j) in the
    basis of the covariance's eigenvectors, whose eigenvalues are λ: the Bures metric. With Wishart's variance
    E[E_ij²] = λ_i λ_j (1 + δ_ij) / (n - 1), that is Σ λ_i / n + ½ (Σ_ij λ_i λ_j / (λ_i + λ_j) + ½ Σ λ_i) / (n - 1). It
    holds for several samples a dimension; features that are not Gaussian may lie further apart.

    Args:
        covariance: [d, d], symmetric and positive semi-definite.
        *counts: number of images of each sample, at least 2: one if the other side is exact, two for two samples.
    """
    values = torch.linalg.eigvalsh(covariance.double().cpu()).clamp(min=0)
    values = values[values > 0]
    total = values.sum()
    overlap = (values[:, None] * values / (values[:, None] + values)).sum()
    return float(sum(total / n + (overlap + total / 2) / (2 * (n - 1)) for n in counts))


def halves(images: int, splits: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Two random halves of the numbers 0 ... images - 1, `splits` times; of an odd number the second has one more."""
    chance = torch.Generator().manual_seed(seed)
    for _ in range(splits):
        order = torch.randperm(images, generator=chance)
        yield order[: images // 2], order[images // 2 :]


def expected_spread(
    scores: Mapping[str, float],
    generated: FeatureSet,
    real: FeatureSet,
    of_images: bool,
    kernel: Mapping[str, float],
    paired: bool = False,
    splits: int = 2,
) -> dict[str, Spread]:
    """The spread of every score of `gpstoken.metrics.generation.measure` at its number of images.

    A split costs two Fréchet distances: with 2048 dimensions some twenty seconds on two cores.

    Args:
        scores: the scores by name.
        generated: features of the samples.
        real: features of the reference.
        of_images: whether the statistics of `real` are those of the images in its pool; else they come from a file.
        kernel: how the kernel distance was computed, see `kernel_distance`.
        paired: whether the samples are reconstructions of the reference's images, in their order: both are then split
            alike, because a reconstruction depends on its image.
        splits: number of random splits into halves.
    """
    n, seeds, result = len(generated.pool), (0, 0 if paired else 1), {}
    for name, score in scores.items():
        if name == "sfid":
            counts = [n, *_count(real.statistics["spatial"])]
            floor = frechet_floor(generated.statistics["spatial"].covariance, *counts)
            how = f"of samples of {_listed(counts)} from one Gaussian with the covariance of the samples"
            result[name] = Spread(floor, None, how)
        elif name == "fid" or name.startswith("fd_"):
            result[name] = _frechet_spread(score, generated.pool, real, of_images, splits, seeds)
        elif name == "is":
            error = scores["is_std"] / math.sqrt(SPLITS)
            result[name] = Spread(None, error, f"the deviation of the {SPLITS} parts over the root of {SPLITS}")
        elif name.startswith(("precision", "recall")):
            images = n if name.startswith("precision") else len(real.pool)
            result[name] = Spread(None, share_error(score, images), f"binomial, a share of {images:,} images")
        elif name.startswith("kid"):
            result[name] = _kernel_spread(generated.pool, real.pool, kernel, splits, seeds)
    return result


def share_error(share: float, images: int) -> float:
    """Standard deviation of a share that was seen in a number of images, any share being as likely before.

    That is a Beta distribution, √(p (1 - p) / n) for many images, but not zero for the shares 0 and 1.
    """
    found, missed = share * images + 1, (1 - share) * images + 1
    return math.sqrt(found * missed / ((found + missed) ** 2 * (found + missed + 1)))


def _frechet_spread(
    score: float, samples: Tensor, real: FeatureSet, of_images: bool, splits: int, seeds: tuple[int, int]
) -> Spread:
    if min(len(samples), len(real.pool) if of_images else len(samples)) < 4:
        return Spread(None, None, "fewer than four images have no halves")
    given, distances = real.statistics["pool"], []
    sides = (samples, real.pool) if of_images else (samples,)
    parts = [halves(len(side), splits, seed) for side, seed in zip(sides, seeds, strict=False)]
    for split in zip(*parts, strict=True):
        for side in (0, 1):
            first = mean_and_covariance(samples[split[0][side]])
            second = mean_and_covariance(real.pool[split[1][side]]) if of_images else (given.mean, given.covariance)
            distances.append(frechet_distance(*first, *second))
    pairs = torch.tensor(distances, dtype=torch.float64).view(-1, 2)
    bias = float(pairs.mean()) - score
    of = "samples and reference" if of_images else "the samples"
    how = f"from halves of {of}, split {splits} times at random"
    if not of_images and given.count is None:
        how += "; the statistics add their own bias, but do not say of how many images they are"
    elif not of_images:
        bias += frechet_floor(given.covariance, given.count)
        how += f"; for the statistics as if Gaussian, of {given.count:,} images"
    if len(samples) < 2 * samples.shape[1]:
        how += "; so few images a dimension make it rough"
    return Spread(bias, float(((pairs[:, 0] - pairs[:, 1]) / 2).square().mean().sqrt()), how)


def _kernel_spread(
    samples: Tensor, reference: Tensor, kernel: Mapping[str, float], splits: int, seeds: tuple[int, int]
) -> Spread:
    fewest = min(len(samples), len(reference))
    if kernel["subsets"] > 1:
        # A subset's variance is at most that of its size over that of all images times theirs; a hundred add their own.
        share = 1 / kernel["subsets"] + kernel["subset_size"] / fewest
        error = kernel["standard_deviation"] * math.sqrt(share)
        return Spread(0.0, error, f"from the deviation of {kernel['subsets']} random subsets")
    if fewest < 4:
        return Spread(0.0, None, "fewer than four images have no halves")
    squares = []
    parts = [halves(len(side), splits, seed) for side, seed in zip((samples, reference), seeds, strict=True)]
    for first, second in zip(*parts, strict=True):
        one, other = (kernel_distance(reference[second[side]], samples[first[side]])["mean"] for side in (0, 1))
        squares.append(((one - other) / 2) ** 2)
    how = f"from halves of samples and reference, split {splits} times at random"
    return Spread(0.0, math.sqrt(sum(squares) / len(squares)), how)


def _count(statistics: Statistics) -> list[int]:
    return [] if statistics.count is None else [statistics.count]


def _listed(counts: list[int]) -> str:
    return " and ".join(f"{count:,}" for count in counts) + " images"
