"""Class accuracy of generated samples, measured by a classifier of thumbnails."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import t as student
from torch import Tensor

from gpstoken.metrics.summary import summarise

# "Well" above chance: the whole 95 % interval lies more than this share of the way from chance to 100 %.
WELL = 0.25


def thumbnails(images: Tensor, side: int = 8) -> Tensor:
    """Mean colours of side x side cells: features for a classifier that a tokenizer's blur must not mislead.

    Features of ImageNet networks fail at laptop scale: a linear probe on EfficientNet-Lite0, trained on real images and
    blurred copies of them, recognised 100 % of real held-out faces as faces, but none of the same faces reconstructed
    by a laptop tokenizer with 16 tokens, although a reader recognises them at a glance; with thumbnails it is 90 % and
    88 %.

    Args:
        images: uint8[n, H, W, 3].
        side: cells along a side.

    Returns:
        float32[n, 3 * side * side] of levels in [0, 1].
    """
    pieces = (piece.permute(0, 3, 1, 2).float() / 255 for piece in images.split(1024))
    return torch.cat([F.adaptive_avg_pool2d(piece, side).flatten(1) for piece in pieces])


def fit_classifier(features: Tensor, labels: np.ndarray) -> Callable[[Tensor], np.ndarray]:
    """Logistic regression on a Gaussian kernel of standardised features (scikit-learn's classes with their defaults).

    The kernel is approximated by 500 training images, or all if there are fewer (Nystroem's method), drawn with a fixed
    seed: the same features and labels give the same classifier.

    Args:
        features: float[n, d] of real training images.
        labels: int[n], 0 to K - 1; every class has an image.

    Returns:
        Features [m, d] -> probabilities float64[m, K].

    Raises:
        ValueError: for a class without images, or a single class.
    """
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    counts = np.bincount(labels)
    if len(counts) < 2 or not counts.all():
        raise ValueError(f"classifier: expected images of two or more classes, got {counts.tolist()} per class")
    kernel = Nystroem(n_components=min(500, len(labels)), random_state=0)
    # 1000 iterations are the limit; it converges within tens.
    model = make_pipeline(StandardScaler(), kernel, LogisticRegression(max_iter=1000))
    model.fit(features.double().cpu().numpy(), labels)
    return lambda others: model.predict_proba(others.double().cpu().numpy())


def accuracy(right: np.ndarray, sources: Sequence[str] | None = None) -> dict[str, Any]:
    """Share of correctly classified images, with its standard error and 95 % interval.

    The standard error adds the squared errors due to images and to seeds, see `summarise`: an image number counts once
    for all seeds, because samples of the same number share their noise, and views of one photograph count as one. The
    interval is Wilson's (1927) for the number of independent images that would have this standard error (Korn and
    Graubard, 1998), at most the actual number, with Student's t instead of the normal quantile: it stays within [0, 1]
    and does not shrink to a point where every image or none is correct.

    Args:
        right: bool[seeds, images].
        sources: the photograph that each image shows; None: all images are independent.

    Returns:
        {"mean", "standard_error", "per_seed", "count" (images per seed), "interval": [low, high]}.

    Raises:
        ValueError: if the shapes do not fit, or there are no images.
    """
    right = np.asarray(right, dtype=float)
    names = [str(number) for number in range(right.shape[-1])] if sources is None else list(sources)
    estimate = summarise(right, names)
    share, error = estimate.mean, estimate.standard_error
    # Without any spread only the number of independent images is known.
    independent, freedom = float(estimate.clusters), float(max(estimate.clusters - 1, 1))
    if error:
        independent, freedom = min(share * (1 - share) / error**2, float(right.size)), estimate.degrees_of_freedom
    return {
        "mean": share,
        "standard_error": error,
        "per_seed": list(estimate.per_seed),
        "count": estimate.count,
        "interval": wilson(share, independent, float(student.ppf(0.975, freedom))),
    }


def wilson(share: float, count: float, quantile: float) -> list[float]:
    """The shares p with |share - p| ≤ quantile · √(p (1 - p) / count), as [low, high] (Wilson 1927)."""
    z = quantile**2 / count
    half = quantile * np.sqrt(share * (1 - share) / count + z / (4 * count))
    ends = (share + z / 2 + np.array([-half, half])) / (1 + z)
    return np.clip(ends, 0, 1).tolist()


def against_chance(labels: np.ndarray, interval: Sequence[float]) -> dict[str, float | bool]:
    """Whether samples show their class more often than samples that ignore the label.

    Args:
        labels: int[n], the requested classes.
        interval: 95 % interval of the accuracy.

    Returns:
        {"chance": the largest share of a class, 1 / K for balanced labels, which no sampler that ignores the label
        exceeds; "above_chance": whether the interval is above it, a test at 2.5 %; "bar" and "well_above_chance": the
        same test for the point at `WELL` of the way from chance to 1}.
    """
    chance = float(np.bincount(labels).max() / len(labels))
    bar = chance + WELL * (1 - chance)
    low = interval[0]
    return {"chance": chance, "above_chance": low > chance, "bar": bar, "well_above_chance": low > bar}


def per_class(right: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, float | int]]:
    """{class: {"accuracy", "samples"}} from right bool[seeds, n] and labels int[n], for the classes that occur."""
    parts = {name: np.asarray(right)[:, labels == number] for number, name in enumerate(names)}
    return {name: {"accuracy": float(part.mean()), "samples": part.size} for name, part in parts.items() if part.size}


def accuracy_on_real(
    probabilities: np.ndarray, labels: np.ndarray, sources: Sequence[str] | None, names: Sequence[str]
) -> dict[str, Any]:
    """Accuracy of the classifier on real images: {"accuracy", "interval", "images", "photographs", "per_class"}.

    Args:
        probabilities: float[n, K].
        labels: int[n].
        sources: the photograph of each image; None: every image has its own.
        names: names of the K classes.
    """
    right = (probabilities.argmax(axis=1) == labels)[None]
    result = accuracy(right, sources)
    shares = {"accuracy": result["mean"], "interval": result["interval"], "images": result["count"]}
    shares["photographs"] = result["count"] if sources is None else len(set(sources))
    return shares | {"per_class": per_class(right, labels, names)}
