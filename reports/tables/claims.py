"""Claims of the paper as tests on paired differences, and what came of them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from math import inf, isinf
from typing import Any, NamedTuple

from gpstoken.metrics import Estimate, paired_difference
from reports.tables.columns import CLAIM_METRICS, METRICS, rounded
from reports.tables.results import Result, check_same, check_same_origin
from reports.tables.rows import sweep_of
from reports.tables.table import Claim
from reports.tables.texts import listed, paragraph

# Every claim as declared, with its tests, one a metric; none where a row is missing.
Tested = list[tuple[dict[str, Any], list[Claim]]]
# Of a difference that nothing is claimed of.
PLAIN = {"holds": "better", "reversed": "worse", "not resolved": "not resolved"}
VERBS = {
    "holds": ("holds", "hold"),
    "reversed": ("is reversed", "are reversed"),
    "not resolved": ("is not resolved", "are not resolved"),
}


class Verdict(NamedTuple):
    """What our measurement says of a claim about two rows in one metric."""

    difference: Estimate  # second minus first, image by image
    outcome: str  # "holds" (the 95 % interval lies on the claimed side), "reversed" (on the other) or "not resolved"


def judge(
    first: Result,
    second: Result,
    metric: str,
    bounds: tuple[float, float] = (0.0, inf),
    sizes_differ: bool = False,
    by_seed: bool = False,
    one_model: bool = False,
    budgets_differ: bool = False,
) -> Verdict:
    """Tests whether `second` is better than `first` by what lies between `bounds`, in units of the metric.

    One seed or one photograph says nothing of what another would have brought: the outcome is then "not resolved"
    whatever the numbers. With `one_model`, nothing is said but of the weights at hand, and one seed is enough.
    With `sizes_differ`, images may be of other sizes, of the same views of the same photographs; with `budgets_differ`,
    rows need not have been trained alike.
    With `by_seed`, a seed has one number, of all its samples; the interval is Student's t of the differences, with a
    degree of freedom less than there are seeds.

    Raises:
        ValueError: if the two were not measured on the same images and seeds, or with `sizes_differ`
            photographs and seeds.
    """
    if by_seed:  # samples have no images in common, and their rows were compared as they were read
        check_same([first, second], "seeds")
    else:
        check_same_origin([first, second], sizes_differ, budgets_differ)
    difference = paired_difference(second.values[metric], first.values[metric], first.sources)
    if (difference.seeds < 2 and not one_model) or (difference.clusters < 2 and not by_seed):
        return Verdict(difference, "not resolved")
    low, high = difference.interval
    if not METRICS[metric].more_is_better:
        low, high = -high, -low
    least, most = bounds
    if least < low and high < most:
        return Verdict(difference, "holds")
    return Verdict(difference, "reversed" if high < least or low > most else "not resolved")


def bounds_of(declared: dict[str, Any], claim: dict[str, Any], metric: str) -> tuple[float, float]:
    """The least and the most that the second row of a claim may be better by; below 0: that it may be worse by."""
    kind, margins = claim.get("kind"), claim.get("margins", declared.get("margins", {}))
    if kind == "by more than":
        return margins[metric], inf
    if kind in ("no loss", "no difference"):
        return -margins[metric], margins[metric] if kind == "no difference" else inf
    return 0.0, inf


def judge_all(declared: dict[str, Any], ours: Mapping[str, Result]) -> Tested:
    """Every claim of a table with its tests on our rows; empty where all claims are without rows."""
    tested: Tested = []
    written = [claim for entry in declared.get("claims", []) for claim in _written_out(entry, ours)]
    for claim in written:
        first, second = ours.get(claim.get("from")), ours.get(claim.get("to"))
        lines = []
        if first is not None and second is not None:
            claim = _at_equal_count(claim, first, second)
            metrics = claim.get("metrics", CLAIM_METRICS)
            both = first.values.keys() & second.values.keys()
            lines = [_test(declared, claim, first, second, metric) for metric in metrics if metric in both]
        tested.append((claim, lines))
    return tested if any(lines for _, lines in tested) else []


def _test(declared: dict[str, Any], claim: dict[str, Any], first: Result, second: Result, metric: str) -> Claim:
    measured, by_seed = claim.get("kind") == "measured", claim.get("by_seed", False)
    bounds, column = bounds_of(declared, claim, metric), METRICS[metric]
    flags = {name: declared.get(name, False) for name in ("sizes_differ", "one_model", "budgets_differ")}
    difference, outcome = judge(first, second, metric, bounds, by_seed=by_seed, **flags)
    mean, *ends = (round(value * column.factor, column.digits + 1) for value in (difference.mean, *difference.interval))
    return Claim(
        text=claim["text"],
        metric=column.printed,
        difference=mean,
        # One seed gives no interval of what another would bring, whatever the photographs.
        interval=tuple(ends) if difference.seeds > 1 or flags["one_model"] else None,
        claimed="nothing" if measured else _claimed(metric, *bounds),
        verdict=PLAIN[outcome] if measured else outcome,
        digits=column.digits + 1,
        results=(first.path.as_posix(), second.path.as_posix()),
        scale=first.record["scale"],
        of=paragraph("compared", difference, by_seed),
    )


def _claimed(metric: str, least: float, most: float) -> str:
    """The side that is claimed: "> 0", or up to a margin "> -0.500"; "<" where less is better; "within ±0.500"."""
    if not isinf(most):
        return f"within ±{rounded(metric, most, '', 1)}"
    more = METRICS[metric].more_is_better
    bound = rounded(metric, least if more else -least, "+", 1) if least else "0"
    return f"{'>' if more else '<'} {bound}"


def _written_out(claim: dict[str, Any], ours: Mapping[str, Result]) -> list[dict[str, Any]]:
    """A claim of a sweep as one claim for each of its values; any other as it is."""
    base, sweep = ours.get(claim.get("from")), claim.get("sweep")
    if sweep is None or base is None:
        return [claim]
    values = {row: sweep_of(sweep, result) for row, result in ours.items() if row.startswith(f"{sweep}=")}
    low, high = claim["between"]
    found = [(f"{value:g}", {"to": row}) for row, value in values.items() if low <= value <= high]
    text, of_base = claim["text"], f"{sweep_of(sweep, base):g}"
    return [
        claim | to | {"text": text.format(value=value, base=of_base)} for value, to in found or [("other values", {})]
    ]


def _at_equal_count(claim: dict[str, Any], first: Result, second: Result) -> dict[str, Any]:
    """What is claimed at an equal token count alone is only measured at another."""
    counts = [result.evaluated["num_tokens"] for result in (second, first)] if claim.get("equal_tokens") else [0, 0]
    if counts[0] == counts[1]:
        return claim
    return claim | {"kind": "measured", "text": f"{claim['text']} ({counts[0]} tokens against {counts[1]})"}


def finding(declared: dict[str, Any], tested: Tested, scale: str) -> str:
    """What came of the claims of a table, as one sentence that begins with what is `claimed`; empty without that."""
    if "claimed" not in declared:
        return ""
    claimed = declared["claimed"]
    claims = [lines for claim, lines in tested if claim.get("kind") != "measured"]
    outcomes = [line.verdict for lines in claims for line in lines]
    if not outcomes:
        return f"{claimed} was not measured at the {scale} scale."
    missing = sum(not lines for lines in claims)
    left = f"; {missing} of {len(claims)} comparisons could not be made" * bool(missing)
    verdict = whole(claims) if whole(claims) in ("holds", "does not hold") else "is open"
    return f"**{claimed} {verdict} at the {scale} scale**: of {len(outcomes)} tests {counted(outcomes, VERBS)}{left}."


def counted(outcomes: Iterable[str], verbs: dict[str, tuple[str, str]]) -> str:
    """How many there are of each, with the verb of one and of several: "2 hold and 1 is reversed"."""
    numbers = Counter(outcomes)
    return listed([f"{numbers[name]} {forms[numbers[name] > 1]}" for name, forms in verbs.items() if numbers[name]])


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
