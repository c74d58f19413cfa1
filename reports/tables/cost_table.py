"""The table of what training and sampling a generator cost: our measured runs beside the paper's."""

from pathlib import Path
from typing import Any

from reports.declared import name_of
from reports.tables.assembly import Part, assembled, caption, listed, missing_row, our_row
from reports.tables.columns import cells_of, heads, printed_cells
from reports.tables.generation_results import (
    Record,
    hours,
    memory,
    positions,
    read_generators,
    source,
    stage_hours,
    stages,
)  # fmt: skip
from reports.tables.rows import published
from reports.tables.table import Cell, Row, Table

WHOLE = "whole generator"
PAPERS_POSITIONS = {"SiT-XL/2 baseline": 256, "GPSToken two-stage": 128}


def cost_table(name: str, declared: dict[str, Any], results: Path, scales: list[str]) -> Table:
    """Fills the table of costs from results/SCALE/generators of every scale: a line a stage, and one for the whole."""
    parts = [_part(declared, results / scale, scale == scales[0]) for scale in scales]
    rows = [_paper_row(printed) for printed in published(declared)]
    return assembled(name, declared, heads("costs"), parts, rows)


def _part(declared: dict[str, Any], results: Path, first: bool) -> Part | None:
    ours, scale = read_generators(results), results.name
    measured = {row: record for row, record in ours.items() if record is not None and record.get("cost")}
    if not measured and not first:
        return None
    rows = []
    for row, record in ours.items():
        if record is not None:
            rows += _our_rows(row, record, results / "generators" / f"{row}.json")
        elif first:
            rows.append(missing_row(row, {"method": name_of(row)}))
    machines = {str(record["cost"].get("device", record["machine"]["device"])) for record in measured.values()}
    origin = f"Scale **{scale}**: one run per row, timed on {', '.join(sorted(machines))}."
    return Part(
        rows=rows,
        caption=caption(list(measured.values()), more=", one run per row"),
        origins=[origin if measured else "Ours: not measured yet."],
        finding=_comparison(declared, measured, scale),
    )


def _comparison(declared: dict[str, Any], measured: dict[str, Record], scale: str) -> str:
    """The paper's savings, as the table has `claimed` them, and ours of the two rows that it has `compared`."""
    claimed, pair = declared["claimed"], [declared["compared"][end] for end in ("to", "from")]
    if not set(pair) <= measured.keys():
        return f"{claimed} Our generators have not been measured at the {scale} scale."
    time, size = ([quantity(measured[row]) for row in pair] for quantity in (hours, memory))
    speed = [measured[row]["cost"].get("inference", {}).get("samples_per_second") for row in pair]
    needs = []
    if None not in time:
        needs.append(f"{_less(*time)} training time")
    if None not in size:
        needs.append(f"{_less(*size)} training memory (of its larger stage)")
    phrases = [f"needs {listed(needs)}"] if needs else []
    if None not in speed:
        phrases.append(f"generates {speed[0] / speed[1]:.2f} times as many samples per second")
    return f"{claimed} At the {scale} scale ours {listed(phrases) or 'has not been timed'}."


def _less(ours: float, other: float) -> str:
    return f"{100 * abs(1 - ours / other):.0f} % {'less' if ours <= other else 'more'}"


def _our_rows(name: str, record: Record, file: Path) -> list[Row]:
    """A line a stage, with what sampling cost where there is only one; of several one more for the whole."""
    every, sampling = stages(record), record.get("cost", {}).get("inference", {})
    lines = [
        stage | {"stage": title.replace("_", "-"), "positions": positions(stage), "hours": stage_hours(stage)}
        for title, stage in every.items()
    ]
    if len(lines) > 1:
        whole = {"stage": WHOLE, "hours": hours(record), "peak_memory_mb": memory(record)}
        lines.append(whole | {"parameters": sum(stage["parameters"] for stage in every.values())})
    lines[-1]["sampling"] = sampling
    rows = []
    for line in lines:
        cells = {"method": Cell(name_of(name)), "stage": Cell(line["stage"])} | cells_of("costs", line)
        if line.get("sampling", {}).get("network_calls") is not None:
            cells["calls"] = _calls(sampling["network_calls"])
        rows.append(our_row(source(record), cells, name, record, file))
    return rows


def _calls(calls: int | dict[str, int]) -> Cell:
    """Calls of each stage, or of all."""
    parts = list(calls.values()) if isinstance(calls, dict) else [calls]
    return Cell(" + ".join(f"{number:,}" for number in parts), sum(parts))


def _paper_row(printed: dict[str, str]) -> Row:
    count = PAPERS_POSITIONS[printed["method"]]
    cells = {"method": Cell(printed["method"]), "stage": Cell(WHOLE), "positions": Cell(f"{count:,}", count)}
    return Row(printed["source"], cells | printed_cells("costs", printed))
