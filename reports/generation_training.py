"""The page of what training and sampling a generator cost: the paper's table beside our measured runs."""

import math
from typing import Any

from reports.generation_cells import DASH, markdown_table, plain
from reports.generation_results import ROWS, Record, read_published, source

PAPER = "paper, SiT-XL/2 at ImageNet 256 px"
PAPERS_POSITIONS = {"SiT-XL/2 baseline": "256", "GPSToken two-stage": "128"}


def training_page(ours: dict[str, Record | None]) -> str:
    """generation_training.md."""
    costs = {row: record for row, record in ours.items() if record is not None and record.get("cost")}
    devices = sorted({str(record["cost"].get("device", record["machine"]["device"])) for record in costs.values()})
    measured = f"Ours: one run a row, timed on {', '.join(devices)}." if costs else "Ours: not measured yet."
    paper = read_published("generator_training_sit_xl.csv")
    return "\n".join(
        [
            "# Cost of training and sampling a generator",
            "",
            measured,
            "",
            comparison(costs),
            "",
            "## Training",
            "",
            *_training_table(ours, paper),
            "",
            "## Sampling",
            "",
            *_sampling_table(ours, paper),
            "",
            "- Network, resolution, batch and device of the two sources differ: compare rows within a source alone.",
            "- Time: the paper's as printed; ours is iterations over iterations a second. Numbers of one run, so "
            "that no interval can be given.",
            "- The paper's two-stage row does not tell its stages apart. Its FID is of 10,000 samples (Figure 7). "
            "Its batch size is not printed.",
            "- Positions: tokens, or patches of the grid, that a transformer computes with; its cost goes with them. "
            "The paper's savings are those of half as many positions.",
            "- Samples/s: whole generator, from the class to the image.",
        ]
    ) + "\n"  # fmt: skip


def comparison(costs: dict[str, Record]) -> str:
    """The paper's savings, from its table, and ours of two stages against the grid."""
    text = (
        "The paper's two-stage generator takes 42 % less training time (256 h against 439 h for a million "
        "iterations) and 35 % less memory than the grid SiT, and samples 1.93 times as fast."
    )
    if not {"two_stage", "grid"} <= costs.keys():
        return f"{text} Ours: not measured yet."
    hours, memory, speed = (
        [value(costs[row]) for row in ("two_stage", "grid")] for value in (_hours, _memory, _samples_per_second)
    )
    said = []
    if None not in hours:
        said.append(f"{_less(*hours)} training time")
    if None not in memory:
        said.append(f"{_less(*memory)} training memory (the larger stage)")
    if None not in speed:
        said.append(f"{speed[0] / speed[1]:.2f} times the samples a second")
    return f"{text} Ours against our grid SiT: {', '.join(said) or 'not measured yet'}."


def _less(ours: float, other: float) -> str:
    return f"{100 * abs(1 - ours / other):.0f} % {'less' if ours <= other else 'more'}"


def _stages(record: Record) -> dict[str, dict[str, Any]]:
    """Every stage: its parameters and budget, and what was measured of its training."""
    measured = record.get("cost", {}).get("training", {})
    return {name: stage | measured.get(name, {}) for name, stage in record["generator"]["stages"].items()}


def _stage_hours(cost: dict[str, Any]) -> float | None:
    speed = cost.get("iterations_per_second")
    return cost["steps"] / speed / 3600 if speed else None


def _hours(record: Record) -> float | None:
    hours = [_stage_hours(cost) for cost in _stages(record).values()]
    return sum(hours) if hours and None not in hours else None


def _memory(record: Record) -> float | None:
    memory = [cost.get("peak_memory_mb") for cost in _stages(record).values()]
    return max(memory) if memory and None not in memory else None


def _samples_per_second(record: Record) -> float | None:
    return record["cost"].get("inference", {}).get("samples_per_second")


def _training_table(ours: dict[str, Record | None], paper: list[dict[str, str]]) -> list[str]:
    headings = ["source", "method", "stage", "positions", "parameters", "GMACs", "batch", "iterations", "iterations/s"]
    headings += ["time (h)"]
    headings += ["peak memory (MB)", "FID-10K"]
    lines: list[list[str]] = []
    for row, (name, _) in ROWS.items():
        record = ours[row]
        for stage, cost in _stages(record).items() if record is not None else ():
            lines.append(
                [
                    source(record),
                    name,
                    stage.replace("_", "-"),
                    _positions(cost.get("network", {})),
                    f"{cost['parameters'] / 1e6:.2f} M",
                    plain(cost.get("gmacs"), ".3g"),
                    f"{cost['batch_size']:,}",
                    f"{cost['steps']:,}",
                    plain(cost.get("iterations_per_second"), ".2f"),
                    plain(_stage_hours(cost), ".3f"),
                    plain(cost.get("peak_memory_mb"), ",.0f"),
                    DASH,
                ]
            )
        if record is None:
            lines.append(["ours, not measured", name, *[DASH] * 10])
    for printed in paper:
        iterations, memory = int(printed["iterations"]), int(printed["train_memory_mb"])
        positions = PAPERS_POSITIONS[printed["method"]]
        lines.append([PAPER, printed["method"], DASH, positions, *[DASH] * 3, f"{iterations:,}"])
        lines[-1] += [printed["train_iters_per_s"]]
        lines[-1] += [printed["time_h"], f"{memory:,}", printed["fid"]]
    return markdown_table(headings, lines, left=3)


def _positions(network: dict[str, Any]) -> str:
    """Positions that the transformer computes with: tokens, or patches of the grid."""
    shape, patch = network.get("shape"), network.get("patch_size", 1)
    return plain(None if shape is None else math.prod(side // patch for side in shape), ",")


def _sampling_table(ours: dict[str, Record | None], paper: list[dict[str, str]]) -> list[str]:
    headings = ["source", "method", "steps", "network calls", "samples/s", "peak memory (MB)"]
    lines = []
    for row, (name, _) in ROWS.items():
        record = ours[row]
        cost = (record or {}).get("cost", {}).get("inference")
        if not cost:
            lines.append(["ours, not measured", name, *[DASH] * 4])
            continue
        calls = cost.get("network_calls")
        # of each stage, or of all
        calls = " + ".join(f"{number:,}" for number in calls.values()) if isinstance(calls, dict) else plain(calls, ",")
        speed, memory = plain(cost.get("samples_per_second"), ".3g"), plain(cost.get("peak_memory_mb"), ",.0f")
        lines.append([source(record), name, plain(cost.get("steps"), ","), calls, speed, memory])
    # The same numbers stand beside both of its iteration counts.
    for method, printed in {printed["method"]: printed for printed in paper}.items():
        memory = f"{int(printed['inference_memory_mb']):,}"
        lines.append([PAPER, method, DASH, DASH, printed["inference_samples_per_s"], memory])
    return markdown_table(headings, lines, left=2)
