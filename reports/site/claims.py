"""The paper's claims as cards: what it says, and what came of it at each scale."""

import re
from collections import Counter
from typing import Any

from reports.site.material import CLAIMS

SCALES = ("paper", "workstation", "laptop", "quick")  # the one that says most first
# How verdicts of a shape and colour begin; any other stands in its words alone.
CLASSES = {
    "holds": ("holds",),
    "against": ("does not hold", "reversed", "worse"),
    "unresolved": ("not resolved",),
    "untested": ("not testable", "not tested", "not measured"),
}


def claim_cards(tables: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of every claim, a row a scale, the scale that says most first; in the order of the table of claims."""
    claims: dict[str, list[dict[str, Any]]] = {}
    for row in tables.get(CLAIMS, {"rows": []})["rows"]:
        if "verdict" in row["cells"]:
            claims.setdefault(row["cells"]["claim"]["text"], []).append(row)
    return {claim: sorted(rows, key=place_of_scale) for claim, rows in claims.items()}


def tally(cards: dict[str, list[dict[str, Any]]]) -> dict[str, int]:
    """How often each verdict was given at the scale that says most."""
    order = [*CLASSES, "other"]
    verdicts = Counter(verdict_alone(rows[0]["cells"]["verdict"]["text"]) for rows in cards.values())
    return dict(sorted(verdicts.items(), key=lambda pair: (order.index(verdict_class(pair[0])), pair[0])))


def place_of_scale(row: dict[str, Any]) -> int:
    """Orders rows by their scale, the one that says most first."""
    return SCALES.index(row["scale"]) if row["scale"] in SCALES else len(SCALES)


def verdict_class(verdict: str) -> str:
    """The name of the shape and colour of a verdict: holds, against, unresolved, untested or other."""
    return next((name for name, starts in CLASSES.items() if verdict.startswith(starts)), "other")


def verdict_alone(verdict: str) -> str:
    """The verdict without the reason that may follow it."""
    return re.split(r" \(|: ", verdict)[0]
