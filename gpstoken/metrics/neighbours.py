"""Precision and recall of generated samples, from their nearest neighbours."""

from torch import Tensor
from torch_fidelity.metric_prc import calculate_precision_recall_part

BLOCK = 1000  # rows of a block of distances, at most
ENTRIES = 5 * 10**7  # of a block, at most: 0.4 GB in float64, as 1,000 rows against 50,000 samples have


def precision_recall(real: Tensor, generated: Tensor, k: int = 3) -> tuple[float, float]:
    """Share of generated samples near real ones, and of real samples near generated ones (Kynkäänniemi et al. 2019).

    A sample is near a set if it lies in the ball around one of the set's members that reaches to that member's k-th
    nearest neighbour within the set, the border included. A block of distances has `ENTRIES` at most, however many
    samples there are; beside it both sides stand in float64.

    Args:
        real: features [N, d]; the Inception pool in published numbers.
        generated: features [M, d].
        k: neighbours, the member itself not counted.

    Returns:
        Precision and recall, each in [0, 1].

    Raises:
        ValueError: for shapes that disagree, no more than k samples, or values that are not finite.
    """
    for name, features in (("real", real), ("generated", generated)):
        if features.ndim != 2 or len(features) <= k or features.shape[1] != real.shape[-1]:
            raise ValueError(
                f"precision and recall: more than {k} {name} samples of width {real.shape[-1]} expected, "
                f"got shape {tuple(features.shape)}"
            )
        if not features.isfinite().all():
            raise ValueError(f"precision and recall: {name} features are not finite")
    # Distances come from x² + y² - 2xy: float32 would place near copies 1e-3 of their norm apart, about themselves too.
    block = max(1, min(BLOCK, ENTRIES // max(len(real), len(generated))))
    return calculate_precision_recall_part(generated.double(), real.double(), neighborhood=k, batch_size=block)
