"""The paper's claims as cards: what it says, and what came of it at each scale."""

import math
import re
from collections import Counter
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Card:
    """One claim.

    Attributes:
        claim: in words.
        verdict: at the scale that says most.
        rows: what was measured, a row of the table of claims a scale, the scale that says most first.
    """

    claim: str
    verdict: str
    rows: list[dict[str, Any]]


def claim_cards(tables: dict[str, dict[str, Any]]) -> list[Card]:
    """Every claim in the order of the table; none where there is no such table."""
    claims: dict[str, list[dict[str, Any]]] = {}
    for row in tables.get(CLAIMS, {"rows": []})["rows"]:
        if "verdict" in row["cells"]:
            claims.setdefault(row["cells"]["claim"]["text"], []).append(row)
    ordered = {claim: sorted(rows, key=place_of_scale) for claim, rows in claims.items()}
    return [Card(claim, rows[0]["cells"]["verdict"]["text"], rows) for claim, rows in ordered.items()]


def tally(cards: list[Card]) -> dict[str, int]:
    """How often each verdict was given at the scale that says most."""
    order = [*CLASSES, "other"]
    verdicts = Counter(verdict_alone(card.verdict) for card in cards)
    return dict(sorted(verdicts.items(), key=lambda pair: (order.index(verdict_class(pair[0])), pair[0])))


def outcome(cards: list[Card]) -> str:
    """The result in a sentence: "Of the paper's 21 claims, 8 hold at the laptop scale, 1 does not, 12 are open"."""
    scale = cards[0].rows[0]["scale"] if cards else None
    if scale is None:
        return "None of the paper's claims has been tested yet."
    kinds = Counter(verdict_class(card.verdict) for card in cards)
    holds, against = kinds["holds"], kinds["against"]
    unclear = len(cards) - holds - against
    return (
        f"Of the paper's {len(cards)} claims, {holds} {'holds' if holds == 1 else 'hold'} at the {scale} scale, "
        f"{against} {'does' if against == 1 else 'do'} not, "
        f"and {unclear} {'is' if unclear == 1 else 'are'} open: this scale does not resolve them."
    )


def place_of_scale(row: dict[str, Any]) -> int:
    """Orders rows by their scale, the one that says most first."""
    return SCALES.index(row["scale"]) if row["scale"] in SCALES else len(SCALES)


def verdict_class(verdict: str) -> str:
    """The name of the shape and colour of a verdict: holds, against, unresolved, untested or other."""
    return next((name for name, starts in CLASSES.items() if verdict.startswith(starts)), "other")


def verdict_alone(verdict: str) -> str:
    """The verdict without the reason that may follow it."""
    return re.split(r" \(|: ", verdict)[0]


def digits_of(interval: list[float] | None) -> str:
    """The format of a difference with a sign, with as many decimals as tell three digits of its interval's width."""
    width = interval[1] - interval[0] if interval else 0
    return f"%+.{max(0, 2 - math.floor(math.log10(width)))}f" if width > 0 else "%+.4g"
