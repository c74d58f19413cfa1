"""The table of generators: our rows at their scale beside the paper's Table 2, and anybody's samples."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gpstoken.commands.seeds import SAME_BUDGET
from reports.declared import generator, generators, name_of
from reports.tables.assembly import Part, assembled, missing_row, our_row, text_cells
from reports.tables.claims import as_lines, finding, judge_all
from reports.tables.columns import (
    INCEPTION_SCORES,
    SCORES,
    cells_of,
    columns_of,
    millions,
    rounded,
    score_cell,
    tokens_cell,
)
from reports.tables.results import Result, check_same, read_record
from reports.tables.table import Cell, Row, Table
from reports.tables.texts import paragraph, section

Record = dict[str, Any]
KINDS = {"ar": "autoregressive", "diffusion": "diffusion"}  # the paper's two
# Of ours, by what the network of the last stage predicts, or else by the family of the sampler in rows.yaml.
KIND_OF = {"velocity": "flow matching", "score": "diffusion", "noise": "diffusion"}
KIND_OF_FAMILY = {"discrete": "diffusion", "unet": "diffusion", "masked": "masked", "autoregressive": "autoregressive"}
MOST_CLASSES = 20


def generation_table(name: str, declared: dict[str, Any], results: Path, scales: list[str]) -> Table:
    """Fills the table of generators from results/SCALE of every scale, with its sections on classes and copies."""
    parts = [_part(declared, results / scale, len(scales) > 1) for scale in scales]
    if declared.get("scored"):
        parts += [_scored_rows(results / scale) for scale in scales]
    return assembled(name, declared, [*columns_of("generators"), *SCORES.values()], parts, _paper_row)


def _part(declared: dict[str, Any], results: Path, several: bool) -> Part:
    ours, scale = read_generators(results, declared["rows"]), results.name
    records = [result.record for result in ours.values()]
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
        rows=[_our_row(row, ours.get(row)) for row in declared["rows"]],
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
    texts = {"method": name_of(name), "papers_row": generator(name).get("paper", "")}
    if result is None:
        return missing_row(name, texts)
    record = result.record
    stages = list(record["generator"]["stages"].values())
    kind = KIND_OF.get(stages[-1].get("prediction"), KIND_OF_FAMILY.get(generator(name).get("family", ""), ""))
    cells = text_cells(texts | {"kind": kind}) | cells_of("generators", record)
    if shape := _token_shape(stages[-1]):
        cells["tokens"] = tokens_cell("x".join(map(str, shape)))
    cells["tokenizer"] = millions(record["generator"]["tokenizer"]["parameters"])
    cells["generator"] = millions(*(stage["parameters"] for stage in stages))
    count, seeds = samples_per_seed(record), len(record["seeds"])
    cells["samples"] = Cell(f"{seeds} x {count:,}", seeds * count)
    sampling = record.get("cost", {}).get("inference", {})
    if "network_rows_a_sample" in sampling:
        calls, seconds = sum(sampling["network_rows_a_sample"].values()), 1 / sampling["samples_per_second"]
        cells |= {"calls": Cell(f"{calls:,.0f}", calls), "seconds": Cell(f"{seconds:.2g}", seconds)}
    for score, part in record["scores"].items():
        cell = score_cell(score, part, part.get("interval"))
        ends = " to ".join(rounded(score, end) for end in cell.interval or ())
        cells[score] = replace(cell, text=f"{cell.text} ({ends})") if ends else cell
    return our_row(source(record), cells, name, result)


def _token_shape(stage: Record) -> list[int] | None:
    """The numbers of tokens of an image along each side, or in a row; None for a generator of pixels."""
    described = stage | stage.get("network", {})
    if "map_shape" in described:  # D2iT: a coarse region has one code and a fine one 2 x 2
        regions = math.prod(described["map_shape"])
        return [regions + 3 * int(described["fine_share"] * regions)]
    return described.get("shape") or ([described["num_tokens"]] if "num_tokens" in described else None)


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


def read_generators(results: Path, rows: Sequence[str] | None = None) -> dict[str, Result]:
    """The results of rows in results/SCALE/generators, as far as they are there.

    A record has its cost beside it as "cost"; a score has a number a seed, of all samples together. Without `rows` they
    are those that the paper compares.

    Raises:
        ValueError: if a file is not what its name says or of another scale, or two of them cannot be compared.
    """
    read = {row: _read(results, row) for row in rows or generators()}
    ours = {row: result for row, result in read.items() if result is not None}
    check_same(ours.values(), "batch size", "images", "real images", "numbers of samples")
    return ours


def _read(results: Path, row: str) -> Result | None:
    path = results / "generators" / f"{row}.json"
    result = read_record(path, "generators", results.name)
    if result is None:
        return None
    record = result.record
    if cost := read_record(results / "cost" / path.name, "cost", results.name):
        record["cost"] = cost.record
    curve = [(f"step {point['step']}, ", point["scores"]) for point in record.get("curve", [])]
    for place, scores in [("", record["scores"]), *curve]:
        for name, score in scores.items():
            if name not in SCORES:
                raise ValueError(f"{path}: {place}score {name!r} has no column in reports/tables/columns.yaml")
            # A distance of another network must never pass for an FID.
            network = "inception" if name in INCEPTION_SCORES else name.partition("_")[2]
            if name != "class_accuracy" and network not in record["networks"]:
                raise ValueError(f"{path}: {place}score {name!r} belongs to the network {network}, which was not used")
            if len(score["per_seed"]) != len(record["seeds"]):
                held, seeds = len(score["per_seed"]), len(record["seeds"])
                raise ValueError(f"{path}: {place}score {name!r} has {held} numbers for {seeds} seeds")
    values = {name: np.array(score["per_seed"], dtype=float)[:, None] for name, score in record["scores"].items()}
    return replace(result, values=values, indices=[0], sources=["all samples of a seed"])


def budget(record: Record) -> float | None:
    """Billions of multiply-adds of all training samples, forward, in all networks of a row; None if not counted."""
    measured, every = record.get("cost", {}).get("training", {}), record["generator"]["stages"]
    if not all("gmacs" in measured.get(name, {}) for name in every):
        return None
    return sum(stage["steps"] * stage["batch_size"] * measured[name]["gmacs"] for name, stage in every.items())


def source(record: Record) -> str:
    """Where a row of ours comes from: "ours, laptop scale, 64 px"."""
    side = record["data"].get("init_args", {}).get("image_size")
    return f"ours, {record['scale']} scale" + (f", {side} px" if side else "")


def samples_per_seed(record: Record) -> int:
    """How many samples of each seed were scored."""
    return max(score["count"] for score in record["scores"].values())
