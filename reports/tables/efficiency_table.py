"""The table of what tokenizers and generators cost at their published size: counted, and timed where it was."""

import json
from pathlib import Path
from typing import Any

from reports.tables.results import check_scale
from reports.tables.rows import published
from reports.tables.table import Cell, Head, Row, Table, assembled, finished

Record = dict[str, Any]
HEADS = [
    Head("kind", "kind"),
    Head("method", "method"),
    Head("papers_row", "the paper's row"),
    Head("parameters", "parameters", "number"),
    Head("parameters_as_paper", "as the paper counts", "number"),
    *(
        Head(f"{part}_{unit.lower()}", f"{part} {unit}", "number")
        for unit in ("GMACs", "GFLOPs")
        for part in ("encoder", "decoder", "network")
    ),
    Head("attention", "of it attention", "number", unit="GMACs"),
    Head("calls", "network calls a sample", "number"),
    Head("paper_encoder", "encoder as the paper counts", "number", unit="G"),
    Head("paper_decoder", "decoder as the paper counts", "number", unit="G"),
    Head("deviation", "against the paper's figures", "number", unit="%"),
    Head("training_counted", "training memory, counted", "number", unit="MB"),
    Head("training_memory", "training memory, measured", "number", unit="MB"),
    Head("memory_counted", "inference memory, counted", "number", unit="MB"),
    Head("memory", "inference memory, measured", "number", unit="MB"),
    Head("batch", "batch", "number"),
    Head("latency", "latency of a batch", "number", False, "ms"),
    Head("throughput", "images/s", "number", True),
    Head("device", "device"),
    Head("precision", "precision"),
]


def efficiency_table(name: str, declared: dict[str, Any], results: Path, scales: list[str]) -> Table:
    """Fills the table of efficiency from results/SCALE/efficiency of every scale.

    Counts are of the published size whatever the scale, which says where it was timed.
    """
    rows, origins, captions = [], [], []
    papers = {printed["method"]: printed for printed in published(declared)}
    for scale in scales:
        ours = read_efficiency(declared, results / scale)
        found = [record for record in ours.values() if record is not None]
        if scale != scales[0] and not found:
            continue
        for row, label in declared["ours"].items():
            if (record := ours[row]) is not None:
                file = results / scale / "efficiency" / f"{row}.json"
                rows.append(_our_row(row, label, record, papers.get(label.get("paper")), file))
            elif scale == scales[0]:
                cells = {"kind": Cell(label["kind"]), "method": Cell(label["name"])}
                rows.append(Row("ours, not measured", cells, ours=True, group=label["kind"], row=row))
        origins.append(_origin(scale, found))
        commits = ", ".join(sorted({record["commit"] for record in found}))
        captions.append(f"Ours: {scale} scale's machine, commit {commits}." if found else "Ours: not measured.")
    rows += [_paper_row(printed) for printed in papers.values()]
    # bold by kind: a call of a generator is no picture of a tokenizer
    columns, rows = finished(HEADS, sorted(rows, key=lambda row: ("tokenizer", "generator").index(row.group)))
    return assembled(name, declared, [_agreement(rows)], captions, columns, rows, origins=origins)


def _agreement(rows: list[Row]) -> str:
    """How far our counts by the paper's convention are from what the paper prints."""
    cells = [row.cells["deviation"].value for row in rows if "deviation" in row.cells]
    if not cells:
        return "No row that the paper's table has was counted here."
    return f"Counted as the paper counts, our networks differ from its printed GFLOPs by at most {max(cells):.1f} %."


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
        said = [record.get(name) for name in ("group", "row", "kind")]
        if said != ["efficiency", row, label["kind"]]:
            raise ValueError(f"{path}: holds {said}, not {['efficiency', row, label['kind']]}; profile the row again")
        check_scale(path, record, results.name)
        records[row] = record
    return records


def _origin(scale: str, found: list[Record]) -> str:
    if not found:
        return "Ours: not measured. No row of ours has been profiled yet."
    commits = ", ".join(sorted({record["commit"] for record in found}))
    versions = ", ".join(sorted({record["versions"]["torch"] for record in found}))
    timed = [record for record in found if record.get("measured")]
    said = []
    for record in timed:
        part, processor = record["measured"], record["machine"].get("processor", "")
        compiled = "compiled" if part["compile"] else "not compiled"
        said.append(
            f"{part['device']} ({processor}), {part['threads']} threads, {part['precision']}, {compiled}, "
            f"{part['repeats']} repeats"
        )
    on = f"Timed on {'; '.join(dict.fromkeys(said))}." if said else "Nothing was timed."
    if any(record["measured"]["device"] == "cpu" for record in timed):
        on += " **Timings of a CPU**: of no use beside the paper's, which are of a GPU."
    return f"Published sizes, counted; machine of the **{scale}** scale. {on} Commit {commits}, torch {versions}."


