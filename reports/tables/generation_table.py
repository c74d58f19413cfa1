"""The table of generators: our rows at their scale beside the paper's Table 2, and anybody's samples."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from reports.declared import name_of, papers_row_of
from reports.tables.assembly import Part, assembled, missing_row, our_row, text_cells
from reports.tables.claims import as_lines, finding, judge_all
from reports.tables.columns import INCEPTION_SCORES, SCORES, columns_of, millions, rounded, score_cell, tokens_cell
from reports.tables.generation_results import Record, budget, read_generators, samples_per_seed, source
from reports.tables.results import Result, read_record
from reports.tables.table import Cell, Row, Table
from reports.tables.texts import paragraph, section

KINDS = {"ar": "autoregressive", "diffusion": "diffusion"}  # the paper's two
# Of ours: what the network of the last stage predicts says how images are made.
KIND_OF = {"velocity": "flow matching", "score": "diffusion", "noise": "diffusion"}
SAME_BUDGET = 0.02  # steps are whole numbers, and networks of one size differ by their first and last layers
MOST_CLASSES = 20


def generation_table(name: str, declared: dict[str, Any], results: Path, scales: list[str]) -> Table:
    """Fills the table of generators from results/SCALE of every scale, with its sections on classes and copies."""
    parts = [_part(declared, results / scale, len(scales) > 1) for scale in scales]
    if declared.get("scored"):
        parts += [_scored_rows(results / scale) for scale in scales]
    return assembled(name, declared, [*columns_of("generators"), *SCORES.values()], parts, _paper_row)


def _part(declared: dict[str, Any], results: Path, several: bool) -> Part:
    ours, scale = read_generators(results, declared["rows"]), results.name
    records = [result.record for result in ours.values() if result is not None]
    tests, sections = judge_all(declared, ours), []
    if records and "classifier" in declared:
        at = f", at the {scale} scale" if several else ""
        sections = [
            f"## Can a classifier recognise the class of a sample{at}?",
            section("classifier", declared["classifier"], records, MOST_CLASSES),
            f"## Are the samples copies of training images{at}?",
            section("memorisation", declared["memorisation"], records),
        ]
    return Part(
        rows=[_our_row(row, result) for row, result in ours.items()],
        caption=paragraph("caption", records),
        origins=[_origin(records)],
        finding=finding(declared, tests, scale),
        claims=as_lines(tests, scale),
        sections=sections,
    )


def _origin(records: list[Record]) -> str:
    """Where our numbers of one scale come from, and what to know of each row."""
    spent = {name_of(record["row"]): budget(record) for record in records}
    number = samples_per_seed(records[0]) if records else 0
    notes = [paragraph("trained", record) for record in records]
    if spent and None not in spent.values():
        same = max(spent.values()) <= (1 + SAME_BUDGET) * min(spent.values())
        notes.append(paragraph("budgets", spent, same))
    if records:
        notes.append(paragraph("chances", sorted({record["classifier"]["chance"] for record in records})))
    origin = paragraph("samples", records, number, budget(records[0]) if records else None)
    return "\n".join([origin, "", *(f"- {note}" for note in notes)])


def _our_row(name: str, result: Result | None) -> Row:
    texts = {"method": name_of(name), "papers_row": papers_row_of(name)}
    if result is None:
        return missing_row(name, texts)
    record = result.record
    stages = list(record["generator"]["stages"].values())
    cells = text_cells(texts | {"kind": KIND_OF.get(stages[-1].get("prediction"), "")})
    if shape := stages[-1].get("network", {}).get("shape"):
        cells["tokens"] = tokens_cell("x".join(map(str, shape)))
    cells["tokenizer"] = millions(record["generator"]["tokenizer"]["parameters"])
    cells["generator"] = millions(*(stage["parameters"] for stage in stages))
    count, seeds = samples_per_seed(record), len(record["seeds"])
    cells["samples"] = Cell(f"{seeds} x {count:,}", seeds * count)
    for score, part in record["scores"].items():
        cell = score_cell(score, part, part.get("interval"))
        ends = " to ".join(rounded(score, end) for end in cell.interval or ())
        cells[score] = replace(cell, text=f"{cell.text} ({ends})") if ends else cell
    return our_row(source(record), cells, name, result)


def _paper_row(printed: dict[str, str]) -> Row:
    cells = {"kind": Cell(KINDS[printed["group"]]), "method": Cell(printed["method"])}
    if printed["tokens"]:
        cells["tokens"] = tokens_cell(printed["tokens"])
    for name in ("tokenizer", "generator"):
        if parts := [round(float(part) * 1e6) for part in printed[f"{name}_params_m"].split("+") if part]:
            cells[name] = millions(*parts, form="g")
    cells |= {name: Cell(printed[name], float(printed[name])) for name in INCEPTION_SCORES if printed[name]}
    return Row(printed["source"], cells)


def _scored_rows(results: Path) -> Part:
    """A row for every results/SCALE/scored/ROW.json, in the order of their names, and what to know of each."""
    rows, origins = [], []
    for path in sorted((results / "scored").glob("*.json")):
        result = read_record(path, "scored", results.name)
        record, count = result.record, result.record["samples"]["images"]
        cells = {"method": Cell(record["row"]), "samples": Cell(f"{count:,}", count)} | _scores(result)
        # The best is marked among those that were scored against one reference alone.
        rows.append(our_row(f"scored samples, {results.name}", cells, None, result, record["reference"]["sha256"]))
        origins.append(paragraph("scored", record))
    return Part(rows, origins=origins)


def _scores(result: Result) -> dict[str, Cell]:
    record, cells = result.record, {}
    for name, value in record["metrics"].items():
        if name == "is_std":  # over parts of the samples: no error of the mean
            continue
        # Of Inception `score` has the published names, which the columns have for FID, sFID and IS alone.
        of_inception = name in (*INCEPTION_SCORES, "kid", "precision", "recall")
        if of_inception and record["network"]["name"] != "inception":
            network = record["network"]["name"]
            raise ValueError(f"{result.path}: score {name!r} is of Inception, but the network was {network}")
        column = f"{name}_inception" if of_inception and name not in INCEPTION_SCORES else name
        if column not in SCORES:
            raise ValueError(f"{result.path}: score {name!r} has no column in reports/tables/columns.yaml")
        cells[column] = Cell(rounded(column, value), value, count=record["samples"]["images"])
    return cells
