"""Fréchet distance between Gaussians, and files with their means and covariances."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gpstoken.files.arrays import array_names, read_arrays
from gpstoken.files.reasons import reason
from gpstoken.files.writing import replacing

# A covariance rounded to float32 has eigenvalues down to about -6e-8 times its largest, and as much asymmetry.
TOLERANCE = 1e-6
# Feature -> keys of its mean and covariance in the files of ADM's evaluation suite.
KEYS = {"pool": ("mu", "sigma"), "spatial": ("mu_s", "sigma_s")}


@dataclass(frozen=True)
class Statistics:
    """A Gaussian and the number of samples from which it was estimated.

    Attributes:
        mean: float64[d].
        covariance: float64[d, d], with n - 1 in the denominator.
        count: number of samples n; None if a file does not state it.
    """

    mean: Tensor
    covariance: Tensor
    count: int | None = None


def frechet_distance(mean1: Tensor, covariance1: Tensor, mean2: Tensor, covariance2: Tensor) -> float:
    """|m1 - m2|² + tr C1 + tr C2 - 2 tr (C1^½ C2 C1^½)^½, in float64 (Dowson and Landau 1982; Heusel et al. 2017).

    With Cᵢ = AᵢAᵢᵀ the last trace is the sum of the singular values of A1ᵀA2, whose squares are the eigenvalues of the
    symmetrised product. Computing them without squaring keeps all digits of rank-deficient covariances, and neither NaN
    nor a complex part can arise. Aᵢ has as many columns as the rank of Cᵢ, so few samples are cheap.

    Args:
        mean1: [d].
        covariance1: [d, d], symmetric and positive semi-definite.
        mean2: [d].
        covariance2: [d, d], symmetric and positive semi-definite.

    Returns:
        The squared distance, as papers print it; rounding may leave a tiny negative number for equal Gaussians.

    Raises:
        ValueError: for shapes that disagree, a value that is not finite, or a matrix that is not a covariance:
            asymmetric, or with an eigenvalue below -`TOLERANCE` times the largest. Smaller negative eigenvalues are
            rounding errors and count as zero.
    """
    parts = {"mean 1": mean1, "covariance 1": covariance1, "mean 2": mean2, "covariance 2": covariance2}
    mean1, covariance1, mean2, covariance2 = (_finite(name, value) for name, value in parts.items())
    shapes = [tuple(part.shape) for part in (mean1, covariance1, mean2, covariance2)]
    d = mean1.numel()
    if shapes != [(d,), (d, d), (d,), (d, d)]:
        raise ValueError(f"Fréchet distance: expected means [d] and covariances [d, d] with the same d, got {shapes}")
    root1, root2 = _root("covariance 1", covariance1), _root("covariance 2", covariance2)
    overlap = torch.linalg.svdvals(root1.T @ root2).sum() if root1.numel() and root2.numel() else 0.0
    return float((mean1 - mean2).square().sum() + covariance1.trace() + covariance2.trace() - 2 * overlap)


def _finite(name: str, value: Tensor) -> Tensor:
    value = torch.as_tensor(value, dtype=torch.float64).cpu()
    if not value.isfinite().all():
        raise ValueError(f"Fréchet distance: {name} has {int((~value.isfinite()).sum())} values that are not finite")
    return value


def _root(name: str, covariance: Tensor) -> Tensor:
    """A[d, rank] with A Aᵀ = covariance."""
    largest = covariance.abs().max()
    if (covariance - covariance.T).abs().max() > TOLERANCE * largest:
        raise ValueError(f"Fréchet distance: {name} is not symmetric")
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    if values[0] < -TOLERANCE * values[-1].abs():
        raise ValueError(
            f"Fréchet distance: {name} has the eigenvalue {values[0]:.3g}, but the largest is {values[-1]:.3g}"
        )
    # Below this an eigenvalue is a rounding error of eigh: its direction is arbitrary, and its root would not be small.
    kept = values > len(values) * torch.finfo(torch.float64).eps * values[-1].abs()
    return vectors[:, kept] * values[kept].sqrt()


def read_statistics(path: str | Path) -> dict[str, Statistics]:
    """Reads the statistics of a reference set from ADM's `npz`, or from one of this project.

    Args:
        path: an npz with `mu`, `sigma` ("pool"), optionally `mu_s`, `sigma_s` ("spatial"), and `count` in files of this
            project.

    Returns:
        The statistics by the name of the feature, "pool" and optionally "spatial".

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds images or anything else, is damaged, or its arrays do not match.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"statistics {path} not found: `gpstoken score IMAGES --write-statistics {path}` writes it"
        )
    try:
        names = set(array_names(path))
        arrays = read_arrays(path, {name for keys in KEYS.values() for name in keys} | {"count"})
    except Exception as error:  # numpy and zipfile raise nearly anything for damaged files
        raise ValueError(f"statistics {path}: not a readable npz ({reason(error)})") from error
    if not {"mu", "sigma"} <= names:
        held = "images (arr_0), not statistics" if "arr_0" in names else f"{sorted(names)[:6]}, not mu and sigma"
        raise ValueError(f"statistics {path}: holds {held}")
    count = arrays.get("count")
    if count is not None and (count.shape or count.dtype.kind not in "iu"):
        raise ValueError(f"statistics {path}: count is {count.dtype}{list(count.shape)}, not one whole number")
    count = None if count is None else int(count)
    if count is not None and count < 1:
        raise ValueError(f"statistics {path}: count is {count}, expected at least 1")
    statistics = {}
    for feature, (mean, covariance) in KEYS.items():
        if mean not in arrays and covariance not in arrays:
            continue
        shapes = [arrays[name].shape if name in arrays else None for name in (mean, covariance)]
        if shapes[0] is None or len(shapes[0]) != 1 or shapes[1] != shapes[0] * 2:
            raise ValueError(f"statistics {path}: {mean} and {covariance} have the shapes {shapes[0]} and {shapes[1]}")
        if any(arrays[name].dtype.kind != "f" for name in (mean, covariance)):
            raise ValueError(f"statistics {path}: {mean} and {covariance} are not floating-point numbers")
        pair = (torch.from_numpy(np.asarray(arrays[name], dtype=np.float64)) for name in (mean, covariance))
        statistics[feature] = Statistics(*pair, count)
        for name, part in ((mean, statistics[feature].mean), (covariance, statistics[feature].covariance)):
            if not part.isfinite().all():
                raise ValueError(f"statistics {path}: {name} is not finite in {int((~part.isfinite()).sum())} places")
    return statistics


def write_statistics(path: str | Path, statistics: dict[str, Statistics]) -> None:
    """Writes `statistics` under ADM's keys, and `count`.

    Args:
        path: file to write, ending in .npz; its folder must exist.
        statistics: by the name of the feature, "pool" and optionally "spatial", of the same images.

    Raises:
        ValueError: for other names, or different counts.
    """
    counts = {entry.count for entry in statistics.values()}
    if "pool" not in statistics or not set(statistics) <= set(KEYS) or len(counts) != 1:
        raise ValueError(
            f"statistics {path}: expected 'pool' and 'spatial' with one count, got {statistics.keys()}, {counts}"
        )
    arrays = {} if counts == {None} else {"count": np.array(counts.pop())}
    for feature, entry in statistics.items():
        mean, covariance = KEYS[feature]
        arrays |= {mean: entry.mean.cpu().numpy(), covariance: entry.covariance.cpu().numpy()}
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)
