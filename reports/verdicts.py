"""What came of the claims, in words and as a table."""

from typing import Any

from reports.claims import Verdict
from reports.columns import COLUMNS, heading

# Of a difference that nothing is claimed of.
PLAIN = {"holds": "better", "reversed": "worse", "not resolved": "not resolved"}


def in_words(claimed: str, tested: list[tuple[dict[str, Any], list[Verdict]]]) -> str:
    """What came of the claims, as one sentence that begins with `claimed`; then what was only measured."""
    claims = [(claim, verdicts) for claim, verdicts in tested if claim.get("kind") != "measured"]
    outcomes = {verdict.outcome for _, verdicts in claims for verdict in verdicts}
    if "reversed" in outcomes:
        start = f"{claimed} does not hold as a whole here"
    elif outcomes == {"holds"} and all(verdicts for _, verdicts in claims):
        start = f"{claimed} holds here"
    else:
        start = f"{claimed} is not settled as a whole here"
    parts = []
    for claim, verdicts in claims:
        said = []
        for outcome in ("holds", "reversed", "not resolved"):
            names = [COLUMNS[verdict.metric].heading for verdict in verdicts if verdict.outcome == outcome]
            said += [f"{'is ' * (outcome != 'holds')}{outcome} in {_and(names)}"] if names else []
        parts.append(f"{claim['text']} {_and(said) or 'was not measured'}")
    text = f"**{start}:** {'; '.join(parts)}."
    for claim, verdicts in tested:
        if claim.get("kind") == "measured" and verdicts:
            measured = [f"{COLUMNS[v.metric].heading} {_difference(v)} ({PLAIN[v.outcome]})" for v in verdicts]
            text += f" {claim['text']}: {_and(measured)}."
    return text


def claim_table(tested: list[tuple[dict[str, Any], list[Verdict]]]) -> list[str]:
    """Every claim and metric: paired difference with its 95 % interval, what is claimed of it, and the verdict."""
    lines = ["| claim | metric | difference | 95 % interval | claimed | verdict |"]
    lines.append("| --- | --- | ---: | ---: | ---: | --- |")
    for claim, verdicts in tested:
        measured = claim.get("kind") == "measured"
        for verdict in verdicts:
            low, high = verdict.difference.interval
            cells = [claim["text"], heading(verdict.metric), _difference(verdict)]
            cells.append(f"{_signed(verdict.metric, low)} to {_signed(verdict.metric, high)}")
            cells += ["nothing", PLAIN[verdict.outcome]] if measured else [_claimed(verdict), verdict.outcome]
            lines.append("| " + " | ".join(cells) + " |")
        if not verdicts:
            lines.append(f"| {claim['text']} | - | - | - | - | not measured |")
    return [
        *lines,
        "",
        "Difference: the row that the claim is made for minus the other, image by image and seed by seed, with its "
        "95 % interval (Student's t, degrees of freedom by Welch and Satterthwaite: few seeds widen it). `holds`: all "
        "of it is on the claimed side; `reversed`: all of it is on the other side; `not resolved`: it contains the "
        "bound, or there is only one seed or one photograph, which tells nothing of the chance of another. No "
        "correction for the number of tests.",
    ]


def _claimed(verdict: Verdict) -> str:
    """The side that is claimed: "> 0", or up to a margin "> -0.500"; "<" where less is better."""
    more = COLUMNS[verdict.metric].more_is_better
    bound = _signed(verdict.metric, -verdict.margin if more else verdict.margin) if verdict.margin else "0"
    return f"{'>' if more else '<'} {bound}"


def _difference(verdict: Verdict) -> str:
    return _signed(verdict.metric, verdict.difference.mean)


def _signed(metric: str, value: float) -> str:
    return f"{value * COLUMNS[metric].factor:+.{COLUMNS[metric].digits + 1}f}"


def _and(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
