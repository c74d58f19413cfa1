"""What came of the claims, in words and as rows of a table."""

from pathlib import Path
from typing import Any

from gpstoken.metrics import Estimate
from reports.tables.claims import Tested, Verdict
from reports.tables.columns import column_of, heading, rounded
from reports.tables.table import Claim

# Of a difference that nothing is claimed of.
PLAIN = {"holds": "better", "reversed": "worse", "not resolved": "not resolved"}
NOTE = (
    "Difference: the row that the claim is made for minus the other, with its 95 % interval. `holds`: all of it is on "
    "the claimed side; `reversed`: all of it is on the other side; `not resolved`: it contains the bound, or there is "
    "too little to tell the chance of another outcome. No correction for the number of tests. "
)
BY_IMAGE = (
    "Image by image and seed by seed; Student's t, degrees of freedom by Welch and Satterthwaite: few seeds widen it. "
    "One seed or one photograph resolves nothing."
)
EQUIVALENCE = (
    " `within ±`: no difference is claimed. It holds if all of the interval is within the margin, and is reversed if "
    "all of it is outside."
)


def in_words(claimed: str, tested: Tested) -> str:
    """What came of the claims, as one sentence that begins with `claimed`; then what was only measured."""
    if not tested:
        return f"{claimed}: not measured."
    claims = [(claim, verdicts) for claim, verdicts in tested if claim.get("kind") != "measured"]
    start = f"{claimed} {AS_A_WHOLE[whole(claims)]}"
    parts = []
    for claim, verdicts in claims:
        said = []
        for outcome in ("holds", "reversed", "not resolved"):
            names = [column_of(verdict.metric).heading for verdict in verdicts if verdict.outcome == outcome]
            said += [f"{'is ' * (outcome != 'holds')}{outcome} in {_and(names)}"] if names else []
        parts.append(f"{claim['text']} {_and(said) or 'was not measured'}")
    text = f"**{start}:** {'; '.join(parts)}." if parts else f"{claimed} is not tested here."
    for claim, verdicts in tested:
        if claim.get("kind") == "measured" and verdicts:
            measured = [f"{column_of(v.metric).heading} {_difference(v)} ({PLAIN[v.outcome]})" for v in verdicts]
            text += f" {claim['text']}: {_and(measured)}."
    return text


AS_A_WHOLE = {
    "holds": "holds here",
    "does not hold": "does not hold as a whole here",
    "not resolved": "is not settled as a whole here",
    "not measured": "was not measured here",
}


def whole(claims: Tested) -> str:
    """What came of several claims together: it holds if every one does in every metric, and not if one is reversed."""
    outcomes = {verdict.outcome for _, verdicts in claims for verdict in verdicts}
    if not outcomes:
        return "not measured"
    if "reversed" in outcomes:
        return "does not hold"
    return "holds" if outcomes == {"holds"} and all(verdicts for _, verdicts in claims) else "not resolved"


def as_claims(tested: Tested, files: dict[str, Path | None], scale: str) -> list[Claim]:
    """Every claim and metric as a line of the table of claims.

    Args:
        tested: the claims with their verdicts.
        files: the result file of every row.
        scale: of the rows.
    """
    lines = []
    for claim, verdicts in tested:
        if not verdicts:
            lines.append(Claim(claim["text"], scale=scale))
        found = tuple(file.as_posix() for row in (claim.get("from"), claim.get("to")) if (file := files.get(row)))
        for verdict in verdicts:
            column, measured = column_of(verdict.metric), claim.get("kind") == "measured"
            digits = column.digits + 1
            printed = [
                round(each * column.factor, digits) for each in (verdict.difference.mean, *verdict.difference.interval)
            ]
            lines.append(
                Claim(
                    text=claim["text"],
                    metric=heading(verdict.metric),
                    difference=printed[0],
                    # one seed gives no interval, whatever the photographs
                    interval=(printed[1], printed[2]) if verdict.difference.seeds > 1 else None,
                    claimed="nothing" if measured else _claimed(verdict),
                    verdict=PLAIN[verdict.outcome] if measured else verdict.outcome,
                    digits=digits,
                    results=found,
                    scale=scale,
                    of=_of(verdict.difference, claim),
                )
            )
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
    more = column_of(verdict.metric).more_is_better
    bound = rounded(verdict.metric, -verdict.margin if more else verdict.margin, "+", 1) if verdict.margin else "0"
    return f"{'>' if more else '<'} {bound}"


def _difference(verdict: Verdict) -> str:
    return rounded(verdict.metric, verdict.difference.mean, "+", 1)


def _and(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
