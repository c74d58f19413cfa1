"""The table of what training and sampling a generator cost: our measured runs beside the paper's."""

import math
from pathlib import Path
from typing import Any

from reports.declared import generators, name_of
from reports.tables.assembly import Part, assembled, missing_row, our_row
from reports.tables.columns import cells_of, columns_of, printed_cells
from reports.tables.generation_table import Record, read_generators, source
from reports.tables.results import Result
from reports.tables.table import Cell, Row, Table
from reports.tables.texts import paragraph

WHOLE = "whole generator"
PAPERS_POSITIONS = {"SiT-XL/2 baseline": 256, "GPSToken two-stage": 128}


def cost_table(name: str, declared: dict[str, Any], results: Path, scales: list[str]) -> Table:
    """Fills the table of costs from results/SCALE/generators of every scale: a line a stage, and one for the whole."""
    parts = [_part(declared, results / scale) for scale in scales]
    return assembled(name, declared, columns_of("costs"), parts, _paper_row)


def _part(declared: dict[str, Any], results: Path) -> Part:
    ours, scale = read_generators(results), results.name
    measured = {row: result.record for row, result in ours.items() if result.record.get("cost")}
    machines = {str(record["cost"].get("device", record["machine"]["device"])) for record in measured.values()}
    origin = f"Scale **{scale}**: one run per row, timed on {', '.join(sorted(machines))}."
    pair = [measured.get(declared["compared"][end]) for end in ("to", "from")]
    numbers = [[record and quantity(record) for record in pair] for quantity in (hours, memory, seconds)]
    return Part(
        rows=[line for row in generators() for line in _our_rows(row, ours.get(row))],
        caption=paragraph("caption", list(measured.values()), more=", one run per row"),
        origins=[origin if measured else "Ours: not measured yet."],
        finding=paragraph("savings", declared["claimed"], None not in pair, *numbers, scale),
    )


def _our_rows(row: str, result: Result | None) -> list[Row]:
    """A line a stage, with what sampling cost where there is only one; of several one more for the whole."""
    if result is None:
        return [missing_row(row, {"method": name_of(row)})]
    record = result.record
    every = stages(record)
    lines = [stage | {"stage": name.replace("_", "-"), "hours": stage_hours(stage)} for name, stage in every.items()]
    if len(lines) > 1:
        whole = {"stage": WHOLE, "hours": hours(record), "peak_memory_mb": memory(record)}
        lines.append(whole | {"parameters": sum(stage["parameters"] for stage in every.values())})
    lines[-1]["sampling"] = record.get("cost", {}).get("inference", {})
    rows = []
    for line in lines:
        cells = {"method": Cell(name_of(row)), "stage": Cell(line["stage"])} | cells_of("costs", line)
        if (calls := line.get("sampling", {}).get("network_calls")) is not None:
            parts = calls.values() if isinstance(calls, dict) else [calls]  # of each stage, or of all
            cells["calls"] = Cell(" + ".join(f"{number:,}" for number in parts), sum(parts))
        rows.append(our_row(source(record), cells, row, result))
    return rows


def _paper_row(printed: dict[str, str]) -> Row:
    count = PAPERS_POSITIONS[printed["method"]]
    cells = {"method": Cell(printed["method"]), "stage": Cell(WHOLE), "positions": Cell(f"{count:,}", count)}
    return Row(printed["source"], cells | printed_cells("costs", printed))


def stages(record: Record) -> dict[str, dict[str, Any]]:
    """Every stage: its parameters and budget, its positions, and what was measured of its training.

    Positions are those that a transformer computes with: tokens, or patches of the grid; None where it does not say.
    """
    every, measured = {}, record.get("cost", {}).get("training", {})
    for name, stage in record["generator"]["stages"].items():
        network = stage.get("network", {})
        sides = [side // network.get("patch_size", 1) for side in network.get("shape", ())]
        every[name] = stage | measured.get(name, {}) | {"positions": math.prod(sides) if sides else None}
    return every


def stage_hours(stage: dict[str, Any], speed: str = "iterations_per_second") -> float | None:
    """Iterations of a stage over iterations a second; `speed` may be that of its slowest or fastest iteration."""
    return stage["steps"] / stage[speed] / 3600 if stage.get(speed) else None


def hours(record: Record, speed: str = "iterations_per_second") -> float | None:
    """Training time of all stages."""
    parts = [stage_hours(stage, speed) for stage in stages(record).values()]
    return None if None in parts or not parts else sum(parts)


def memory(record: Record) -> float | None:
    """Peak memory of training in MB: that of the largest stage."""
    parts = [stage.get("peak_memory_mb") for stage in stages(record).values()]
    return None if None in parts or not parts else max(parts)


def seconds(record: Record) -> float | None:
    """Time of sampling an image with the whole generator."""
    speed = record.get("cost", {}).get("inference", {}).get("samples_per_second")
    return 1 / speed if speed else None
