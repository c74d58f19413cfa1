"""Where the numbers of a table of reconstructed images come from, in words."""

from typing import Any

from reports.tables.assembly import commits, devices
from reports.tables.results import Result, clusters


def origins(declared: dict[str, Any], ours: dict[str, Result | None], left_out: list[str]) -> list[str]:
    """A paragraph of one scale: data, budget, commit and device, how many codes were used, and what was left out."""
    measured = {row: result for row, result in ours.items() if result is not None}
    return ["\n\n".join([_origin(list(measured.values())), *_codes_used(declared, measured), *left_out])]


def _origin(results: list[Result]) -> str:
    """A list of the data where the rows have several."""
    if not results:
        return "Ours: not measured. No row of ours has been evaluated yet."
    records = [result.record for result in results]
    first, training = records[0], records[0]["training"]
    seeds = ", ".join(map(str, first["seeds"]))
    budget = f"seeds {seeds}; {training['steps']} training steps of {training['batch_size']} images."
    made = f"Commit {commits(records)}. Device {devices(records)}, torch {first['versions']['torch']}."
    data = list(dict.fromkeys(_data(result) for result in results))
    if len(data) == 1:
        size, described = data[0]
        return f"Scale **{first['scale']}**: {size}; {budget} Data {described}. {made}"
    lines = [f"Scale **{first['scale']}**: {budget} {made} Data:", "", *(f"- {text}: {size}" for size, text in data)]
    return "\n".join(lines)


def _data(result: Result) -> tuple[str, str]:
    data = result.record["data"]
    name = f"{data['class_path']}" + (f" ({data['dataset']})" if "dataset" in data else "")
    crop = f" crop {data['crop']}," if "crop" in data else ""
    skipped = f", damaged files skipped: {data['skipped']}" if data.get("skipped") else ""
    place = f"{name}, split {data['split']}, {result.evaluated['image_size']} px,{crop}"
    images = f"n = {data['images']} held-out images of {clusters(data)}{skipped}"
    return images, f"{place} fingerprint {data['fingerprint'][:12]}"


def _codes_used(declared: dict[str, Any], measured: dict[str, Result]) -> list[str]:
    """How many codes of its codebook each seed of a row uses; nothing where no row of the scale has recorded it."""
    rows = []
    for row, result in measured.items():
        if codebook := result.record.get("codebook"):
            used = ", ".join(map(str, codebook["codes_used"]["per_seed"]))
            tokens = result.record["data"]["images"] * result.evaluated["num_tokens"]
            name = declared["ours"].get(row, {"name": row})["name"]  # a value of a sweep has no other
            rows.append(f"{name} {used} of {codebook['codebook_size']:,} (in {tokens:,} tokens)")
    text = f"Codes that each seed uses on the test images, of all in its codebook: {'; '.join(rows)}. Few: a collapse."
    return [text] * bool(rows)
