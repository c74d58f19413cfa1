"""The paper's claim that two stages beat one stage and the grid, tested on differences paired by seed."""

import numpy as np

from gpstoken.metrics import paired_difference
from reports.claims import Verdict, outcome_of
from reports.generation_cells import ACCURACY, DASH, SCORES, heading, markdown_table, rounded
from reports.generation_results import Record

CLAIMS = {
    "two stages over one": ("one_stage", "two_stage"),
    "two stages over the grid": ("grid", "two_stage"),
}
METRICS = ("kid_efficientnet_lite0", ACCURACY)
Tested = dict[str, list[Verdict]]


def judge(first: Record, second: Record, metric: str) -> Verdict:
    """Tests whether `second` is better than `first`: both trained and sampled with the same seeds, compared by seed.

    The interval is Student's t of the differences, with a degree of freedom less than there are seeds. One seed says
    nothing of what another would have brought: the outcome is then "not resolved" whatever the numbers.
    """
    pair = [np.array(record["scores"][metric]["per_seed"], dtype=float)[:, None] for record in (second, first)]
    difference = paired_difference(*pair, ["all samples of a seed"])
    resolved = difference.seeds > 1
    outcome = outcome_of(difference, SCORES[metric].more_is_better) if resolved else "not resolved"
    return Verdict(metric, difference, outcome)


def judge_all(ours: dict[str, Record | None]) -> Tested:
    """Every claim with its verdicts, one a metric; none where a row or the metric is missing."""
    tested = {}
    for text, names in CLAIMS.items():
        pair = [ours[name] for name in names]
        measured = [m for m in METRICS if all(record is not None and m in record["scores"] for record in pair)]
        tested[text] = [judge(*pair, metric) for metric in measured]
    return tested


def in_words(tested: Tested) -> str:
    """What came of the claims, as one sentence."""
    claimed = "The paper's claim that two stages beat one stage and the grid (FID 1.64 against 2.13 and 2.06)"
    verdicts = [verdict for group in tested.values() for verdict in group]
    if not verdicts:
        return f"{claimed}: not measured."
    outcomes = {verdict.outcome for verdict in verdicts}
    if "reversed" in outcomes:
        start = f"{claimed} does not hold as a whole here"
    elif outcomes == {"holds"} and len(verdicts) == len(CLAIMS) * len(METRICS):
        start = f"{claimed} holds here"
    else:
        start = f"{claimed} is not settled as a whole here"
    parts = []
    for text, group in tested.items():
        said = []
        for outcome in ("holds", "reversed", "not resolved"):
            names = [SCORES[v.metric].heading.removesuffix(" (%)") for v in group if v.outcome == outcome]
            said += [f"{'is ' * (outcome != 'holds')}{outcome} in {' and '.join(names)}"] if names else []
        parts.append(f"{text} {', '.join(said) or 'was not measured'}")
    return f"**{start}:** {'; '.join(parts)}."


def claim_table(tested: Tested) -> list[str]:
    """Every claim and metric: difference paired by seed with its 95 % interval, and the verdict."""
    lines = []
    for text, group in tested.items():
        for verdict in group:
            name, (low, high) = verdict.metric, verdict.difference.interval
            mean, low, high = (rounded(name, value, "+", 1) for value in (verdict.difference.mean, low, high))
            if verdict.difference.seeds < 2:
                low = high = DASH
            side = ">" if SCORES[name].more_is_better else "<"
            lines.append([text, heading(name), mean, f"{low} to {high}", f"{side} 0", verdict.outcome])
        if not group:
            lines.append([text, *[DASH] * 4, "not measured"])
    return [
        *markdown_table(["claim", "score", "difference", "95 % interval", "claimed", "verdict"], lines, left=2),
        "",
        "Difference: two-stage minus the other row, seed by seed, with its 95 % interval (Student's t, a degree of "
        "freedom less than seeds: few seeds make it wide). `holds`: all of it is on the claimed side; `reversed`: "
        "all of it is on the other side; `not resolved`: it contains 0, or there is only one seed. No correction for "
        "the number of tests. The claim is the paper's, of FID on ImageNet; tested is its direction, in these "
        "scores, at this scale.",
    ]
