"""What must hold for scores of real images, whatever the images are: checks of the scores by themselves."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy.linalg import hadamard
from torch import Tensor

from gpstoken.metrics.frechet import TOLERANCE, Statistics, frechet_distance, read_statistics, write_statistics
from gpstoken.metrics.kernel import kernel_distance
from gpstoken.metrics.moments import mean_and_covariance
from gpstoken.metrics.spread import halves

SPLITS = 20  # into halves, for the Fréchet distance
# Both distances of halves are at worst as skewed as a χ² with one degree of freedom, where features vary in one
# direction alone: mean 1, deviation √2. By chance it lies above 1 + 10 √2 once in 10,000 self-tests.
DEVIATIONS = 10


@dataclass(frozen=True)
class Check:
    """One line of the self-test.

    Attributes:
        text: what was compared, and what came out.
        passed: whether it is as it must be; None for a number of which nothing is known that must hold.
    """

    text: str
    passed: bool | None = None


def check_statistics(statistics: Statistics, title: str) -> Check:
    """A Gaussian against itself: the Fréchet distance is 0 up to rounding.

    An eigenvalue of a covariance in float32 may be wrong by `TOLERANCE` times the largest at most, or the distance
    raises an error. Those below zero count as zero in one of the three traces, so the distance has at most 2 d
    tolerances of the largest eigenvalue. In float64, an eigenvalue is wrong by about d ε of the largest, and those
    below that are left out: at most 4 d² ε of it. The trace, which is no smaller, stands for the largest eigenvalue.

    Raises:
        ValueError: if the matrix is not a covariance.
    """
    mean, covariance = statistics.mean, statistics.covariance
    distance, largest = frechet_distance(mean, covariance, mean, covariance), float(covariance.trace())
    rounded = torch.equal(covariance, covariance.float().double())
    d = len(mean)
    tolerance = 2 * d * TOLERANCE * largest if rounded else 4 * d**2 * torch.finfo(torch.float64).eps * largest
    text = f"{title}: Fréchet distance {distance:.3g}, 0 up to rounding, which is at most {tolerance:.1g}"
    return Check(text, abs(distance) <= tolerance)


def check_file(features: Tensor, folder: Path) -> list[Check]:
    """Images against their statistics, written to a file in `folder` and read: to the bit, and at no distance."""
    mean, covariance = mean_and_covariance(features)
    path = folder / "statistics.npz"
    write_statistics(path, {"pool": Statistics(mean, covariance, len(features))})
    read = read_statistics(path)["pool"]
    same = torch.equal(read.mean, mean) and torch.equal(read.covariance, covariance) and read.count == len(features)
    return [
        Check("statistics are the same to the bit after writing and reading", same),
        check_statistics(read, "images against their own statistics"),
    ]


def check_identity(features: Tensor) -> Check:
    """The kernel distance of a set with itself: below 0, by a number that is known.

    Without the pairs of an image with itself on one side only, it is -2 (s - m) / (n - 1) for the mean kernel m of all
    pairs and s of an image with itself. Either mean may be rounded by (d + n²) ε of itself, and far less in practice.
    """
    n, d = features.shape
    x = features.double()
    kernel = (x @ x.T / d + 1) ** 3
    own = float(kernel.diagonal().mean())
    expected = -2 * (own - float(kernel.mean())) / (n - 1)
    distance = kernel_distance(features, features)["mean"]
    tolerance = 4 * (d + n**2) * torch.finfo(torch.float64).eps * own
    text = f"images against themselves: kernel distance {distance:.6g}, expected {expected:.6g} by all pairs"
    return Check(text, abs(distance - expected) <= tolerance)


def check_halves(features: Tensor, shifted: Mapping[str, Tensor], order: tuple[Tensor, Tensor]) -> list[Check]:
    """Halves of the images against each other, and against halves that were changed.

    The rows of a Hadamard matrix of m numbers split m images into halves, m - 1 times, so that any two images share a
    half in m / 2 - 1 splits and are parted in m / 2. So the mean kernel within halves is that across them, and the mean
    kernel distance is 0 but for rounding: each is a mean of kernels of size s, rounded by at most (d + m) ε s.

    Args:
        features: [n, d], of the images, at least eight.
        shifted: features of the first half of `order`, by what was done to its images; a name that ends in "(checked)"
            is of a change that must show.
        order: numbers of the images of two halves.
    """
    n, everything = len(features), torch.cat([features, *shifted.values()])
    rows = coordinates(everything)

    def frechet(first: Tensor, second: Tensor) -> float:
        return frechet_distance(*mean_and_covariance(rows[first]), *mean_and_covariance(rows[second]))

    def kernel(first: Tensor, second: Tensor) -> float:
        return kernel_distance(everything[first], everything[second])["mean"]

    m = 2 ** int(math.log2(n))
    images = torch.cat(next(halves(n, 1, seed=1)))[:m]  # in random order
    splits = [(images[row > 0], images[row < 0]) for row in torch.from_numpy(hadamard(m))[1:]]
    kernels, frechets = (
        torch.tensor([of(*split) for split in each], dtype=torch.float64)
        for of, each in ((kernel, splits), (frechet, splits[:SPLITS]))
    )
    size = float((features.double().square().sum(dim=1).max() / features.shape[1] + 1) ** 3)
    tolerance = 4 * (features.shape[1] + m) * torch.finfo(torch.float64).eps * size
    further = frechet(*order), kernel(*order)
    within = [
        abs(value - of.mean()) <= DEVIATIONS * of.std() for value, of in zip(further, (frechets, kernels), strict=True)
    ]
    checks = [
        Check(
            f"{len(splits)} halves of {m} images against the others: kernel distance {kernels.mean():.2g} ± "
            f"{kernels.std():.2g}, on average 0 but for rounding, which is at most {tolerance:.1g}",
            bool(kernels.mean().abs() <= tolerance),
        ),
        Check(f"{len(frechets)} of these halves: Fréchet distance {frechets.mean():.4g} ± {frechets.std():.2g}"),
        Check(
            f"another half against the other: Fréchet distance {further[0]:.4g}, kernel distance {further[1]:.2g}, "
            f"within {DEVIATIONS} deviations of these",
            bool(all(within)),
        ),
    ]
    for number, name in enumerate(shifted):
        part = n + number * len(order[0]) + torch.arange(len(order[0]))
        changes = frechet(part, order[1]) - further[0], kernel(part, order[1]) - further[1]
        title = name.removesuffix(" (checked)")
        text = f"the same half, {title}: Fréchet distance {changes[0]:+.3g}, kernel distance {changes[1]:+.2g}"
        must = title != name
        checks.append(Check(text, min(changes) > 0 if must else None))
    return checks


def coordinates(features: Tensor) -> Tensor:
    """Features [n, d] in an orthonormal basis of their span, in float64: just as far apart, in fewer numbers if n < d.

    Fréchet distances of a few hundred images are thereby computed in milliseconds.
    """
    n, d = features.shape
    if n >= d:
        return features.double()
    return torch.linalg.qr(features.double().T)[1].T
