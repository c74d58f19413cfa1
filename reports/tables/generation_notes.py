"""What stands around the table of generators: where its numbers come from, and sections on classes and on copies."""

from typing import Any

from reports.declared import name_of
from reports.tables.assembly import commits, devices
from reports.tables.columns import ACCURACY
from reports.tables.generation_results import SAME_BUDGET, Record, budget, samples_per_seed
from reports.tables.render import pipe_table
from reports.tables.table import DASH


def origin(records: list[Record]) -> str:
    """Where our numbers of one scale come from, in words."""
    if not records:
        return "Ours: not measured yet."
    first = records[0]
    training, data, counted = first["training"], first["data"], budget(first)
    spent = f"{training['steps']:,} training steps of {training['batch_size']} samples"
    if counted is not None:
        spent = f"training takes about {counted / 1000:.2f} T multiply-adds in the forward pass"
    images = " and ".join(f"{part['images']:,} real {name} images" for name, part in first["reference"].items())
    return (
        f"Scale **{first['scale']}**: n = {samples_per_seed(first):,} samples per seed in "
        f"{len(first['classifier']['classes'])} classes; seeds {', '.join(map(str, first['seeds']))}; {spent} per row. "
        f"Scored against {images} of {data['class_path']}, fingerprint {data['fingerprint'][:12]}. "
        f"Commit {commits(records)}. Device {devices(records)}, torch {first['versions']['torch']}."
    )


def notes(records: list[Record]) -> list[str]:
    """What to know of our rows of one scale."""
    texts = []
    for record in records:
        trained = " and ".join(
            f"{stage['steps']:,} steps of {stage['batch_size']} ({name.replace('_', '-')})"
            for name, stage in record["generator"]["stages"].items()
        )
        texts.append(f"{name_of(record['row'])}: {sampling_words(record['sampling'])}; trained for {trained}.")
    spent = {name_of(record["row"]): budget(record) for record in records}
    if spent and None not in spent.values():
        budgets = ", ".join(f"{name} {value / 1000:.2f} T" for name, value in spent.items())
        same = max(spent.values()) <= (1 + SAME_BUDGET) * min(spent.values())
        kind = "Equal budgets" if same else "**Unequal budgets**"
        texts.append(
            f"{kind}: multiply-adds of the forward pass in training, summed over all networks of a row: {budgets}."
        )
    chances = " or ".join(f"{100 * chance:.1f} %" for chance in sorted({r["classifier"]["chance"] for r in records}))
    return texts + [f"Chance level of the class accuracy: {chances}."] * bool(records)


def sampling_words(sampling: dict[str, Any]) -> str:
    """How samples were drawn, in the options of the generator's family: "SDE sampler (euler), 50 steps, ..."."""
    left = {name: value for name, value in sampling.items() if name not in ("seed", "classes") and value is not None}
    if "sampler" not in left:
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in left.items()) or "no options"
    low, high = left["guidance_interval"]
    return (
        f"{left['sampler'].upper()} sampler ({left['method']}), {left['steps']} steps, guidance {left['guidance']:g} "
        f"for {low:g} ≤ t ≤ {high:g} (t = 0 is noise)"
    )


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
            verdict = "above chance" if low > part["chance"] else "around chance"
            if "bar" in part and low > part["bar"]:
                verdict = f"well above chance (over {100 * part['bar']:.1f} %)"
        lines.append([name_of(record["row"]), *real, samples, verdict])
    headings = ["method", "real test images", "reconstructions", "samples", "the 95 % interval lies"]
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
        for unit, part in (("pixel values", near), ("1 - cosine of features", near.get("by_features"))):
            if part and "left_out" in part:
                lines.append([name, unit, *[DASH] * 3])
                left_out.append(f"{name}: no distance in {unit}, because {part['left_out']}.")
            elif part:
                medians = [f"{part[f'{end}_median']:,.4g}" for end in ("sample", "test")]
                lines.append([name, unit, *medians, f"{100 * part['share_below_first_percentile']:.1f} %"])
        if not near:
            lines.append([name, *[DASH] * 4])
    headings = [
        "method",
        "distance in",
        "median of samples",
        "median of held-out images",
        "samples nearer than 99 % of held-out images",
    ]
    page = [*pipe_table(headings, lines, {0, 1}), "", declared["memorisation"]]
    return "\n".join([*page, *(f"\n{line}" for line in left_out)])
