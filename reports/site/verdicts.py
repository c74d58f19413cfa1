"""Verdicts as a word and a shape, intervals as a bar: no meaning is in the colour alone."""

import math
import re

from markupsafe import Markup

# By how the verdict begins; anything else is told in its words alone.
CLASSES = {
    "holds": "holds",
    "does not hold": "against",
    "reversed": "against",
    "worse": "against",
    "not resolved": "unresolved",
    "not testable": "untested",
    "not tested": "untested",
    "not measured": "untested",
}
HALF, HEIGHT = 60, 14


def verdict_class(verdict: str) -> str:
    """The name of the shape and colour of a verdict: holds, against, unresolved, untested or other."""
    return next((name for start, name in CLASSES.items() if verdict.startswith(start)), "other")


def verdict_alone(verdict: str) -> str:
    """The verdict without the reason that may follow it."""
    return re.split(r" \(|: ", verdict)[0]


def digits_of(interval: list[float] | None) -> str:
    """The format of a difference with a sign, with as many decimals as tell three digits of its interval's width."""
    width = interval[1] - interval[0] if interval else 0
    return f"%+.{max(0, 2 - math.floor(math.log10(width)))}f" if width > 0 else "%+.4g"


def interval_bar(difference: float, low: float, high: float) -> Markup:
    """The interval against zero, drawn to its own scale: a picture beside the numbers, which say the same."""
    scale = (HALF - 6) / (max(abs(low), abs(high), abs(difference)) or 1)
    left, middle, right = (f"{HALF + value * scale:.1f}" for value in (low, difference, high))
    y = HEIGHT / 2
    return Markup(
        f'<svg class="interval" viewBox="0 0 {2 * HALF} {HEIGHT}" width="{2 * HALF}" height="{HEIGHT}" '
        f'aria-hidden="true"><line class="zero" x1="{HALF}" x2="{HALF}" y1="0" y2="{HEIGHT}"/>'
        f'<line x1="{left}" x2="{right}" y1="{y}" y2="{y}"/><line x1="{left}" x2="{left}" y1="3" y2="{HEIGHT - 3}"/>'
        f'<line x1="{right}" x2="{right}" y1="3" y2="{HEIGHT - 3}"/><circle cx="{middle}" cy="{y}" r="3.2"/></svg>'
    )
