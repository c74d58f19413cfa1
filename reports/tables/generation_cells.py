"""The cells of scores of generated samples."""

from typing import Any

from reports.tables.columns import ACCURACY, DASH, INCEPTION_SCORES, SCORES, rounded

__all__ = ["ACCURACY", "DASH", "INCEPTION_SCORES", "SCORES", "plain", "score_cell", "share_cell"]


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


def sampling_words(sampling: dict[str, Any]) -> str:
    """How samples were drawn, in the options of the generator's family: "SDE sampler (euler), 50 steps, ..."."""
    left = {name: value for name, value in sampling.items() if name not in ("seed", "classes") and value is not None}
    if "sampler" not in left:
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in left.items()) or "no options"
    low, high = left["guidance_interval"]
    return (
        f"{left['sampler'].upper()} sampler ({left['method']}), {left['steps']} steps, guidance {left['guidance']:g} "
        f"where {low:g} ≤ t ≤ {high:g} (t = 0: noise)"
    )
