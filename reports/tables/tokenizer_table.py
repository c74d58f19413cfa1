"""Tables of reconstructed images: our result files at one or more scales beside the paper's rows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from gpstoken.metrics import Estimate
from reports.tables.claims import judge_all
from reports.tables.columns import COLUMNS, number
from reports.tables.results import Result, check_same, check_scale, clusters, read_result
from reports.tables.rows import published, read_sweeps, read_table, sweep_of
from reports.tables.table import Cell, Head, Row, Table, assembled, best_of_ours, finished, heads
from reports.tables.tokenizer_notes import FEW_PHOTOGRAPHS, caption, codes_used, notes, origin
from reports.tables.verdicts import as_claims, finding

HEADS = {
    "dataset": Head("dataset", "data"),
    "size": Head("size", "n"),
    "method": Head("method", "method"),
    "parameter": Head("parameter", "parameter"),
    "value": Head("value", "value", "number"),
    "papers_row": Head("papers_row", "the paper's row"),
    "focus": Head("focus", "focus map"),
    "tokens": Head("tokens", "tokens", "number"),
    "numbers": Head("numbers", "numbers", "number"),
    "parameters": Head("parameters", "parameters", "number"),
}


def tokenizer_table(name: str, declared: dict[str, Any], results: Path, scales: list[str]) -> Table:
    """Fills a table of tables.yaml from results/SCALE of every scale.

    Rows of the first scale stand in it whether or not they were measured; those of the others where they were.
    """
    rows, findings, origins, captions, claims, found = [], [], [], [], [], []
    for scale in scales:
        ours, _ = read_table(declared, results / scale)
        measured = [result for result in ours.values() if result is not None]
        for result in measured:
            check_scale(result.path, result.record, scale)
        if scale != scales[0] and not measured:
            continue
        rows += [_our_row(declared, row, ours[row]) for row in ours if scale == scales[0] or ours[row] is not None]
        rows += _published_here(declared, results / scale, measured)
        captions.append(caption(measured))
        found += measured
        tested = judge_all(declared, ours)
        if "claimed" in declared:
            findings.append(finding(declared["claimed"], tested, scale))
        claims += as_claims(tested, {row: each and each.path for row, each in ours.items()}, scale)
        left_out = [f"Left out: {text}." for text in read_sweeps(declared, results / scale)[1]]
        origins.append("\n\n".join([origin(measured), *codes_used(declared, ours), *left_out]))
    rows += [_published_row(declared, printed) for printed in published(declared)]
    # ours of a data set stand before the paper's of its kind
    places = {kind: place for place, kind in enumerate(declared.get("datasets", {}))}
    rows.sort(key=lambda row: places.get(row.group, 0))
    columns, rows = finished([*(HEADS[column] for column in declared["columns"]), *heads(list(COLUMNS))], rows)
    return assembled(
        name,
        declared,
        findings or [best_of_ours(columns, rows)],
        captions,
        columns,
        rows,
        notes=notes(declared, found),
        claims=claims,
        origins=origins,
    )


def _our_row(declared: dict[str, Any], name: str, result: Result | None) -> Row:
    label = declared["ours"].get(name, {})
    kind = label.get("dataset", "")
    title = declared["datasets"][kind]["title"] if kind else ""
    texts = {"dataset": title, "method": label.get("name", ""), "papers_row": label.get("paper", "")}
    if "sweeps" in declared:
        texts |= {"parameter": label.get("parameter", "")}
    if result is None:
        cells = {column: Cell(text) for column, text in texts.items() if text}
        return Row("ours, not measured", cells, ours=True, group=kind, row=name)
    record, data, evaluated = result.record, result.record["data"], result.evaluated
    # At another scale other images may stand in for the embedded ones.
    texts["dataset"] = title if data.get("dataset", kind) == kind else data["dataset"]
    texts |= {"size": _size(data), "focus": _focus(evaluated["focus"])}
    cells = {column: Cell(text) for column, text in texts.items() if text}
    cells |= _code(evaluated) | _swept(declared, name, result)
    cells["parameters"] = Cell(f"{record['parameters'] / 1e6:.2f} M", record["parameters"])
    for column, metric in record["metrics"].items():
        text = number(column, metric["mean"], metric["standard_error"])
        cells[column] = Cell(text, metric["mean"], metric["standard_error"], _interval(metric), metric["count"])
    for column, score in record.get("scores", {}).items():
        # one seed tells nothing of the next
        error = score["standard_error"] if len(score["per_seed"]) > 1 else None
        text = number(column, score["mean"], error, score["count"])
        cells[column] = Cell(text, score["mean"], error, count=score["count"])
    return Row(
        source=f"ours, {record['scale']} scale, {evaluated['image_size']} px",
        cells=cells,
        ours=True,
        scale=record["scale"],
        group=kind,
        row=name,
        result=result.path.as_posix(),
        commit=record["commit"],
    )


def _published_here(declared: dict[str, Any], results: Path, measured: list[Result]) -> list[Row]:
    """Published weights of the rows, measured here on the same images: a source of their own, for nobody trained them.

    Raises:
        ValueError: if they were measured on other images than ours, or are no published weights.
    """
    rows = []
    for name in declared["ours"]:
        result = read_result(results / "published" / f"{name}.json")
        if result is None:
            continue
        if "published" not in result.record["training"]:
            raise ValueError(f"{result.path}: was trained here, and lies among the published weights")
        for other in measured[:1]:
            check_same(other, result, "images")
        row = _our_row(declared, name, result)
        source = f"published weights, measured here, {result.evaluated['image_size']} px"
        rows.append(replace(row, source=source, ours=False, row=None))
    return rows


def _interval(metric: dict[str, Any]) -> tuple[float, float] | None:
    """The 95 % interval of a mean; None where a source of chance cannot be told, or the file is too old to say."""
    if min(metric["seeds"], metric["clusters"]) < 2 or "degrees_of_freedom" not in metric:
        return None
    return Estimate(**metric).interval


def _code(evaluated: dict[str, Any]) -> dict[str, Cell]:
    """Tokens, as a grid where they are one, and the numbers or bits that they hold."""
    count, code = evaluated.get("num_tokens"), evaluated["code"]
    if count is None:
        return {}
    if code is None:
        return {"tokens": Cell(str(count), count)}
    cells = {"tokens": Cell("x".join(map(str, code["shape"])), count)}
    if code["codebook_size"]:
        bits = (code["codebook_size"] - 1).bit_length()
        return cells | {"numbers": Cell(f"{count} x {bits} bit", count * bits)}
    return cells | {"numbers": Cell(f"{count} x {code['channels']}", count * code["channels"])}


def _swept(declared: dict[str, Any], name: str, result: Result) -> dict[str, Cell]:
    """Which argument a row of a sweep varies and its value; of the base row all of them."""
    sweeps = declared.get("sweeps", {})
    values = {sweep: sweep_of(sweep, result) for sweep in sweeps}
    if sweeps and name == declared["base"]:
        return {"value": Cell(", ".join(f"{sweeps[sweep]['symbol']} = {value:g}" for sweep, value in values.items()))}
    label = declared["ours"].get(name, {})
    for sweep, value in values.items():
        if name.startswith(f"{sweep}=") or label.get("sweep") == sweep:
            return {"parameter": Cell(sweeps[sweep]["symbol"]), "value": Cell(f"{value:g}", value)}
    return {}


def _size(data: dict[str, Any]) -> str:
    if data["photographs"] > FEW_PHOTOGRAPHS:
        return f"{data['images']} images of {clusters(data)}"
    plural = "s" * (data["photographs"] != 1)
    return f"demonstration only (n = {data['photographs']} photograph{plural}), {data['images']} images"


def _focus(focus: dict[str, float] | None) -> str:
    if not focus or not focus["strength"]:
        return ""
    return f"strength {focus['strength']:g}, radius {focus['radius']:g} of the shorter side"


def _published_row(declared: dict[str, Any], printed: dict[str, str]) -> Row:
    dataset = printed.get("dataset", "")
    kinds = [kind for kind, entry in declared.get("datasets", {}).items() if entry["paper"] == dataset]
    size = declared["datasets"][kinds[0]].get("size", "") if kinds else ""
    texts = {"dataset": dataset.replace("_", "-"), "size": size, "method": printed.get("method", "")}
    cells = {column: Cell(text) for column, text in texts.items() if text}
    if tokens := printed.get("tokens"):
        sides = tokens.split("x")
        cells["tokens"] = Cell(tokens, int(sides[0]) * int(sides[-1]) if len(sides) > 1 else int(tokens))
    if "sweeps" in declared:
        symbols = {entry["paper"]: entry["symbol"] for entry in declared["sweeps"].values()}
        value = printed["value"]
        cells["parameter"] = Cell(symbols.get(printed["parameter"], printed["parameter"]))
        if printed["parameter"] in symbols:
            cells["value"] = Cell(value, float(value))
        else:
            named = (part.split("=") for part in value.split())
            cells["value"] = Cell(", ".join(f"{symbols.get(name, name)} = {number}" for name, number in named))
    if printed.get("params_m"):
        cells["parameters"] = Cell(f"{float(printed['params_m']):.1f} M", round(float(printed["params_m"]) * 1e6))
    for name in COLUMNS:
        if printed.get(name):
            cells[name] = Cell(printed[name], float(printed[name]))
    return Row(printed["source"], cells, group=kinds[0] if kinds else "")
