"""What stands around a table of reconstructed images: where our numbers come from, and what to know of the rows."""

from typing import Any

from reports.tables.columns import COLUMNS, IMAGE_COLUMNS
from reports.tables.results import Result, clusters

# Up to so many photographs, a mean stands for those photographs alone.
FEW_PHOTOGRAPHS = 3


def origin(found: list[Result]) -> str:
    """Where our numbers of one scale come from, in words; a list of the data where the rows have several."""
    if not found:
        return "Ours: not measured. No row of ours has been evaluated yet."
    records = [result.record for result in found]
    first = records[0]
    training, seeds = first["training"], ", ".join(map(str, first["seeds"]))
    commits = ", ".join(sorted({record["commit"] for record in records}))
    devices = ", ".join(sorted({"{device} ({processor})".format(**record["machine"]) for record in records}))
    budget = f"seeds {seeds}; {training['steps']} training steps of {training['batch_size']} images."
    made = f"Commit {commits}. Device {devices}, torch {first['versions']['torch']}."
    data = list(dict.fromkeys(_data(result) for result in found))
    if len(data) == 1:
        size, described = data[0]
        return f"Scale **{first['scale']}**: {size}; {budget} Data {described}. {made}"
    lines = [f"Scale **{first['scale']}**: {budget} {made} Data:", "", *(f"- {text}: {size}" for size, text in data)]
    return "\n".join(lines)


def caption(found: list[Result]) -> str:
    """Scale, commit and seeds of our rows of one scale, for a caption."""
    if not found:
        return "Ours: not measured."
    commits = ", ".join(sorted({result.record["commit"] for result in found}))
    first = found[0].record
    return f"Ours: {first['scale']} scale, commit {commits}, seeds {', '.join(map(str, first['seeds']))}."


def _data(result: Result) -> tuple[str, str]:
    data = result.record["data"]
    name = f"{data['class_path']}" + (f" ({data['dataset']})" if "dataset" in data else "")
    crop = f" crop {data['crop']}," if "crop" in data else ""
    skipped = f", damaged files skipped: {data['skipped']}" if data.get("skipped") else ""
    return (
        f"n = {data['images']} held-out images of {clusters(data)}{skipped}",
        f"{name}, split {data['split']}, {result.evaluated['image_size']} px,{crop} "
        f"fingerprint {data['fingerprint'][:12]}",
    )


def notes(declared: dict[str, Any], found: list[Result]) -> list[str]:
    """What to know of the rows, and only what applies to them."""
    several = " and data set" if "datasets" in declared else ""
    said = []
    if found:
        said.append(
            "±: one standard error of the mean over images and seeds. Images of one photograph (faces: of one person) "
            "count as one cluster, and the spread between seeds is added; the paper prints none."
        )
    if any(result.record["data"]["photographs"] <= FEW_PHOTOGRAPHS for result in found):
        said.append(
            "**Demonstration only**: so few photographs stand for themselves alone, and the ± beside them hardly tells "
            "anything of others."
        )
    if any(result.record.get("scores", {}).keys() & (COLUMNS.keys() - IMAGE_COLUMNS.keys()) for result in found):
        said.append(
            "FID, sFID and KID-Inception are distances of Inception features; rFD, FD and KID with another network's "
            "name are of that network's and are no FID. rec. and r: reconstructions against the same images. N: images "
            "a seed; their ± is between seeds. Fréchet distances of few images come out too large, the more so the "
            "fewer: compare them at equal N alone."
        )
    if "numbers" in declared["columns"] and any(result.evaluated["code"] for result in found):
        said.append("Numbers: tokens x numbers a token, or tokens x bits where a token is an entry of a codebook.")
    paper = f"The paper's rows are {declared['paper']}, as printed. " if declared["published"] else ""
    caution = f"The paper has {declared['paper']}."
    if paper:
        caution = (
            f"Data, resolution, network size and training differ from ours: compare the order of rows within a "
            f"source{several}, not values across."
        )
    return [*said, f"**Bold**: best of its source{several}. {paper}{caution}", *declared.get("notes", [])]


def codes_used(declared: dict[str, Any], ours: dict[str, Result | None], scale: str) -> list[str]:
    """How many codes of its codebook each seed of a row uses; nothing where no row of the scale has recorded it."""
    rows = []
    for row, result in ours.items():
        if result is not None and (codebook := result.record.get("codebook")):
            used = ", ".join(map(str, codebook["codes_used"]["per_seed"]))
            tokens = result.record["data"]["images"] * result.evaluated["num_tokens"]
            name = declared["ours"].get(row, {"name": row})["name"]  # a value of a sweep has no other
            rows.append(f"{name} {used} of {codebook['codebook_size']:,} (in {tokens:,} tokens)")
    if not rows:
        return []
    return [
        f"Codes of its codebook that each seed uses on the test images, at {scale} scale: {'; '.join(rows)}. Where "
        "they are few the codebook has collapsed, and the row tells little of the architecture."
    ]
