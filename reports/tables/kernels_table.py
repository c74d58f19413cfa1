"""The table of how fast the kernels and the rewritten networks are, side by side with what they replace."""

import json
from pathlib import Path
from typing import Any

from reports.tables.columns import columns_of
from reports.tables.table import Cell, Row, Table
from reports.tables.texts import paragraph

NOT_TIMED = "Nothing has been timed yet; `python -m benchmarks --json FILE` does it."
OURS = ("cpu", "triton")  # variants: the kernels that tokenizers choose


def kernels_table(name: str, declared: dict[str, Any], results: Path, scales: list[str]) -> Table:
    """Fills the table from every file of results/benchmarks, which `python -m benchmarks --json` writes.

    Speed does not depend on what was trained, so that there is one table for all scales.

    Raises:
        ValueError: if a file there is none of these.
    """
    rows, origins, speedups = [], [], {"CPU": [], "GPU": []}
    for path in sorted((results / "benchmarks").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        try:
            machine = record["machine"]
            device = "cpu" if machine["device"] == "cpu" else "gpu"
            source = f"{machine['device']} ({machine['processor']}), {machine['threads']} threads"
            origins.append(f"{source}: commit {machine['commit']}, torch {machine['torch']}, numba {machine['numba']}.")
            # What was timed alone, or is what others of its case are compared with, has no line of its own.
            compared = {(line["case"], line["reference"]) for line in record["rows"]}
            for line in record["rows"]:
                if line["reference"] and (line["case"], line["variant"]) not in compared:
                    rows.append(_row(line, device, source, path))
                    if line["variant"] in OURS and line["reference"] == "released":
                        speedups[device.upper()].append(line["speedup"])
        except (KeyError, TypeError):
            raise ValueError(f"{path}: not a file of benchmarks; write one with python -m benchmarks --json") from None
    return Table(
        name=name,
        title=declared["title"],
        paper=declared["paper"],
        introduction=paragraph("speedups", speedups) if rows else NOT_TIMED,
        columns=columns_of("kernels"),
        rows=rows,
        origin=" ".join(origins) or "Not measured.",
        notes=declared["notes"],
        origins=origins,
    )


def _row(line: dict[str, Any], device: str, source: str, path: Path) -> Row:
    cells = {"source": Cell(source)} | {name: Cell(line[name]) for name in ("case", "variant", "reference")}
    cells[f"{device}_ms"] = Cell(f"{line['ms']:,.2f} ({line['ms_min']:,.2f}-{line['ms_max']:,.2f})", line["ms"])
    low, high = line["speedup_min"], line["speedup_max"]
    cells[f"{device}_speedup"] = Cell(f"{line['speedup']:.2f} ({low:.2f}-{high:.2f})", line["speedup"])
    if "reached" in line:
        cells[f"{device}_reached"] = Cell(f"{100 * line['reached']:.0f}", 100 * line["reached"])
    if "peak_mib" in line:
        cells["peak"] = Cell(f"{line['peak_mib']:,.1f}", line["peak_mib"])
    return Row(source, cells, ours=True, group=line["case"], result=path.as_posix())
