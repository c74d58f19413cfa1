"""The columns of scores of generated samples, their cells, and a table of cells in Markdown."""

from typing import Any

from gpstoken.metrics.networks import FEATURES
from reports.columns import COLUMNS, OTHER_COLUMNS, Column
from reports.pages import DASH

# Of Inception's logits and features, and so by these names alone.
INCEPTION = {"fid": COLUMNS["fid"], "sfid": COLUMNS["sfid"], "is": Column("IS", 1, True)}
ACCURACY = "class_accuracy"
SCORES = {
    **INCEPTION,
    **{name: column for name, column in OTHER_COLUMNS.items() if not name.startswith("rfd_")},
    **{
        f"{kind}_{network}": Column(f"{kind}-{entry.label}", 3, True)
        for kind in ("precision", "recall")
        for network, entry in FEATURES.items()
    },
    ACCURACY: Column("class accuracy (%)", 1, True, 100),
}


def heading(name: str) -> str:
    """The heading of a score with its arrow: up where more is better."""
    return f"{SCORES[name].heading} {'↑' if SCORES[name].more_is_better else '↓'}"


def rounded(name: str, value: float, sign: str = "", more_digits: int = 0) -> str:
    """A score as its column prints it; `sign` "+" for differences."""
    return f"{value * SCORES[name].factor:{sign}.{SCORES[name].digits + more_digits}f}"


def score_cell(name: str, score: dict[str, Any]) -> str:
    """The mean of a score, its standard error if several seeds give one, and its 95 % interval where it is recorded."""
    text = rounded(name, score["mean"])
    if score.get("standard_error") is not None and len(score["per_seed"]) > 1:
        text += f" ± {rounded(name, score['standard_error'])}"
    if score.get("interval"):
        text += f" ({' to '.join(rounded(name, end) for end in score['interval'])})"
    return text


def share_cell(part: dict[str, Any] | None) -> str:
    """The share of images that the classifier is right about, in percent with its 95 % interval, and their number."""
    if not part:
        return DASH
    text = f"{100 * part['accuracy']:.1f} %"
    if part.get("interval"):
        text += f" ({' to '.join(f'{100 * end:.1f}' for end in part['interval'])})"
    number = part.get("images", part.get("samples"))
    photographs = f" of {part['photographs']:,} photographs" if part.get("photographs") else ""
    return text + (f", N = {number:,}{photographs}" if number else "")


def plain(value: float | None, form: str = "g") -> str:
    """A number in the format `form`, a dash where there is none."""
    return DASH if value is None else f"{value:{form}}"


def markdown_table(headings: list[str], lines: list[list[str]], left: int) -> list[str]:
    """Lines of a Markdown table; the first `left` columns are text, the others numbers."""
    rules = ["---"] * left + ["---:"] * (len(headings) - left)
    return ["| " + " | ".join(line) + " |" for line in [headings, rules, *lines]]
