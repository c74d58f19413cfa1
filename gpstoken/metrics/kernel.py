"""Inception score and kernel distance, from features."""

from torch import Tensor
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

# With at most this many samples per side all pairs are compared, which takes a second; beyond, random subsets.
EXACT = 2000


def inception_score(logits: Tensor, splits: int = 10, seed: int = 2020) -> tuple[float, float]:
    """Exponential of the mean divergence of p(y|x) from p(y), in each of `splits` parts (Salimans et al. 2016).

    The samples are shuffled first: generated samples are often sorted by class, and a part with few classes has a low
    score. `splits` and `seed` are torch-fidelity's; with 50,000 samples the parts have 5,000 each, as in ADM's suite,
    which does not shuffle.

    Args:
        logits: [N, classes], without the bias of the last layer, as in the released implementations.
        splits: number of parts.
        seed: seed of the shuffle.

    Returns:
        Mean and standard deviation over the parts.

    Raises:
        ValueError: for fewer samples than parts, or values that are not finite.
    """
    _check("Inception score", logits)
    if len(logits) < splits:
        raise ValueError(f"Inception score: {len(logits)} samples are fewer than the {splits} parts")
    logits = logits.double().cpu()
    # An underflowing probability would give 0 · (log 0 - log 0) = NaN for its class; this keeps all above 1e-304.
    logits = logits.maximum(logits.amax(dim=1, keepdim=True) - 700)
    score = isc_features_to_metric(logits, splits=splits, shuffle=True, rng_seed=seed)
    return score[KEY_METRIC_ISC_MEAN], score[KEY_METRIC_ISC_STD]


def kernel_distance(
    first: Tensor, second: Tensor, subsets: int = 100, subset_size: int = 1000, seed: int = 2020
) -> dict[str, float | int]:
    """Unbiased squared maximum mean discrepancy under (x·y / d + 1)³ (Bińkowski et al. 2018, "KID"), in float64.

    With at most `EXACT` samples on both sides it is computed over all pairs, which has the same expectation as subsets,
    less variance, and is deterministic. Beyond, it is the mean over random subsets, as published. It may be slightly
    negative.

    Args:
        first: features [n, d].
        second: features [m, d].
        subsets: number of random subsets.
        subset_size: samples of each side in a subset; at most as many as there are.
        seed: seed of the subsets.

    Returns:
        {"mean", "standard_deviation" (over subsets; 0 for all pairs), "subsets" (1: all pairs), "subset_size" (for
        all pairs the smaller of n and m)}.

    Raises:
        ValueError: for shapes that disagree, fewer than two samples, or values that are not finite.
    """
    for features in (first, second):
        _check("kernel distance", features)
    if first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise ValueError(
            f"kernel distance: expected features of the same width, for two samples or more, "
            f"got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    first, second = first.double().cpu(), second.double().cpu()
    if max(len(first), len(second)) <= EXACT:
        within = [(_kernel(x, x).sum() - _kernel(x).sum()) / (len(x) * (len(x) - 1)) for x in (first, second)]
        distance = float(within[0] + within[1] - 2 * _kernel(first, second).mean())
        return {"mean": distance, "standard_deviation": 0.0, "subsets": 1, "subset_size": min(len(first), len(second))}
    subset_size = min(subset_size, len(first), len(second))
    score = kid_features_to_metric(
        first, second, kid_subsets=subsets, kid_subset_size=subset_size, rng_seed=seed, verbose=False
    )
    return {
        "mean": score[KEY_METRIC_KID_MEAN],
        "standard_deviation": score[KEY_METRIC_KID_STD],
        "subsets": subsets,
        "subset_size": subset_size,
    }


def _kernel(x: Tensor, y: Tensor | None = None) -> Tensor:
    """The kernel [n, m] of all pairs; without `y` [n], of each sample with itself."""
    product = x @ y.T if y is not None else x.square().sum(dim=1)
    return (product / x.shape[1] + 1) ** 3


def _check(metric: str, features: Tensor) -> None:
    if features.ndim != 2:
        raise ValueError(f"{metric}: expected [samples, d], got shape {tuple(features.shape)}")
    if not features.isfinite().all():
        row = int((~features.isfinite()).any(dim=1).nonzero()[0])
        raise ValueError(f"{metric}: features of sample {row} are not finite")
