"""Claims of the paper as tests on paired differences."""

from dataclasses import dataclass
from typing import Any

from gpstoken.metrics import Estimate, paired_difference
from reports.columns import CLAIM_METRICS, COLUMNS
from reports.results import Result, check_same_origin


@dataclass(frozen=True)
class Verdict:
    """What our measurement says of "the second row is better than the first" in one metric.

    Attributes:
        metric: name of the metric.
        difference: second minus first, image by image.
        outcome: "holds" (the 95 % interval lies on the claimed side), "reversed" (on the other) or "not resolved".
        margin: how much worse the second row may be, in units of the metric; 0 where it is to be better.
    """

    metric: str
    difference: Estimate
    outcome: str
    margin: float = 0.0


def judge(first: Result, second: Result, metric: str, margin: float = 0.0, sizes_differ: bool = False) -> Verdict:
    """Tests whether `second` is better than `first`, or not worse by more than `margin` (at least 0).

    One seed or one photograph says nothing of what another would have brought: the outcome is then "not resolved"
    whatever the numbers.

    Raises:
        ValueError: if the two were not measured on the same images and seeds, or with `sizes_differ`
            photographs and seeds.
    """
    check_same_origin([first, second], sizes_differ)
    difference = paired_difference(second.values[metric], first.values[metric], first.sources)
    resolved = min(difference.seeds, difference.clusters) > 1
    outcome = outcome_of(difference, COLUMNS[metric].more_is_better, margin) if resolved else "not resolved"
    return Verdict(metric, difference, outcome, margin)


def outcome_of(difference: Estimate, more_is_better: bool, margin: float = 0.0) -> str:
    """On which side of the bound the 95 % interval lies: "holds", "reversed", or "not resolved" if it contains it."""
    low, high = difference.interval
    if not more_is_better:
        low, high = -high, -low
    return "holds" if low > -margin else "reversed" if high < -margin else "not resolved"


def judge_all(declared: dict[str, Any], ours: dict[str, Result | None]) -> list[tuple[dict[str, Any], list[Verdict]]]:
    """Every claim of a table with its verdicts, one a metric; none where a row is missing.

    Empty where all claims are without rows.
    """
    tested = []
    for claim in declared.get("claims", []):
        pair = ours.get(claim["from"]), ours.get(claim["to"])
        names = claim.get("metrics", CLAIM_METRICS)
        names = [] if None in pair else [name for name in names if all(name in result.values for result in pair)]
        margins = declared["margins"] if claim.get("kind") == "no loss" else dict.fromkeys(names, 0.0)
        sizes_differ = declared.get("sizes_differ", False)
        tested.append((claim, [judge(*pair, name, margins[name], sizes_differ) for name in names]))
    return tested if any(verdicts for _, verdicts in tested) else []
