"""The table of generators: our rows at their scale beside the paper's Table 2."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from reports.declared import name_of, papers_row_of
from reports.tables.assembly import Part, assembled, caption, missing_row, our_row, text_cells
from reports.tables.claims import as_lines, finding, judge_all
from reports.tables.columns import INCEPTION_SCORES, SCORES, heads, rounded, score_cell
from reports.tables.generation_notes import classifier_section, memorisation_section, notes, origin
from reports.tables.generation_results import as_result, read_generators, samples_per_seed, source
from reports.tables.generation_scored import scored_rows
from reports.tables.results import Result, check_scale
from reports.tables.rows import published
from reports.tables.table import Cell, Row, Table

KINDS = {"ar": "autoregressive", "diffusion": "diffusion"}  # the paper's two
# Of ours: what the network of the last stage predicts says how images are made.
KIND_OF = {"velocity": "flow matching", "score": "diffusion", "noise": "diffusion"}


def generation_table(name: str, declared: dict[str, Any], results: Path, scales: list[str]) -> Table:
    """Fills the table of generators from results/SCALE of every scale, with its sections on classes and copies."""
    parts = []
    for scale in scales:
        at = f", at the {scale} scale" if len(scales) > 1 else ""
        parts.append(_part(declared, results / scale, scale == scales[0], at))
    if declared.get("scored"):
        parts += [scored_rows(results / scale) for scale in scales]
    rows = [_paper_row(printed) for printed in published(declared)]
    return assembled(name, declared, heads("generators", SCORES), parts, rows)


def _part(declared: dict[str, Any], results: Path, first: bool, at: str) -> Part | None:
    ours = read_generators(results, declared["rows"])
    records = [record for record in ours.values() if record is not None]
    if not records and not first:
        return None
    compared = {row: as_result(record, results) for row, record in ours.items()}
    for result in compared.values():
        if result is not None:
            check_scale(result.path, result.record, results.name)
    tests = judge_all(declared, compared, results.name)
    sections = []
    if records and "classifier" in declared:
        sections += [f"## Can a classifier recognise the class of a sample{at}?", classifier_section(declared, records)]
        sections += [f"## Are the samples copies of training images{at}?", memorisation_section(declared, records)]
    return Part(
        rows=[_our_row(row, result) for row, result in compared.items() if first or result is not None],
        caption=caption(records),
        origins=["\n".join([origin(records), "", *(f"- {text}" for text in notes(records))])],
        finding=finding(declared["claimed"], tests, results.name) if "claimed" in declared else "",
        claims=as_lines(tests, results.name),
        sections=sections,
    )


def _our_row(name: str, result: Result | None) -> Row:
    texts = {"method": name_of(name), "papers_row": papers_row_of(name)}
    if result is None:
        return missing_row(name, texts)
    record = result.record
    stages = list(record["generator"]["stages"].values())
    cells = text_cells(texts | {"kind": KIND_OF.get(stages[-1].get("prediction"), "")})
    if shape := stages[-1].get("network", {}).get("shape"):
        cells["tokens"] = _tokens("x".join(map(str, shape)))
    cells["tokenizer"] = _millions([record["generator"]["tokenizer"]["parameters"]], ".2f")
    cells["generator"] = _millions([stage["parameters"] for stage in stages], ".2f")
    count, seeds = samples_per_seed(record), len(record["seeds"])
    cells["samples"] = Cell(f"{seeds} x {count:,}", seeds * count)
    cells |= {score: _score_cell(score, part) for score, part in record["scores"].items()}
    return our_row(source(record), cells, name, record, result.path)


def _score_cell(name: str, score: dict[str, Any]) -> Cell:
    cell = score_cell(name, score, score.get("interval"))
    ends = " to ".join(rounded(name, end) for end in cell.interval or ())
    return replace(cell, text=f"{cell.text} ({ends})") if ends else cell


def _paper_row(printed: dict[str, str]) -> Row:
    cells = {"kind": Cell(KINDS[printed["group"]]), "method": Cell(printed["method"])}
    if printed["tokens"]:
        cells["tokens"] = _tokens(printed["tokens"])
    for name in ("tokenizer", "generator"):
        parts = [round(float(part) * 1e6) for part in printed[f"{name}_params_m"].split("+") if part]
        if parts:
            cells[name] = _millions(parts, "g")
    cells |= {name: Cell(printed[name], float(printed[name])) for name in INCEPTION_SCORES if printed[name]}
    return Row(printed["source"], cells)


def _tokens(text: str) -> Cell:
    sides = text.split("x")
    if not all(side.isdigit() for side in sides):  # ">256"
        return Cell(text)
    return Cell(text, int(sides[0]) * (int(sides[1]) if len(sides) > 1 else 1))


def _millions(parameters: list[int], form: str) -> Cell:
    """Parameters of a network, or of two after each other; the paper prints at most one decimal, ours need two."""
    return Cell(" + ".join(f"{count / 1e6:{form}}" for count in parameters) + " M", sum(parameters))
