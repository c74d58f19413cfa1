"""Sections of the page of generators: whether the class of a sample can be told, and whether samples are copies."""

from reports.declared import name_of
from reports.tables.columns import ACCURACY, DASH
from reports.tables.generation_cells import share_cell
from reports.tables.generation_results import Record
from reports.tables.render_markdown import pipe_table

MOST_CLASSES = 20


def classifier_section(found: list[Record]) -> str:
    """What the classifier is, how good it is on real images, and what it says of the samples."""
    first = found[0]["classifier"]
    said = (
        "A kernel logistic regression on thumbnails of 8 x 8 pixels, trained on the real training images alone, says "
        "which class an image is of (a probe of EfficientNet's features is of no use at laptop scale: it does not know "
        "a face after the tokenizer). Its accuracy on samples is the share that it takes for the class they were asked "
        "for; chance is "
        f"{100 * first['chance']:.1f} %. In brackets: 95 % interval. Beside it is what it makes of real test images, "
        "and of the same images coded and decoded by the row's tokenizer. Samples may do better than both: they are of "
        "the classes in equal numbers and resemble training images, which come from a single scene in one class."
    )
    cells = []
    for record in found:
        part, score = record["classifier"], record["scores"].get(ACCURACY)
        real = [share_cell(part.get(name)) for name in ("real_test", "reconstruction")]
        samples = verdict = DASH
        if score is not None:
            samples = share_cell({"accuracy": score["mean"], "interval": score["interval"]})
            low = score["interval"][0]
            verdict = "above chance" if low > part["chance"] else "not told from chance"
            if "bar" in part and low > part["bar"]:
                verdict = f"well above chance (over {100 * part['bar']:.1f} %)"
        cells.append([name_of(record["row"]), *real, samples, verdict])
    headings = ["method", "real test images", "coded and decoded", "samples", "the whole interval is"]
    lines = [said, "", *pipe_table(headings, cells, {0}), ""]
    names = list(first["per_class"])
    per_class = [
        [name, *(share_cell(record["classifier"]["per_class"].get(name)) for record in found)]
        for name in names[:MOST_CLASSES]
    ]
    lines += pipe_table(["class", *(name_of(record["row"]) for record in found)], per_class, {0})
    if len(names) > MOST_CLASSES:
        lines += ["", f"The first {MOST_CLASSES} of {len(names)} classes."]
    return "\n".join(lines)


def memorisation_section(found: list[Record]) -> str:
    """How near samples come to training images, beside how near held-out images come."""
    cells, left_out = [], []
    for record in found:
        near = record.get("memorisation") or {}
        for unit, part in (("levels of pixels", near), ("1 - cosine of features", near.get("by_features"))):
            if part and "left_out" in part:
                cells.append([name_of(record["row"]), unit, *[DASH] * 3])
                left_out.append(f"{name_of(record['row'])}: not in {unit}, for {part['left_out']}.")
            elif part:
                medians = [f"{part[f'{name}_median']:,.4g}" for name in ("sample", "test")]
                share = f"{100 * part['share_below_first_percentile']:.1f} %"
                cells.append([name_of(record["row"]), unit, *medians, share])
        if not near:
            cells.append([name_of(record["row"]), *[DASH] * 4])
    headings = ["method", "distance in", "samples", "held-out images", "samples nearer than 99 % of held-out images"]
    said = (
        "Median distance to the nearest real training image: Euclidean, over all levels (0 to 255) of a picture, and "
        "by the features of the network. A model that copies has samples nearer to training images than held-out "
        "images are: of one that does not, about 1 % are nearer than the first percentile of those. A blurred sample "
        "is near to much, so that a small distance is a reason to look at the pictures, where every sample has its "
        "nearest training image below it."
    )
    return "\n".join([*pipe_table(headings, cells, {0, 1}), "", said, *(f"\n{line}" for line in left_out)])