def _our_row(name: str, label: dict[str, str], record: Record, papers: dict[str, str] | None, file: Path) -> Row:
    parameters, counts, measured = record["parameters"], record["counts"], record.get("measured")
    cells = {"kind": Cell(label["kind"]), "method": Cell(label["name"])}
    if papers:
        cells["papers_row"] = Cell(papers["method"])
    cells["parameters"] = _millions(parameters["total"])
    if parameters.get("as_paper"):
        cells["parameters_as_paper"] = _millions(parameters["as_paper"])
    for part in ("encoder", "decoder", "network"):
        if part in counts:
            gmacs = counts[part]["gmacs"]
            cells |= {f"{part}_gmacs": _cell(gmacs, ",.1f"), f"{part}_gflops": _cell(2 * gmacs, ",.1f")}
    attention = [counts[part].get("attention_gmacs") for part in ("encoder", "decoder", "network") if part in counts]
    if attention and None not in attention:
        cells["attention"] = _cell(sum(attention), ",.1f")
    if counts.get("calls"):
        cells["calls"] = _cell(counts["calls"], ",")
    if convention := record.get("paper_convention"):
        for part in ("encoder", "decoder"):
            cells[f"paper_{part}"] = _cell(convention[f"{part}_gmacs"], ",.0f")
        if papers:
            cells["deviation"] = _deviation(convention, papers)
    memory = record.get("memory") or {}
    for column, name in {
        "training_counted": "training_counted_mb",
        "training_memory": "training_measured_mb",
        "memory_counted": "inference_counted_mb",
    }.items():
        if memory.get(name) is not None:
            cells[column] = _cell(memory[name], ",.0f")
    timed = "not timed"
    if measured:
        timed = f"timed on {measured['device']}"
        cells |= {"batch": _cell(measured["batch_size"], ","), "precision": Cell(measured["precision"])}
        cells["device"] = Cell(f"{measured['device']}, {measured['threads']} threads")
        spread = measured["latency_std_ms"]
        text = (
            f"{measured['latency_ms']:,.2f} ± {spread:,.2f}" if spread is not None else f"{measured['latency_ms']:,.2f}"
        )
        cells["latency"] = Cell(text, measured["latency_ms"], spread, count=measured["repeats"])
        cells["throughput"] = _cell(measured["throughput_per_s"], ",.3g")
        if measured.get("peak_memory_mb") is not None:
            cells["memory"] = _cell(measured["peak_memory_mb"], ",.0f")
    # a network of a generator takes tokens, whatever the image was
    size = f" at {record['image_size']} px" if record.get("image_size") else ""
    return Row(
        source=f"ours, {record['scale']}: published size{size}, {timed}",
        cells=cells,
        ours=True,
        scale=record["scale"],
        group=label["kind"],
        row=name,
        result=file.as_posix(),
        commit=record["commit"],
    )


def _deviation(convention: dict[str, float], papers: dict[str, str]) -> Cell:
    """How far the counts by the paper's convention are from what it prints, in percent; the value is the larger."""
    parts = [
        100 * (convention[f"{part}_gmacs"] / float(papers[f"{part}_gflops"]) - 1) for part in ("encoder", "decoder")
    ]
    return Cell(" / ".join(f"{part:+.1f}" for part in parts), max(map(abs, parts)))


def _paper_row(printed: dict[str, str]) -> Row:
    cells = {"kind": Cell("tokenizer"), "method": Cell(printed["method"]), "device": Cell("A100")}
    cells["parameters_as_paper"] = Cell(f"{float(printed['params_m']):.1f} M", round(float(printed["params_m"]) * 1e6))
    for name, column in {
        "paper_encoder": "encoder_gflops",
        "paper_decoder": "decoder_gflops",
        "training_memory": "train_memory_mb",
        "memory": "inference_memory_mb",
    }.items():
        if printed[column]:
            cells[name] = _cell(int(printed[column]), ",")
    latency, spread = float(printed["latency_ms"]), float(printed["latency_std_ms"])
    cells["latency"] = Cell(f"{latency:,.0f} ± {printed['latency_std_ms']}", latency, spread)
    cells["throughput"] = Cell(printed["throughput_per_s"], float(printed["throughput_per_s"]))
    cells["batch"] = Cell("8", 8)
    return Row(printed["source"], cells, group="tokenizer")


def _millions(count: int) -> Cell:
    return Cell(f"{count / 1e6:.2f} M", count)


def _cell(value: float, form: str) -> Cell:
    return Cell(f"{value:{form}}", value)
