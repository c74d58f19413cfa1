"""What stands around the table of generators: where our numbers come from, and what to know of the rows."""

from reports.declared import name_of
from reports.tables.generation_cells import sampling_words
from reports.tables.generation_results import SAME_BUDGET, Record, budget, samples_per_seed


def origin(found: list[Record]) -> str:
    """Where our numbers of one scale come from, in words."""
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
    """What to know of our rows of one scale."""
    said = []
    for record in found:
        trained = " and ".join(
            f"{stage['steps']:,} steps of {stage['batch_size']} ({name.replace('_', '-')})"
            for name, stage in record["generator"]["stages"].items()
        )
        said.append(f"{name_of(record['row'])}: {sampling_words(record['sampling'])}; trained for {trained}.")
    spent = {name_of(record["row"]): budget(record) for record in found}
    if spent and None not in spent.values():
        told = ", ".join(f"{name} {value / 1000:.2f} T" for name, value in spent.items())
        same = max(spent.values()) <= (1 + SAME_BUDGET) * min(spent.values())
        kind = "One budget" if same else "**Not one budget**"
        said.append(f"{kind}: multiply-adds of training, forward, all networks of a row together: {told}.")
    chances = " or ".join(f"{100 * chance:.1f} %" for chance in sorted({r["classifier"]["chance"] for r in found}))
    said += [f"Class accuracy by chance: {chances}."] * bool(found)
    return said
