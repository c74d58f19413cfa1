"""The paper's claim that two stages beat one stage and the grid, tested on differences paired by seed."""

from typing import Any

import numpy as np

from gpstoken.metrics import paired_difference
from reports.tables.claims import Tested, Verdict, outcome_of, tested
from reports.tables.columns import SCORES
from reports.tables.generation_results import Record


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


def judge_all(declared: dict[str, Any], ours: dict[str, Record | None]) -> Tested:
    """Every claim of the table of generators with its verdicts; empty where all are without rows."""

    def test(claim: dict[str, Any], first: Record, second: Record) -> list[Verdict]:
        names = [name for name in claim["metrics"] if name in first["scores"] and name in second["scores"]]
        return [judge(first, second, name) for name in names]

    return tested(declared.get("claims", []), ours, test)
