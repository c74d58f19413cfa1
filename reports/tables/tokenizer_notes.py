"""What stands around a table of reconstructed images: where our numbers come from, and what to know of the rows."""

from typing import Any

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
    """What to know of the rows of this table; what holds of every table is in reading.md."""
    few = any(result.record["data"]["photographs"] <= FEW_PHOTOGRAPHS for result in found)
    told = "**Demonstration only**: so few photographs stand for themselves alone, whatever their ±."
    return [*[told] * few, *declared.get("notes", [])]


def codes_used(declared: dict[str, Any], ours: dict[str, Result | None]) -> list[str]:
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
        f"Codes that each seed uses on the test images, of all in its codebook: {'; '.join(rows)}. Few: a collapse."
    ]
