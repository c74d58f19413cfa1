"""The table of what tokenizers and generators cost at their published size: counted, and timed where it was."""

from pathlib import Path
from typing import Any

from reports.tables.assembly import Part, assembled, missing_row, our_row, text_cells
from reports.tables.columns import cells_of, columns_of, millions, printed_cells
from reports.tables.results import Result, read_record
from reports.tables.rows import published
from reports.tables.table import Cell, Row, Table
from reports.tables.texts import paragraph

PARTS = ("encoder", "decoder", "network")


def efficiency_table(name: str, declared: dict[str, Any], results: Path, scales: list[str]) -> Table:
    """Fills the table of efficiency from results/SCALE/efficiency of every scale.

    Counts are of the published size whatever the scale, which says where it was timed.
    """
    parts = [_part(declared, results / scale) for scale in scales]
    deviations = [row.cells["deviation"].value for part in parts for row in part.rows if "deviation" in row.cells]
    finding = paragraph("agreement", deviations)
    # A call of a generator is no picture of a tokenizer: each kind stands and is compared by itself.
    return assembled(
        name, declared, columns_of("efficiency"), parts, _paper_row, lambda row: row.group != "tokenizer", finding
    )


def _part(declared: dict[str, Any], results: Path) -> Part:
    ours, papers = read_efficiency(declared, results), {printed["method"]: printed for printed in published(declared)}
    records = [result.record for result in ours.values()]
    timed = [record for record in records if record.get("measured")]
    timings = list(dict.fromkeys(paragraph("timing", record) for record in timed))
    on_cpu = any(record["measured"]["device"] == "cpu" for record in timed)
    return Part(
        rows=[_our_row(row, label, ours.get(row), papers) for row, label in declared["ours"].items()],
        caption=paragraph("caption", records, "scale's machine", ""),
        origins=[paragraph("profiles", records, timings, on_cpu, results.name)],
    )


def read_efficiency(declared: dict[str, Any], results: Path) -> dict[str, Result]:
    """What `gpstoken profile` wrote of the rows of a table into results/SCALE/efficiency.

    Raises:
        ValueError: if a file is not what its name and its folder say.
    """
    folder = results / "efficiency"
    read = {row: read_record(folder / f"{row}.json", folder.name, results.name) for row in declared["ours"]}
    ours = {row: result for row, result in read.items() if result is not None}
    for row, result in ours.items():
        if (kind := declared["ours"][row]["kind"]) != result.record["kind"]:
            raise ValueError(f"{result.path}: is no profile of a {kind}; profile the row again")
    return ours


def _our_row(name: str, label: dict[str, str], result: Result | None, papers: dict[str, dict[str, str]]) -> Row:
    texts = {"kind": label["kind"], "method": label["name"]}
    if result is None:
        return missing_row(name, texts, label["kind"])
    record = result.record
    counts, measured, timed = record["counts"], record.get("measured"), "not timed"
    attention = [counts[part].get("attention_gmacs") for part in PARTS if part in counts]
    total = sum(attention) if attention and None not in attention else None
    cells = text_cells(texts) | cells_of("efficiency", record | {"attention_gmacs": total})
    if printed := papers.get(label.get("paper")):
        cells["papers_row"] = Cell(printed["method"])
        if convention := record.get("paper_convention"):
            ratios = [convention[f"{part}_gmacs"] / float(printed[f"{part}_gflops"]) for part in ("encoder", "decoder")]
            percent = [100 * (ratio - 1) for ratio in ratios]
            cells["deviation"] = Cell(" / ".join(f"{part:+.1f}" for part in percent), max(map(abs, percent)))
    if measured:
        timed = f"timed on {measured['device']}"
        cells["device"] = Cell(f"{measured['device']}, {measured['threads']} threads")
        cells["precision"] = Cell(measured["precision"])
        latency, spread = measured["latency_ms"], measured["latency_std_ms"]
        text = f"{latency:,.2f}" if spread is None else f"{latency:,.2f} ± {spread:,.2f}"
        cells["latency"] = Cell(text, latency, spread, count=measured["repeats"])
    # A network of a generator takes tokens, whatever the image was.
    size = f" at {record['image_size']} px" if record.get("image_size") else ""
    return our_row(f"ours, {record['scale']}: published size{size}, {timed}", cells, name, result, label["kind"])


def _paper_row(printed: dict[str, str]) -> Row:
    cells = text_cells({"kind": "tokenizer", "method": printed["method"], "device": "A100"})
    cells |= {"batch": Cell("8", 8)} | printed_cells("efficiency", printed)
    cells["parameters_as_paper"] = millions(round(float(printed["params_m"]) * 1e6), form=".1f")
    latency, spread = float(printed["latency_ms"]), printed["latency_std_ms"]
    cells["latency"] = Cell(f"{latency:,.0f} ± {spread}", latency, float(spread))
    return Row(printed["source"], cells, group="tokenizer")
