"""The paper's claims as cards: what it says, and what came of it at each scale."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from reports.site.material import CLAIMS, Material
from reports.site.verdicts import CLASSES, verdict_alone, verdict_class

SCALES = ("paper", "workstation", "laptop", "quick")  # the one that says most first


@dataclass(frozen=True)
class Card:
    """One claim.

    Attributes:
        claim: in words.
        where: where the paper says it.
        paper: the paper's figure.
        rows: what was measured, a row of the table of claims a scale, the scale that says most first.
    """

    claim: str
    where: str
    paper: str
    rows: list[dict[str, Any]]

    @property
    def verdict(self) -> str:
        """At the scale that says most."""
        return _text(self.rows[0], "verdict")


def claim_cards(material: Material) -> list[Card]:
    """Every claim in the order of the table; none where there is no such table."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in material.tables.get(CLAIMS, {"rows": []})["rows"]:
        if "verdict" in row["cells"]:
            rows.setdefault(_text(row, "claim"), []).append(row)
    return [
        Card(claim, _text(found[0], "where"), _text(found[0], "paper"), sorted(found, key=place_of_scale))
        for claim, found in rows.items()
    ]


def tally(cards: list[Card]) -> dict[str, int]:
    """How often each verdict was given at the scale that says most."""
    order = [*CLASSES.values(), "other"]
    counted = Counter(verdict_alone(card.verdict) for card in cards)
    return dict(sorted(counted.items(), key=lambda pair: (order.index(verdict_class(pair[0])), pair[0])))


def outcome(cards: list[Card]) -> str:
    """The result in a sentence: "Of the paper's 21 claims, 8 hold at the laptop scale, 1 does not, 12 are open"."""
    kinds = Counter(verdict_class(card.verdict) for card in cards)
    scale = cards[0].rows[0]["scale"] if cards else None
    if scale is None:
        return "None of the paper's claims has been tested yet."
    open_ones = len(cards) - kinds["holds"] - kinds["against"]
    hold, against = ("hold", "holds")[kinds["holds"] == 1], ("do not", "does not")[kinds["against"] == 1]
    held = f"{kinds['holds']} {hold} at the {scale} scale, {kinds['against']} {against}"
    left = f"{open_ones} {('are', 'is')[open_ones == 1]} open: this scale does not resolve them"
    return f"Of the paper's {len(cards)} claims, {held}, and {left}."


def place_of_scale(row: dict[str, Any]) -> int:
    """Orders rows by their scale, the one that says most first."""
    return SCALES.index(row["scale"]) if row["scale"] in SCALES else len(SCALES)


def _text(row: dict[str, Any], name: str) -> str:
    return row["cells"][name]["text"] if name in row["cells"] else ""
