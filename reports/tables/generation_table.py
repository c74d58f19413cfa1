"""The table of generators: our rows at their scale beside the paper's Table 2."""

from pathlib import Path
from typing import Any

from reports.declared import name_of, papers_row_of
from reports.tables.columns import INCEPTION_SCORES, SCORES
from reports.tables.generation_cells import score_cell
from reports.tables.generation_claims import judge_all
from reports.tables.generation_notes import notes, origin
from reports.tables.generation_results import Record, read_generators, read_published, samples_per_seed, source
from reports.tables.generation_scored import scored_rows
from reports.tables.generation_sections import classifier_section, memorisation_section
from reports.tables.results import check_scale
from reports.tables.table import Cell, Head, Row, Table, assembled, best_of_ours, finished, heads
from reports.tables.verdicts import as_claims, finding

KINDS = {"ar": "autoregressive", "diffusion": "diffusion"}  # the paper's two
# Of ours: what the network of the last stage predicts says how images are made.
KIND_OF = {"velocity": "flow matching", "score": "diffusion", "noise": "diffusion"}
HEADS = [
    Head("kind", "kind"),
    Head("method", "method"),
    Head("papers_row", "the paper's row"),
    Head("tokens", "tokens", "number"),
    Head("tokenizer", "tokenizer", "number"),
    Head("generator", "generator", "number"),
    Head("samples", "samples", "number"),
]


def generation_table(name: str, declared: dict[str, Any], results: Path, scales: list[str]) -> Table:
    """Fills the table of generators from results/SCALE of every scale, with its sections on classes and copies."""
    rows, findings, origins, captions, claims, sections = [], [], [], [], [], []
    for scale in scales:
        ours = read_generators(results / scale, declared["rows"])
        found = [record for record in ours.values() if record is not None]
        if scale != scales[0] and not found:
            continue
        files = {row: results / scale / "generators" / f"{row}.json" for row in ours}
        for record in found:
            check_scale(files[record["row"]], record, scale)
        rows += [_our_row(row, ours[row], files[row]) for row in ours if scale == scales[0] or ours[row] is not None]
        tested = judge_all(declared, ours)
        findings += [finding(declared["claimed"], tested, scale)] if "claimed" in declared else []
        origins.append("\n".join([origin(found), "", *(f"- {text}" for text in notes(found))]))
        captions.append(_caption(found))
        claims += as_claims(tested, files, scale)
        if found and declared.get("studied"):
            at = f", at {scale} scale" if len(scales) > 1 else ""
            sections += [f"## Can the class of a sample be told{at}?", classifier_section(found)]
            sections += [f"## Are they copies of training images{at}?", memorisation_section(found)]
    if declared.get("scored"):
        for scored, told in (scored_rows(results, scale) for scale in scales):
            rows += scored
            origins += told
    rows += [row for table in declared["published"] for row in _paper_rows(table["file"], table["source"])]
    columns, rows = finished([*HEADS, *heads(list(SCORES))], rows)
    return assembled(
        name,
        declared,
        findings or [best_of_ours(columns, rows)],
        captions,
        columns,
        rows,
        claims=claims,
        origins=origins,
        sections=sections,
    )


def _our_row(name: str, record: Record | None, file: Path) -> Row:
    method, papers_row = name_of(name), papers_row_of(name)
    cells = {"method": Cell(method)}
    if papers_row:
        cells["papers_row"] = Cell(papers_row)
    if record is None:
        return Row("ours, not measured", cells, ours=True, row=name)
    stages = list(record["generator"]["stages"].values())
    if kind := KIND_OF.get(stages[-1].get("prediction")):
        cells["kind"] = Cell(kind)
    if shape := stages[-1].get("network", {}).get("shape"):
        cells["tokens"] = _tokens("x".join(map(str, shape)))
    cells["tokenizer"] = _millions([record["generator"]["tokenizer"]["parameters"]], ".2f")
    cells["generator"] = _millions([stage["parameters"] for stage in stages], ".2f")
    count, seeds = samples_per_seed(record), len(record["seeds"])
    cells["samples"] = Cell(f"{seeds} x {count:,}", seeds * count)
    for score, part in record["scores"].items():
        interval = tuple(part["interval"]) if part.get("interval") else None
        error = part.get("standard_error") if len(part["per_seed"]) > 1 else None
        cells[score] = Cell(score_cell(score, part), part["mean"], error, interval, part["count"])
    return Row(
        source=source(record),
        cells=cells,
        ours=True,
        scale=record["scale"],
        row=name,
        result=file.as_posix(),
        commit=record["commit"],
    )


def _paper_rows(file: str, paper: str) -> list[Row]:
    rows = []
    for printed in read_published(file):
        cells = {"kind": Cell(KINDS[printed["group"]]), "method": Cell(printed["method"])}
        if printed["tokens"]:
            cells["tokens"] = _tokens(printed["tokens"])
        for name in ("tokenizer", "generator"):
            parts = [round(float(part) * 1e6) for part in printed[f"{name}_params_m"].split("+") if part]
            if parts:
                cells[name] = _millions(parts, "g")
        cells |= {name: Cell(printed[name], float(printed[name])) for name in INCEPTION_SCORES if printed[name]}
        rows.append(Row(paper, cells))
    return rows


def _tokens(text: str) -> Cell:
    sides = text.split("x")
    if not all(side.isdigit() for side in sides):  # ">256"
        return Cell(text)
    return Cell(text, int(sides[0]) * (int(sides[1]) if len(sides) > 1 else 1))


def _millions(parameters: list[int], form: str) -> Cell:
    """Parameters of a network, or of two after each other; the paper prints at most one decimal, ours need two."""
    return Cell(" + ".join(f"{count / 1e6:{form}}" for count in parameters) + " M", sum(parameters))


def _caption(found: list[Record]) -> str:
    if not found:
        return "Ours: not measured."
    commits = ", ".join(sorted({record["commit"] for record in found}))
    return f"Ours: {found[0]['scale']} scale, commit {commits}, seeds {', '.join(map(str, found[0]['seeds']))}."
