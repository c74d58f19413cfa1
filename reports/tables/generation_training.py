"""The table of what training and sampling a generator cost: our measured runs beside the paper's."""

from pathlib import Path
from typing import Any

from reports.declared import name_of
from reports.tables.generation_costs import costs, hours, memory, positions, samples_per_second, stage_hours, stages
from reports.tables.generation_results import Record, read_generators, read_published, source
from reports.tables.table import Cell, Head, Row, Table, assembled, finished

PAPER = "paper, SiT-XL/2 at ImageNet 256 px"
WHOLE = "whole generator"
PAPERS_POSITIONS = {"SiT-XL/2 baseline": 256, "GPSToken two-stage": 128}
HEADS = [
    Head("method", "method"),
    Head("stage", "stage"),
    Head("positions", "positions", "number"),
    Head("parameters", "parameters", "number"),
    Head("gmacs", "GMACs", "number"),
    Head("batch", "batch", "number"),
    Head("iterations", "iterations", "number"),
    Head("iterations_per_second", "iterations/s", "number"),
    Head("hours", "time", "number", unit="h"),
    Head("memory", "training memory", "number", unit="MB"),
    Head("steps", "sampling steps", "number"),
    Head("calls", "network calls", "number"),
    Head("samples_per_second", "samples/s", "number"),
    Head("sampling_memory", "sampling memory", "number", unit="MB"),
    Head("fid_10k", "FID-10K", "number"),
]


def training_table(name: str, declared: dict[str, Any], results: Path, scales: list[str]) -> Table:
    """Fills the table of costs from results/SCALE/generators of every scale: a line a stage, and one for the whole."""
    rows, findings, origins, captions = [], [], [], []
    for scale in scales:
        ours = read_generators(results / scale)
        measured = costs(ours)
        if scale != scales[0] and not measured:
            continue
        for row in ours:
            if (record := ours[row]) is not None:
                rows += _our_rows(row, record, results / scale / "generators" / f"{row}.json")
            elif scale == scales[0]:
                rows.append(Row("ours, not measured", {"method": Cell(name_of(row))}, ours=True, row=row))
        origins.append(_origin(scale, measured))
        commits = sorted({record["commit"] for record in measured.values()})
        told = f"Ours: {scale} scale, commit {', '.join(commits)}, one run a row."
        captions.append(told if measured else "Ours: not measured.")
        findings.append(comparison(declared, measured, scale))
    columns, rows = finished(HEADS, rows + _paper_rows())
    return assembled(name, declared, findings, captions, columns, rows, origins=origins)


def _origin(scale: str, measured: dict[str, Record]) -> str:
    if not measured:
        return "Ours: not measured yet."
    machines = [record["cost"].get("device", record["machine"]["device"]) for record in measured.values()]
    return f"Scale **{scale}**: one run a row, timed on {', '.join(sorted(set(map(str, machines))))}."


def comparison(declared: dict[str, Any], measured: dict[str, Record], scale: str) -> str:
    """The paper's savings, as the table has `claimed` them, and ours of the two rows that it has `compared`."""
    claimed, pair = declared["claimed"], [declared["compared"][end] for end in ("to", "from")]
    if not set(pair) <= measured.keys():
        return f"{claimed} Ours was not measured at the {scale} scale."
    time, size, speed = ([value(measured[row]) for row in pair] for value in (hours, memory, samples_per_second))
    said = []
    if None not in time:
        said.append(f"{_less(*time)} training time")
    if None not in size:
        said.append(f"{_less(*size)} training memory (the larger stage)")
    if None not in speed:
        said.append(f"{speed[0] / speed[1]:.2f} times the samples a second")
    return f"{claimed} Ours at the {scale} scale: {', '.join(said) or 'not measured yet'}."


def _less(ours: float, other: float) -> str:
    return f"{100 * abs(1 - ours / other):.0f} % {'less' if ours <= other else 'more'}"


def _our_rows(name: str, record: Record, file: Path) -> list[Row]:
    """A line a stage, with what sampling cost where there is only one; of several one more for the whole."""
    lines = []
    sampling, each = _sampling(record), stages(record)
    for stage, cost in each.items():
        cells = {"stage": Cell(stage.replace("_", "-")), "batch": _cell(cost["batch_size"], ",")}
        cells |= {"parameters": Cell(f"{cost['parameters'] / 1e6:.2f} M", cost["parameters"])}
        cells |= {"positions": _cell(positions(cost), ","), "gmacs": _cell(cost.get("gmacs"), ".3g")}
        cells |= {"iterations": _cell(cost["steps"], ","), "hours": _cell(stage_hours(cost), ".3f")}
        cells |= {"iterations_per_second": _cell(cost.get("iterations_per_second"), ".2f")}
        cells |= {"memory": _cell(cost.get("peak_memory_mb"), ",.0f")}
        lines.append(cells | (sampling if len(each) == 1 else {}))
    if len(each) > 1:
        whole = {"stage": Cell(WHOLE), "hours": _cell(hours(record), ".3f"), "memory": _cell(memory(record), ",.0f")}
        parameters = sum(stage["parameters"] for stage in each.values())
        lines.append(whole | {"parameters": Cell(f"{parameters / 1e6:.2f} M", parameters)} | sampling)
    known = {"scale": record["scale"], "row": name, "result": file.as_posix(), "commit": record["commit"]}
    return [
        Row(source(record), {"method": Cell(name_of(name))} | _without_gaps(cells), ours=True, **known)
        for cells in lines
    ]


def _sampling(record: Record) -> dict[str, Cell | None]:
    cost = record.get("cost", {}).get("inference", {})
    calls = cost.get("network_calls")
    each = (
        list(calls.values()) if isinstance(calls, dict) else [calls] * (calls is not None)
    )  # of each stage, or of all
    return {
        "steps": _cell(cost.get("steps"), ","),
        "calls": Cell(" + ".join(f"{number:,}" for number in each), sum(each)) if each else None,
        "samples_per_second": _cell(cost.get("samples_per_second"), ".3g"),
        "sampling_memory": _cell(cost.get("peak_memory_mb"), ",.0f"),
    }


def _paper_rows() -> list[Row]:
    rows = []
    for printed in read_published("generator_training_sit_xl.csv"):
        cells = {"method": Cell(printed["method"]), "positions": _cell(PAPERS_POSITIONS[printed["method"]], ",")}
        cells["stage"] = Cell(WHOLE)
        for name, column in {
            "iterations": "iterations",
            "memory": "train_memory_mb",
            "sampling_memory": "inference_memory_mb",
        }.items():
            cells[name] = _cell(int(printed[column]), ",")
        for name, column in {
            "iterations_per_second": "train_iters_per_s",
            "hours": "time_h",
            "samples_per_second": "inference_samples_per_s",
            "fid_10k": "fid",
        }.items():
            cells[name] = Cell(printed[column], float(printed[column]))
        rows.append(Row(PAPER, cells))
    return rows


def _cell(value: float | None, form: str) -> Cell | None:
    return None if value is None else Cell(f"{value:{form}}", value)


def _without_gaps(cells: dict[str, Cell | None]) -> dict[str, Cell]:
    return {name: cell for name, cell in cells.items() if cell is not None}
