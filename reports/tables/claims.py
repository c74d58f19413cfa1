"""Claims of the paper as tests on paired differences, and what came of them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from gpstoken.metrics import Estimate, paired_difference
from reports.tables.assembly import listed
from reports.tables.columns import CLAIM_METRICS, METRICS, heading, rounded
from reports.tables.results import Result, check_same_origin
from reports.tables.rows import sweep_of
from reports.tables.table import Claim

# Every claim as declared, with its tests, one a metric; none where a row is missing.
Tested = list[tuple[dict[str, Any], list[Claim]]]
# Of a difference that nothing is claimed of.
PLAIN = {"holds": "better", "reversed": "worse", "not resolved": "not resolved"}


class Verdict(NamedTuple):
    """What our measurement says of "the second row is better than the first" in one metric.

    Attributes:
        difference: second minus first, image by image.
        outcome: "holds" (the 95 % interval lies on the claimed side), "reversed" (on the other) or "not resolved".
    """

    difference: Estimate
    outcome: str


def judge(
    first: Result,
    second: Result,
    metric: str,
    margin: float = 0.0,
    sizes_differ: bool = False,
    both_sides: bool = False,
    by_seed: bool = False,
) -> Verdict:
    """Tests whether `second` is better than `first`.

    One seed or one photograph says nothing of what another would have brought: the outcome is then "not resolved"
    whatever the numbers.

    Args:
        first: a row.
        second: the row that is claimed to be better.
        metric: name of the metric.
        margin: how much worse the second row may be, in units of the metric; 0 where it is to be better, below 0 where
            it is to be better by more than that.
        sizes_differ: whether the images may be of other sizes, of the same views of the same photographs.
        both_sides: whether it may not be better by more than the margin either.
        by_seed: whether a seed has one number, of all its samples; the interval is Student's t of the differences, with
            a degree of freedom less than there are seeds.

    Raises:
        ValueError: if the two were not measured on the same images and seeds, or with `sizes_differ`
            photographs and seeds.
    """
    if not by_seed:  # samples have no images in common, and their rows were compared as they were read
        check_same_origin([first, second], sizes_differ)
    difference = paired_difference(second.values[metric], first.values[metric], first.sources)
    if difference.seeds < 2 or (difference.clusters < 2 and not by_seed):
        return Verdict(difference, "not resolved")
    low, high = difference.interval
    if not METRICS[metric].more_is_better:
        low, high = -high, -low
    if both_sides:
        holds, is_reversed = -margin < low and high < margin, low > margin or high < -margin
    else:
        holds, is_reversed = low > -margin, high < -margin
    return Verdict(difference, "holds" if holds else "reversed" if is_reversed else "not resolved")


def judge_all(declared: dict[str, Any], ours: Mapping[str, Result | None], scale: str = "") -> Tested:
    """Every claim of a table with its tests; empty where all claims are without rows.

    Args:
        declared: the table.
        ours: the result of every row.
        scale: of the rows.
    """
    tested: Tested = []
    for claim in _claims(declared, ours):
        first, second = ours.get(claim.get("from")), ours.get(claim.get("to"))
        lines = []
        if first is not None and second is not None:
            names = claim.get("metrics", CLAIM_METRICS)
            names = [name for name in names if name in first.values and name in second.values]
            lines = [_test(declared, claim, first, second, name, scale) for name in names]
        tested.append((claim, lines))
    return tested if any(lines for _, lines in tested) else []


def _test(
    declared: dict[str, Any], claim: dict[str, Any], first: Result, second: Result, metric: str, scale: str
) -> Claim:
    kind, by_seed = claim.get("kind"), claim.get("by_seed", False)
    margin, both_sides = margins_of(declared, claim).get(metric, 0.0), kind == "no difference"
    sizes_differ = declared.get("sizes_differ", False)
    difference, outcome = judge(first, second, metric, margin, sizes_differ, both_sides, by_seed)
    column = METRICS[metric]
    mean, *ends = (round(value * column.factor, column.digits + 1) for value in (difference.mean, *difference.interval))
    return Claim(
        text=claim["text"],
        metric=heading(metric),
        difference=mean,
        # One seed gives no interval, whatever the photographs.
        interval=tuple(ends) if difference.seeds > 1 else None,
        claimed="nothing" if kind == "measured" else _claimed(metric, margin, both_sides),
        verdict=PLAIN[outcome] if kind == "measured" else outcome,
        digits=column.digits + 1,
        results=(first.path.as_posix(), second.path.as_posix()),
        scale=scale,
        of=_of(difference, by_seed),
    )


def _of(difference: Estimate, by_seed: bool) -> str:
    seeds = f"{difference.seeds} seed{'s' * (difference.seeds != 1)}"
    if by_seed:
        return f"paired difference by seed, {seeds}"
    clusters = f"{difference.clusters} {'photograph' + 's' * (difference.clusters != 1)}"
    return f"paired difference by image and seed, {difference.count} images of {clusters}, {seeds}"


def _claimed(metric: str, margin: float, both_sides: bool) -> str:
    """The side that is claimed: "> 0", or up to a margin "> -0.500"; "<" where less is better; "within ±0.500"."""
    if both_sides:
        return f"within ±{rounded(metric, margin, '', 1)}"
    more = METRICS[metric].more_is_better
    bound = rounded(metric, -margin if more else margin, "+", 1) if margin else "0"
    return f"{'>' if more else '<'} {bound}"


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


COUNTED = {
    "holds": ("holds", "hold"),
    "reversed": ("is reversed", "are reversed"),
    "not resolved": ("is not resolved", "are not resolved"),
}
AS_A_WHOLE = {"holds": "holds", "does not hold": "does not hold", "not resolved": "is open", "not measured": "is open"}


def finding(claimed: str, tested: Tested, scale: str) -> str:
    """What came of the claims of a table, as one sentence that begins with `claimed`."""
    claims = [lines for claim, lines in tested if claim.get("kind") != "measured"]
    outcomes = Counter(line.verdict for lines in claims for line in lines)
    if not outcomes:
        return f"{claimed} was not measured at the {scale} scale."
    counts = [f"{outcomes[name]} {verbs[outcomes[name] > 1]}" for name, verbs in COUNTED.items() if outcomes[name]]
    missing = sum(not lines for lines in claims)
    left = f"; {missing} of {len(claims)} comparisons could not be made" * bool(missing)
    text = f"**{claimed} {AS_A_WHOLE[whole(claims)]} at the {scale} scale**"
    return f"{text}: of {outcomes.total()} tests {listed(counts)}{left}."


def whole(claims: list[list[Claim]]) -> str:
    """What came of several claims together: it holds if every one does in every metric, and not if one is reversed."""
    outcomes = {line.verdict for lines in claims for line in lines}
    if not outcomes:
        return "not measured"
    if "reversed" in outcomes:
        return "does not hold"
    return "holds" if outcomes == {"holds"} and all(claims) else "not resolved"


def as_lines(tested: Tested, scale: str) -> list[Claim]:
    """Every test as a line of the table of claims; a claim without rows has one too."""
    return [line for claim, lines in tested for line in lines or [Claim(claim["text"], scale=scale)]]
