"""The table of what tokenizers and generators cost at their published size: counted, and timed where it was."""

import json
from pathlib import Path
from typing import Any

from reports.tables.assembly import Part, assembled, caption, commits, missing_row, our_row
from reports.tables.columns import cells_of, heads, printed_cells
from reports.tables.results import check_scale
from reports.tables.rows import published
from reports.tables.table import Cell, Head, Row, Table

Record = dict[str, Any]
PARTS = ("encoder", "decoder", "network")
KINDS = ("tokenizer", "generator")


def efficiency_table(name: str, declared: dict[str, Any], results: Path, scales: list[str]) -> Table:
    """Fills the table of efficiency from results/SCALE/efficiency of every scale.

    Counts are of the published size whatever the scale, which says where it was timed.
    """
    papers = {printed["method"]: printed for printed in published(declared)}
    parts = [_part(declared, results / scale, papers, scale == scales[0]) for scale in scales]
    rows = [_paper_row(printed) for printed in papers.values()]

    def order(row: Row) -> int:  # bold by kind: a call of a generator is no picture of a tokenizer
        return KINDS.index(row.group)

    return assembled(name, declared, heads("efficiency"), parts, rows, order, _agreement)


def _part(declared: dict[str, Any], results: Path, papers: dict[str, dict[str, str]], first: bool) -> Part | None:
    ours = read_efficiency(declared, results)
    measured = [record for record in ours.values() if record is not None]
    if not measured and not first:
        return None
    rows = []
    for row, label in declared["ours"].items():
        texts = {"kind": label["kind"], "method": label["name"]}
        if (record := ours[row]) is not None:
            file = results / "efficiency" / f"{row}.json"
            rows.append(_our_row(row, texts, record, papers.get(label.get("paper")), file))
        elif first:
            rows.append(missing_row(row, texts, label["kind"]))
    return Part(rows, caption(measured, "scale's machine", ""), [_origin(results.name, measured)])


def _agreement(_: list[Head], rows: list[Row]) -> str:
    """How far our counts by the paper's convention are from what the paper prints."""
    deviations = [row.cells["deviation"].value for row in rows if "deviation" in row.cells]
    if not deviations:
        return "None of the rows of the paper's table has been counted here."
    return f"By the paper's convention, our counts differ from its printed GFLOPs by at most {max(deviations):.1f} %."


def read_efficiency(declared: dict[str, Any], results: Path) -> dict[str, Record | None]:
    """What `gpstoken profile` wrote of every row into results/SCALE/efficiency, None where it did not.

    Raises:
        ValueError: if a file is not what its name and its folder say.
    """
    records: dict[str, Record | None] = dict.fromkeys(declared["ours"])
    for row, label in declared["ours"].items():
        path = results / "efficiency" / f"{row}.json"
        if not path.is_file():
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        names, expected = [record.get(name) for name in ("group", "row", "kind")], ["efficiency", row, label["kind"]]
        if names != expected:
            raise ValueError(f"{path}: holds {names}, not {expected}; profile the row again")
        check_scale(path, record, results.name)
        records[row] = record
    return records


def _origin(scale: str, records: list[Record]) -> str:
    if not records:
        return "None of our rows has been profiled yet."
    versions = ", ".join(sorted({record["versions"]["torch"] for record in records}))
    timed = [record for record in records if record.get("measured")]
    machines = []
    for record in timed:
        part, processor = record["measured"], record["machine"].get("processor", "")
        compiled = "compiled" if part["compile"] else "not compiled"
        settings = f"{part['threads']} threads, {part['precision']}, {compiled}, {part['repeats']} repeats"
        machines.append(f"{part['device']} ({processor}), {settings}")
    on = f"Timed on {'; '.join(dict.fromkeys(machines))}." if machines else "Nothing was timed."
    if any(record["measured"]["device"] == "cpu" for record in timed):
        on += " **These are CPU timings**: do not compare them with the paper's, which are for a GPU."
    where = f"Counts are for the published sizes; timings are from the machine of the **{scale}** scale."
    return f"{where} {on} Commit {commits(records)}, torch {versions}."


def _our_row(name: str, texts: dict[str, str], record: Record, papers: dict[str, str] | None, file: Path) -> Row:
    counts, measured, timed = record["counts"], record.get("measured"), "not timed"
    attention = [counts[part].get("attention_gmacs") for part in PARTS if part in counts]
    total = sum(attention) if attention and None not in attention else None
    cells = {column: Cell(text) for column, text in texts.items()}
    cells |= cells_of("efficiency", record | {"attention_gmacs": total})
    if papers:
        cells["papers_row"] = Cell(papers["method"])
        if record.get("paper_convention"):
            cells["deviation"] = _deviation(record["paper_convention"], papers)
    if measured:
        timed = f"timed on {measured['device']}"
        cells["device"] = Cell(f"{measured['device']}, {measured['threads']} threads")
        cells["precision"] = Cell(measured["precision"])
        latency, spread = measured["latency_ms"], measured["latency_std_ms"]
        text = f"{latency:,.2f}" if spread is None else f"{latency:,.2f} ± {spread:,.2f}"
        cells["latency"] = Cell(text, latency, spread, count=measured["repeats"])
    # A network of a generator takes tokens, whatever the image was.
    size = f" at {record['image_size']} px" if record.get("image_size") else ""
    return our_row(f"ours, {record['scale']}: published size{size}, {timed}", cells, name, record, file, texts["kind"])


def _deviation(convention: dict[str, float], papers: dict[str, str]) -> Cell:
    """How far the counts by the paper's convention are from what it prints, in percent; the value is the larger."""
    parts = [
        100 * (convention[f"{part}_gmacs"] / float(papers[f"{part}_gflops"]) - 1) for part in ("encoder", "decoder")
    ]
    return Cell(" / ".join(f"{part:+.1f}" for part in parts), max(map(abs, parts)))


def _paper_row(printed: dict[str, str]) -> Row:
    cells = {
        "kind": Cell("tokenizer"),
        "method": Cell(printed["method"]),
        "device": Cell("A100"),
        "batch": Cell("8", 8),
    }
    cells |= printed_cells("efficiency", printed)
    millions = float(printed["params_m"])
    cells["parameters_as_paper"] = Cell(f"{millions:.1f} M", round(millions * 1e6))
    latency, spread = float(printed["latency_ms"]), printed["latency_std_ms"]
    cells["latency"] = Cell(f"{latency:,.0f} ± {spread}", latency, float(spread))
    return Row(printed["source"], cells, group="tokenizer")
