"""`python -m reports.generation`: generators beside the paper's Table 2, what they cost, their curves and samples."""

import argparse
import sys
from pathlib import Path

from gpstoken.writing import replacing
from reports.generation_cells import ACCURACY, DASH, markdown_table, share_cell
from reports.generation_claims import claim_table, in_words, judge_all
from reports.generation_figures import draw_all
from reports.generation_results import ROWS, SAME_BUDGET, Record, budget, read_generators, samples_per_seed
from reports.generation_table import Row, as_csv, our_rows, paper_rows, table
from reports.generation_training import training_page

MOST_CLASSES = 20


def main(arguments: list[str] | None = None) -> int:
    """Writes the pages and draws what there is material for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m reports.generation", description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="results/SCALE")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    ours = read_generators(options.results)
    rows = [*our_rows(ours), *paper_rows()]
    drawn = draw_all(ours, options.results, options.output)
    texts = {
        "generation.md": page(ours, rows, drawn),
        "generation.csv": as_csv(rows),
        "generation_training.md": training_page(ours),
    }
    for name, text in texts.items():
        with replacing(options.output / name) as part:
            part.write_text(text, encoding="utf-8")
    return 0


def page(ours: dict[str, Record | None], rows: list[Row], drawn: list[str]) -> str:
    """generation.md; `drawn` are the pictures that lie beside it."""
    found = [record for record in ours.values() if record is not None]
    lines = ["# Generation", "", origin(found), ""]
    tested = judge_all(ours)
    lines += [in_words(tested), "", *table(rows), "", *(f"- {note}" for note in notes(found))]
    if any(tested.values()):
        lines += ["", "## The paper's claim, tested", "", *claim_table(tested)]
    if found:
        lines += ["", "## Can the class of a sample be told?", "", *classifier_section(found)]
        lines += ["", "## Are they copies of training images?", "", *memorisation_section(found)]
    for name in drawn:
        row = name.removesuffix(".png").removeprefix("samples_")
        caption = f"Samples of {ROWS[row][0]}" if row in ROWS else "Score against training iterations"
        lines += ["", f"![{caption}]({name})"]
    return "\n".join(lines) + "\n"


def origin(found: list[Record]) -> str:
    """Where our numbers come from, in words."""
    if not found:
        return "Ours: not measured yet."
    first = found[0]
    training, data, real = first["training"], first["data"], first["reference"]
    counted = budget(first)
    spent = f"{training['steps']:,} training steps of {training['batch_size']} samples"
    if counted is not None:
        spent = f"training of about {counted / 1000:.2f} T multiply-adds (forward)"
    commits = ", ".join(sorted({record["commit"] for record in found}))
    devices = ", ".join(sorted({"{device} ({processor})".format(**record["machine"]) for record in found}))
    images = " and ".join(f"{part['images']:,} real {name} images" for name, part in real.items())
    return (
        f"Scale **{first['scale']}**: n = {samples_per_seed(first):,} samples a seed of "
        f"{len(first['classifier']['classes'])} classes; seeds {', '.join(map(str, first['seeds']))}; "
        f"{spent} a row. Scored against {images} of "
        f"{data['class_path']}, fingerprint {data['fingerprint'][:12]}. Commit {commits}. Device {devices}, torch "
        f"{first['versions']['torch']}."
    )


def notes(found: list[Record]) -> list[str]:
    """What to know of the rows."""
    said = []
    for record in found:
        sampling, (low, high) = record["sampling"], record["sampling"]["guidance_interval"]
        trained = " and ".join(
            f"{stage['steps']:,} steps of {stage['batch_size']} ({name.replace('_', '-')})"
            for name, stage in record["generator"]["stages"].items()
        )
        said.append(
            f"{ROWS[record['row']][0]}: {sampling['sampler'].upper()} sampler ({sampling['method']}), "
            f"{sampling['steps']} steps, guidance {sampling['guidance']:g} where {low:g} ≤ t ≤ {high:g} (t = 0: "
            f"noise); trained for {trained}."
        )
    spent = {ROWS[record["row"]][0]: budget(record) for record in found}
    if spent and None not in spent.values():
        told = ", ".join(f"{name} {value / 1000:.2f} T" for name, value in spent.items())
        same = max(spent.values()) <= (1 + SAME_BUDGET) * min(spent.values())
        kind = "One budget" if same else "**Not one budget**"
        said.append(f"{kind}: multiply-adds of training, forward, all networks of a row together: {told}.")
    if found:
        said.append(
            "±: one standard error; of distances of sets, precision and recall it is between seeds, of the class "
            "accuracy over samples and seeds. In brackets: 95 % interval. Samples: seeds x samples of each."
        )
        said.append(
            "KID, FD, precision and recall bear the name of the network that they are of, and are no FID; FID, sFID "
            "and IS are of Inception. All are against the real training images. FD is left out where the samples are "
            "fewer than twice the width of the network's features."
        )
    return [
        *said,
        "**Bold**: best of its source. Tokenizer, generator: parameters; two numbers: layout + texture. The paper's "
        "rows are its Table 2 (ImageNet-1k, 256 px), as printed. Data, resolution, network size and training differ "
        "from ours: compare the order of rows within a source, not values across.",
        "TiTok-B64's FID is illegible in the slides that the table is from: a dash. The two-stage FID is 1.64 there, "
        "1.50 in the abstract on arXiv.",
    ]


def classifier_section(found: list[Record]) -> list[str]:
    """What the classifier is, how good it is on real images, and what it says of the samples."""
    first = found[0]["classifier"]
    lines = [
        "A kernel logistic regression on thumbnails of 8 x 8 pixels, trained on the real training images alone, says "
        "which class an image is of (a probe of EfficientNet's features is of no use at laptop scale: it does not know "
        "a face after the tokenizer). Its accuracy on samples is the share that it takes for the class they were asked "
        "for; chance is "
        f"{100 * first['chance']:.1f} %. In brackets: 95 % interval. Beside it is what it makes of real test images, "
        "and of the same images coded and decoded by the row's tokenizer. Samples may do better than both: they are of "
        "the classes in equal numbers and resemble training images, which come from a single scene in one class.",
        "",
    ]
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
        cells.append([ROWS[record["row"]][0], *real, samples, verdict])
    headings = ["method", "real test images", "coded and decoded", "samples", "the whole interval is"]
    lines += [*markdown_table(headings, cells, left=1), ""]
    names = list(first["per_class"])
    per_class = [
        [name, *(share_cell(record["classifier"]["per_class"].get(name)) for record in found)]
        for name in names[:MOST_CLASSES]
    ]
    lines += markdown_table(["class", *(ROWS[record["row"]][0] for record in found)], per_class, left=1)
    if len(names) > MOST_CLASSES:
        lines += ["", f"The first {MOST_CLASSES} of {len(names)} classes."]
    return lines


def memorisation_section(found: list[Record]) -> list[str]:
    """How near samples come to training images, beside how near held-out images come."""
    cells = []
    for record in found:
        near = record.get("memorisation") or {}
        for unit, part in (("levels of pixels", near), ("1 - cosine of features", near.get("by_features"))):
            if part:
                medians = [f"{part[f'{name}_median']:,.4g}" for name in ("sample", "test")]
                share = f"{100 * part['share_below_first_percentile']:.1f} %"
                cells.append([ROWS[record["row"]][0], unit, *medians, share])
        if not near:
            cells.append([ROWS[record["row"]][0], *[DASH] * 4])
    headings = ["method", "distance in", "samples", "held-out images", "samples nearer than 99 % of held-out images"]
    return [
        *markdown_table(headings, cells, left=2),
        "",
        "Median distance to the nearest real training image: Euclidean, over all levels (0 to 255) of a picture, and "
        "by the features of the network. A model that copies has samples nearer to training images than held-out "
        "images are: of one that does not, about 1 % are nearer than the first percentile of those. A blurred sample "
        "is near to much, so that a small distance is a reason to look at the pictures, where every sample has its "
        "nearest training image below it.",
    ]


if __name__ == "__main__":
    sys.exit(main())
