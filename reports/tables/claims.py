"""Claims of the paper as tests on paired differences."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gpstoken.metrics import Estimate, paired_difference
from reports.tables.columns import CLAIM_METRICS, METRICS
from reports.tables.results import Result, check_same_origin
from reports.tables.rows import sweep_of

Tested = list[tuple[dict[str, Any], list["Verdict"]]]


@dataclass(frozen=True)
class Verdict:
    """What our measurement says of "the second row is better than the first" in one metric.

    Attributes:
        metric: name of the metric.
        difference: second minus first, image by image.
        outcome: "holds" (the 95 % interval lies on the claimed side), "reversed" (on the other) or "not resolved".
        margin: how much worse the second row may be, in units of the metric; 0 where it is to be better, below 0 where
            it is to be better by more than that.
        both_sides: whether it may not be better by more than the margin either.
    """

    metric: str
    difference: Estimate
    outcome: str
    margin: float = 0.0
    both_sides: bool = False


def judge(
    first: Result,
    second: Result,
    metric: str,
    margin: float = 0.0,
    sizes_differ: bool = False,
    both_sides: bool = False,
    by_seed: bool = False,
) -> Verdict:
    """Tests whether `second` is better than `first`, not worse by more than `margin`, or with `both_sides` as good.

    One seed or one photograph says nothing of what another would have brought: the outcome is then "not resolved"
    whatever the numbers. With `by_seed` a seed has one number, of all its samples; the interval is Student's t of the
    differences, with a degree of freedom less than there are seeds.

    Raises:
        ValueError: if the two were not measured on the same images and seeds, or with `sizes_differ`
            photographs and seeds.
    """
    if not by_seed:  # samples have no images in common, and their rows were compared as they were read
        check_same_origin([first, second], sizes_differ)
    difference = paired_difference(second.values[metric], first.values[metric], first.sources)
    outcome = "not resolved"
    if difference.seeds > 1 and (by_seed or difference.clusters > 1):
        outcome = outcome_of(difference, METRICS[metric].more_is_better, margin, both_sides)
    return Verdict(metric, difference, outcome, margin, both_sides)


def outcome_of(difference: Estimate, more_is_better: bool, margin: float = 0.0, both_sides: bool = False) -> str:
    """On which side of the bound the 95 % interval lies: "holds", "reversed", or "not resolved" if it contains it.

    With `both_sides` "holds" is an interval within plus and minus `margin`, and "reversed" one wholly outside.
    """
    low, high = difference.interval
    if not more_is_better:
        low, high = -high, -low
    if both_sides:
        outside = low > margin or high < -margin
        return "holds" if -margin < low and high < margin else "reversed" if outside else "not resolved"
    return "holds" if low > -margin else "reversed" if high < -margin else "not resolved"


def judge_all(declared: dict[str, Any], ours: Mapping[str, Result | None]) -> Tested:
    """Every claim of a table with its verdicts, one a metric; none where a row is missing.

    Empty where all claims are without rows.
    """
    tested: Tested = []
    for claim in _claims(declared, ours):
        first, second = ours.get(claim.get("from")), ours.get(claim.get("to"))
        margins, verdicts = margins_of(declared, claim), []
        options = {"sizes_differ": declared.get("sizes_differ", False), "by_seed": claim.get("by_seed", False)}
        options["both_sides"] = claim.get("kind") == "no difference"
        if first is not None and second is not None:
            names = [
                name for name in claim.get("metrics", CLAIM_METRICS) if name in first.values and name in second.values
            ]
            verdicts = [judge(first, second, name, margins.get(name, 0.0), **options) for name in names]
        tested.append((claim, verdicts))
    return tested if any(verdicts for _, verdicts in tested) else []


def margins_of(declared: dict[str, Any], claim: dict[str, Any]) -> dict[str, float]:
    """How much worse a claim allows, by metric; below 0 where it says by how much better."""
    kind = claim.get("kind")
    if kind == "by more than":
        return {name: -margin for name, margin in claim["margins"].items()}
    return claim.get("margins", declared["margins"]) if kind in ("no loss", "no difference") else {}


def _claims(declared: dict[str, Any], ours: Mapping[str, Result | None]) -> list[dict[str, Any]]:
    """The claims with those of sweeps written out, and those at an equal count alone kept to it."""
    written = [claim for entry in declared.get("claims", []) for claim in _written_out(entry, ours)]
    return [_at_equal_count(claim, ours) for claim in written]


def _written_out(claim: dict[str, Any], ours: Mapping[str, Result | None]) -> Iterator[dict[str, Any]]:
    base = ours.get(claim.get("from"))
    if "sweep" not in claim or base is None:
        yield claim
        return
    of_base = f"{sweep_of(claim['sweep'], base):g}"
    low, high = claim["between"]
    swept = {row: result for row, result in ours.items() if result and row.startswith(f"{claim['sweep']}=")}
    values = {row: sweep_of(claim["sweep"], result) for row, result in swept.items()}
    values = {row: value for row, value in values.items() if low <= value <= high}
    for row, value in sorted(values.items(), key=lambda pair: pair[1]):
        yield claim | {"to": row, "text": claim["text"].format(value=f"{value:g}", base=of_base)}
    if not values:
        yield claim | {"text": claim["text"].format(value="other values", base=of_base)}


def _at_equal_count(claim: dict[str, Any], ours: Mapping[str, Result | None]) -> dict[str, Any]:
    pair = [ours.get(claim.get(name)) for name in ("from", "to")]
    if not claim.get("equal_tokens") or None in pair:
        return claim
    counts = [result.evaluated["num_tokens"] for result in pair]
    if counts[0] == counts[1]:
        return claim
    return claim | {"kind": "measured", "text": f"{claim['text']} ({counts[1]} tokens against {counts[0]})"}
