"""Where the numbers of a table of generators come from, and what to know of its rows."""

from typing import Any

from reports.declared import name_of
from reports.tables.assembly import commits, devices
from reports.tables.generation_results import SAME_BUDGET, Record, budget, samples_per_seed


def origin(records: list[Record]) -> str:
    """Where our numbers of one scale come from, in words."""
    if not records:
        return "Ours: not measured yet."
    first = records[0]
    training, data, counted = first["training"], first["data"], budget(first)
    spent = f"{training['steps']:,} training steps of {training['batch_size']} samples"
    if counted is not None:
        spent = f"training of about {counted / 1000:.2f} T multiply-adds (forward)"
    images = " and ".join(f"{part['images']:,} real {name} images" for name, part in first["reference"].items())
    return (
        f"Scale **{first['scale']}**: n = {samples_per_seed(first):,} samples a seed of "
        f"{len(first['classifier']['classes'])} classes; seeds {', '.join(map(str, first['seeds']))}; {spent} a row. "
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
        kind = "One budget" if same else "**Not one budget**"
        texts.append(f"{kind}: multiply-adds of training, forward, all networks of a row together: {budgets}.")
    chances = " or ".join(f"{100 * chance:.1f} %" for chance in sorted({r["classifier"]["chance"] for r in records}))
    return texts + [f"Class accuracy by chance: {chances}."] * bool(records)


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
