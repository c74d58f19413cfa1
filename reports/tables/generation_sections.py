"""Sections of the page of generators: whether the class of a sample can be told, and whether samples are copies."""

from typing import Any

from reports.declared import name_of
from reports.tables.columns import ACCURACY
from reports.tables.generation_results import Record
from reports.tables.render_markdown import pipe_table
from reports.tables.table import DASH

MOST_CLASSES = 20


def classifier_section(declared: dict[str, Any], records: list[Record]) -> str:
    """What the classifier is, how good it is on real images, and what it says of the samples."""
    first, lines = records[0]["classifier"], []
    for record in records:
        part, score = record["classifier"], record["scores"].get(ACCURACY)
        real = [_share(part.get(name)) for name in ("real_test", "reconstruction")]
        samples = verdict = DASH
        if score is not None:
            samples, low = _share({"accuracy": score["mean"], "interval": score["interval"]}), score["interval"][0]
            verdict = "above chance" if low > part["chance"] else "not told from chance"
            if "bar" in part and low > part["bar"]:
                verdict = f"well above chance (over {100 * part['bar']:.1f} %)"
        lines.append([name_of(record["row"]), *real, samples, verdict])
    headings = ["method", "real test images", "coded and decoded", "samples", "the whole interval is"]
    text = declared["classifier"].format(chance=f"{100 * first['chance']:.1f} %")
    page = [text, "", *pipe_table(headings, lines, {0}), ""]
    names = list(first["per_class"])
    per_class = [
        [name, *(_share(record["classifier"]["per_class"].get(name)) for record in records)]
        for name in names[:MOST_CLASSES]
    ]
    page += pipe_table(["class", *(name_of(record["row"]) for record in records)], per_class, {0})
    if len(names) > MOST_CLASSES:
        page += ["", f"The first {MOST_CLASSES} of {len(names)} classes."]
    return "\n".join(page)


def _share(part: dict[str, Any] | None) -> str:
    """The share of images that the classifier is right about, in percent with its 95 % interval, and their number."""
    if not part:
        return DASH
    text = f"{100 * part['accuracy']:.1f} %"
    if part.get("interval"):
        text += f" ({' to '.join(f'{100 * end:.1f}' for end in part['interval'])})"
    number = part.get("images", part.get("samples"))
    photographs = f" of {part['photographs']:,} photographs" if part.get("photographs") else ""
    return text + (f", N = {number:,}{photographs}" if number else "")


def memorisation_section(declared: dict[str, Any], records: list[Record]) -> str:
    """How near samples come to training images, beside how near held-out images come."""
    lines, left_out = [], []
    for record in records:
        name, near = name_of(record["row"]), record.get("memorisation") or {}
        for unit, part in (("levels of pixels", near), ("1 - cosine of features", near.get("by_features"))):
            if part and "left_out" in part:
                lines.append([name, unit, *[DASH] * 3])
                left_out.append(f"{name}: not in {unit}, for {part['left_out']}.")
            elif part:
                medians = [f"{part[f'{end}_median']:,.4g}" for end in ("sample", "test")]
                lines.append([name, unit, *medians, f"{100 * part['share_below_first_percentile']:.1f} %"])
        if not near:
            lines.append([name, *[DASH] * 4])
    headings = ["method", "distance in", "samples", "held-out images", "samples nearer than 99 % of held-out images"]
    page = [*pipe_table(headings, lines, {0, 1}), "", declared["memorisation"]]
    return "\n".join([*page, *(f"\n{line}" for line in left_out)])
