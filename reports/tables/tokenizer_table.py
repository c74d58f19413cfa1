"""Tables of reconstructed images: our result files at one or more scales beside the paper's rows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from gpstoken.metrics import Estimate
from reports.tables.assembly import Part, assembled, caption, commits, devices, missing_row, our_row, text_cells
from reports.tables.claims import as_lines, finding, judge_all
from reports.tables.columns import COLUMNS, cells_of, heads, score_cell
from reports.tables.results import Result, check_same, check_scale, clusters, read_result
from reports.tables.rows import published, read_sweeps, read_table, sweep_of
from reports.tables.table import Cell, Row, Table

# Up to so many photographs, a mean stands for those photographs alone.
FEW_PHOTOGRAPHS = 3
FEW = "**Demonstration only**: with so few photographs a mean says nothing about other photographs, whatever its ±."


def tokenizer_table(name: str, declared: dict[str, Any], results: Path, scales: list[str]) -> Table:
    """Fills a table of tables.yaml from results/SCALE of every scale.

    Rows of the first scale stand in it whether or not they were measured; those of the others where they were.
    """
    parts = [_part(declared, results / scale, scale == scales[0]) for scale in scales]
    every = {head.name: head for head in heads("tokenizers", COLUMNS)}
    columns = [every[column] for column in (*declared["columns"], *COLUMNS)]
    # Ours of a data set stand before the paper's of its kind.
    places = {kind: place for place, kind in enumerate(declared.get("datasets", {}))}
    rows = [_published_row(declared, printed) for printed in published(declared)]
    return assembled(name, declared, columns, parts, rows, lambda row: places.get(row.group, 0))


def _part(declared: dict[str, Any], results: Path, first: bool) -> Part | None:
    ours, _ = read_table(declared, results)
    measured = [result for result in ours.values() if result is not None]
    for result in measured:
        check_scale(result.path, result.record, results.name)
    if not measured and not first:
        return None
    rows = [_our_row(declared, row, result) for row, result in ours.items() if first or result is not None]
    tests = judge_all(declared, ours, results.name)
    left_out = [f"Left out: {text}." for text in read_sweeps(declared, results)[1]]
    return Part(
        rows=rows + _published_here(declared, results, measured),
        caption=caption([result.record for result in measured]),
        origins=origins(declared, ours, left_out),
        finding=finding(declared["claimed"], tests, results.name) if "claimed" in declared else "",
        claims=as_lines(tests, results.name),
        notes=[FEW] * any(result.record["data"]["photographs"] <= FEW_PHOTOGRAPHS for result in measured),
    )


def _our_row(declared: dict[str, Any], name: str, result: Result | None) -> Row:
    label = declared["ours"].get(name, {})
    kind = label.get("dataset", "")
    title = declared["datasets"][kind]["title"] if kind else ""
    texts = {"dataset": title, "method": label.get("name", ""), "papers_row": label.get("paper", "")}
    if "sweeps" in declared:
        texts |= {"parameter": label.get("parameter", "")}
    if result is None:
        return missing_row(name, texts, kind)
    record, data, evaluated = result.record, result.record["data"], result.evaluated
    # At another scale other images may stand in for the embedded ones.
    texts["dataset"] = title if data.get("dataset", kind) == kind else data["dataset"]
    texts |= {"size": _size(data), "focus": _focus(evaluated["focus"])}
    cells = text_cells(texts) | _code(evaluated) | _swept(declared, name, result) | cells_of("tokenizers", record)
    cells |= {column: score_cell(column, metric, _interval(metric)) for column, metric in record["metrics"].items()}
    for column, score in record.get("scores", {}).items():
        cell = score_cell(column, score)
        cells[column] = replace(cell, text=f"{cell.text} (N = {score['count']})")
    source = f"ours, {record['scale']} scale, {evaluated['image_size']} px"
    return our_row(source, cells, name, record, result.path, kind)


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


def origins(declared: dict[str, Any], ours: dict[str, Result | None], left_out: list[str]) -> list[str]:
    """A paragraph of one scale: data, budget, commit and device, how many codes were used, and what was left out."""
    measured = {row: result for row, result in ours.items() if result is not None}
    return ["\n\n".join([_origin(list(measured.values())), *_codes_used(declared, measured), *left_out])]


def _origin(results: list[Result]) -> str:
    """A list of the data where the rows have several."""
    if not results:
        return "None of our rows has been evaluated yet."
    records = [result.record for result in results]
    first, training = records[0], records[0]["training"]
    seeds = ", ".join(map(str, first["seeds"]))
    budget = f"seeds {seeds}; {training['steps']} training steps of {training['batch_size']} images."
    made = f"Commit {commits(records)}. Device {devices(records)}, torch {first['versions']['torch']}."
    data = list(dict.fromkeys(_data(result) for result in results))
    if len(data) == 1:
        size, described = data[0]
        return f"Scale **{first['scale']}**: {size}; {budget} Data {described}. {made}"
    lines = [f"Scale **{first['scale']}**: {budget} {made} Data:", "", *(f"- {text}: {size}" for size, text in data)]
    return "\n".join(lines)


def _data(result: Result) -> tuple[str, str]:
    data = result.record["data"]
    name = f"{data['class_path']}" + (f" ({data['dataset']})" if "dataset" in data else "")
    crop = f" crop {data['crop']}," if "crop" in data else ""
    skipped = f", damaged files skipped: {data['skipped']}" if data.get("skipped") else ""
    place = f"{name}, split {data['split']}, {result.evaluated['image_size']} px,{crop}"
    images = f"n = {data['images']} held-out images of {clusters(data)}{skipped}"
    return images, f"{place} fingerprint {data['fingerprint'][:12]}"


def _codes_used(declared: dict[str, Any], measured: dict[str, Result]) -> list[str]:
    """How many codes of its codebook each seed of a row uses; nothing where no row of the scale has recorded it."""
    rows = []
    for row, result in measured.items():
        if codebook := result.record.get("codebook"):
            used = ", ".join(map(str, codebook["codes_used"]["per_seed"]))
            tokens = result.record["data"]["images"] * result.evaluated["num_tokens"]
            name = declared["ours"].get(row, {"name": row})["name"]  # a value of a sweep has no other
            rows.append(f"{name} {used} of {codebook['codebook_size']:,} (in {tokens:,} tokens)")
    text = f"Codes of its codebook that each seed uses on the test images: {'; '.join(rows)}."
    return [f"{text} A small number means that the codebook has collapsed."] * bool(rows)
