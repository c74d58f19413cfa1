"""Precision and recall of generated samples, from their nearest neighbours."""

from torch import Tensor
from torch_fidelity.metric_prc import calculate_precision_recall_part

BLOCK = 1000  # the most rows of a block of distances
ENTRIES = 5 * 10**7  # the most entries of a block: 0.4 GB in float64, as for 1,000 rows and 50,000 samples


def precision_recall(real: Tensor, generated: Tensor, k: int = 3) -> tuple[float, float]:
    """Share of generated samples near real ones, and of real samples near generated ones (Kynkäänniemi et al. 2019).

    A sample is near a set if it lies in the ball around one of the set's members whose radius is the distance of that
    member to its k-th nearest neighbour within the set, the border included. A block of distances has at most `ENTRIES`
    entries for any number of samples; in addition both sides are held in float64.

    Args:
        real: features [N, d]; the Inception pool in published numbers.
        generated: features [M, d].
        k: number of neighbours, not counting the member itself.

    Returns:
        Precision and recall, each in [0, 1].

    Raises:
        ValueError: for shapes that disagree, k samples or fewer, or values that are not finite.
    """
    for name, features in (("real", real), ("generated", generated)):
        if features.ndim != 2 or len(features) <= k or features.shape[1] != real.shape[-1]:
            raise ValueError(
                f"precision and recall: expected more than {k} {name} samples of width {real.shape[-1]}, "
                f"got shape {tuple(features.shape)}"
            )
        if not features.isfinite().all():
            raise ValueError(f"precision and recall: {name} features are not finite")
    # Distances are x² + y² - 2xy: in float32 a copy, even a sample and itself, would lie 1e-3 of the norm apart.
    block = max(1, min(BLOCK, ENTRIES // max(len(real), len(generated))))
    return calculate_precision_recall_part(generated.double(), real.double(), neighborhood=k, batch_size=block)
