"""Claims of the paper as tests on paired differences."""

from dataclasses import dataclass

from gpstoken.metrics import METRICS, Estimate, paired_difference
from reports.results import Result, check_same_origin


@dataclass(frozen=True)
class Verdict:
    """What our measurement says of "the second row is better than the first" in one metric.

    Attributes:
        metric: name of the metric.
        difference: second minus first, image by image.
        outcome: "holds" (the 95 % interval lies on the claimed side), "reversed" (on the other) or "not resolved".
    """

    metric: str
    difference: Estimate
    outcome: str


def judge(first: Result, second: Result, metric: str) -> Verdict:
    """Tests whether `second` is better than `first`.

    One seed or one photograph says nothing of what another would have brought: the outcome is then "not resolved"
    whatever the numbers.

    Raises:
        ValueError: if the two were not measured on the same images and seeds.
    """
    check_same_origin([first, second])
    difference = paired_difference(second.values[metric], first.values[metric], first.sources)
    low, high = difference.interval
    if not METRICS[metric]:  # less is better
        low, high = -high, -low
    outcome = "holds" if low > 0 else "reversed" if high < 0 else "not resolved"
    if min(difference.seeds, difference.clusters) < 2:
        outcome = "not resolved"
    return Verdict(metric, difference, outcome)
