"""What came of the claims, in words and as rows of a table."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from gpstoken.metrics import Estimate
from reports.tables.assembly import listed
from reports.tables.claims import Tested, Verdict
from reports.tables.columns import METRICS, heading, rounded
from reports.tables.results import Result
from reports.tables.table import Claim

# Of a difference that nothing is claimed of.
PLAIN = {"holds": "better", "reversed": "worse", "not resolved": "not resolved"}


def finding(claimed: str, tested: Tested, scale: str) -> str:
    """What came of the claims of a table, as one sentence that begins with `claimed`."""
    claims = [(claim, verdicts) for claim, verdicts in tested if claim.get("kind") != "measured"]
    outcomes = Counter(verdict.outcome for _, verdicts in claims for verdict in verdicts)
    if not outcomes:
        return f"{claimed} was not measured at the {scale} scale."
    counts = [f"{outcomes[name]} {words}" for name, words in COUNTED.items() if outcomes[name]]
    missing = sum(not verdicts for _, verdicts in claims)
    left = f"; {missing} of {len(claims)} comparisons could not be made" * bool(missing)
    text = f"**{claimed} {AS_A_WHOLE[whole(claims)]} at the {scale} scale**"
    return f"{text}: of {outcomes.total()} tests {listed(counts)}{left}."


COUNTED = {"holds": "hold", "reversed": "are reversed", "not resolved": "are not resolved"}
AS_A_WHOLE = {"holds": "holds", "does not hold": "does not hold", "not resolved": "is open", "not measured": "is open"}


def whole(claims: Tested) -> str:
    """What came of several claims together: it holds if every one does in every metric, and not if one is reversed."""
    outcomes = {verdict.outcome for _, verdicts in claims for verdict in verdicts}
    if not outcomes:
        return "not measured"
    if "reversed" in outcomes:
        return "does not hold"
    return "holds" if outcomes == {"holds"} and all(verdicts for _, verdicts in claims) else "not resolved"


def as_claims(tested: Tested, ours: Mapping[str, Result | None], scale: str) -> list[Claim]:
    """Every claim and metric as a line of the table of claims.

    Args:
        tested: the claims with their verdicts.
        ours: the result of every row.
        scale: of the rows.
    """
    lines = []
    for claim, verdicts in tested:
        if not verdicts:
            lines.append(Claim(claim["text"], scale=scale))
        rows = [result for row in (claim.get("from"), claim.get("to")) if (result := ours.get(row))]
        for verdict in verdicts:
            column, measured, difference = METRICS[verdict.metric], claim.get("kind") == "measured", verdict.difference
            digits = column.digits + 1
            mean, low, high = (
                round(value * column.factor, digits) for value in (difference.mean, *difference.interval)
            )
            line = Claim(
                text=claim["text"],
                metric=heading(verdict.metric),
                difference=mean,
                # One seed gives no interval, whatever the photographs.
                interval=(low, high) if difference.seeds > 1 else None,
                claimed="nothing" if measured else _claimed(verdict),
                verdict=PLAIN[verdict.outcome] if measured else verdict.outcome,
                digits=digits,
                results=tuple(result.path.as_posix() for result in rows),
                scale=scale,
                of=_of(difference, claim),
            )
            lines.append(line)
    return lines


def _of(difference: Estimate, claim: dict[str, Any]) -> str:
    seeds = f"{difference.seeds} seed{'s' * (difference.seeds != 1)}"
    if claim.get("by_seed"):
        return f"paired difference by seed, {seeds}"
    clusters = f"{difference.clusters} {'photograph' + 's' * (difference.clusters != 1)}"
    return f"paired difference by image and seed, {difference.count} images of {clusters}, {seeds}"


def _claimed(verdict: Verdict) -> str:
    """The side that is claimed: "> 0", or up to a margin "> -0.500"; "<" where less is better; "within ±0.500"."""
    if verdict.both_sides:
        return f"within ±{rounded(verdict.metric, verdict.margin, '', 1)}"
    more = METRICS[verdict.metric].more_is_better
    bound = rounded(verdict.metric, -verdict.margin if more else verdict.margin, "+", 1) if verdict.margin else "0"
    return f"{'>' if more else '<'} {bound}"
