"""Tables of reconstructed images: our result files at one or more scales beside the paper's rows."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from gpstoken.metrics import Estimate
from reports.declared import loads
from reports.tables.assembly import Part, assembled, missing_row, our_row, text_cells
from reports.tables.claims import as_lines, finding, judge_all
from reports.tables.columns import COLUMNS, cells_of, columns_of, millions, rounded, score_cell, tokens_cell
from reports.tables.results import Result, check_same, read_record, read_result
from reports.tables.rows import read_recognised, read_sweeps, read_table, sweep_of, varied
from reports.tables.table import Cell, Row, Table
from reports.tables.texts import listed, paragraph

Records = dict[str, dict[str, Any]]
# Up to so many photographs, a mean stands for those photographs alone.
FEW_PHOTOGRAPHS = 3
FEW = "**Demonstration only**: with so few photographs a mean says nothing about other photographs, whatever its ±."


def tokenizer_table(name: str, declared: dict[str, Any], results: Path, scales: list[str]) -> Table:
    """Fills a table of tables.yaml from results/SCALE of every scale."""
    parts = [_part(declared, results / scale) for scale in scales]
    every = {column.name: column for column in columns_of("tokenizers")} | COLUMNS
    columns = [every[column] for column in (*declared["columns"], *COLUMNS)]
    # Ours of a data set stand before the paper's of its kind.
    places = {kind: place for place, kind in enumerate(declared.get("datasets", {}))}
    paper_row = partial(_paper_row, declared)
    return assembled(name, declared, columns, parts, paper_row, lambda row: places.get(row.group, 0))


def _part(declared: dict[str, Any], results: Path) -> Part:
    ours, scale = read_table(declared, results), results.name
    records, tests = {row: result.record for row, result in ours.items()}, judge_all(declared, ours)
    # Which rows are equal to another is known of measured ones alone.
    shown = (ours or [declared["equal"]["to"]]) if "equal" in declared else declared["ours"] | ours
    known = {row: read_recognised(declared, row, result, results) for row, result in ours.items()}
    speeds = _speeds(results) if "encode_ms" in declared["columns"] else {}
    return Part(
        rows=[_our_row(declared, row, ours.get(row), known.get(row, {}), speeds.get(row, {})) for row in shown]
        + _published_here(declared, results, list(ours.values())),
        caption=paragraph("caption", list(records.values())),
        origins=[_origin(declared, records, read_sweeps(declared, results)[1]), *_ceilings(known)],
        finding=finding(declared, tests, scale) or _told(declared, records),
        claims=as_lines(tests, scale),
        notes=[FEW] * any(record["data"]["photographs"] <= FEW_PHOTOGRAPHS for record in records.values()),
    )


def _told(declared: dict[str, Any], records: Records) -> str:
    """The PSNR of the rows that a table names for it, as a sentence; empty where none is measured."""
    told = declared.get("told", {"rows": []})
    found = {row: records[row] for row in told["rows"] if row in records}
    means = {declared["ours"][row]["name"]: record["metrics"]["psnr"]["mean"] for row, record in found.items()}
    parts = [f"{rounded('psnr', mean)} dB ({name})" for name, mean in means.items()]
    data = {record["data"].get("dataset", "") for record in found.values()}
    return f"{told['of']} ({', '.join(sorted(data))}) PSNR is {listed(parts)}." if parts else ""


def _origin(declared: dict[str, Any], records: Records, left_out: list[str]) -> str:
    """Data, budget, commit and device of one scale, how many codes were used, and what was left out."""
    places = dict.fromkeys((paragraph("count_of", each), paragraph("place_of", each)) for each in records.values())
    origin = paragraph("images", list(records.values()), *(places if len(places) == 1 else [()]))
    if len(places) > 1:
        origin = "\n".join([origin, "", *(f"- {place}: {count}" for count, place in places)])
    # A value of a sweep has no other name.
    codes = [
        (declared["ours"].get(row, {"name": row})["name"], record)
        for row, record in records.items()
        if record.get("codebook")
    ]
    used = [paragraph("codes_used", codes)] if codes else []
    return "\n\n".join([origin, *used, *(f"Left out: {text}." for text in left_out)])


def _speeds(results: Path) -> dict[str, dict[str, Cell]]:
    """What `gpstoken speed` measured of every row: the mean of the rounds, with their standard deviation."""
    measured = read_record(results / "speed" / "rows.json", scale=results.name)
    every = {}
    for row, numbers in measured.record["rows"].items() if measured else ():
        every[row] = {part: Cell(f"{numbers[part]:.3f}", numbers[part]) for part in ("encode_gmacs", "decode_gmacs")}
        for part in ("encode_ms", "decode_ms"):
            spread = stdev(numbers[part]) if len(numbers[part]) > 1 else None
            text = f"{mean(numbers[part]):.2f}" + (f" ± {spread:.2f}" if spread is not None else "")
            every[row][part] = Cell(text, mean(numbers[part]), spread)
    return every


def _ceilings(known: dict[str, dict[str, Result]]) -> list[str]:
    """What is recognised of the original pictures themselves, for each metric of the rows, as a paragraph."""
    arms = {metric: arm.record for row in known.values() for metric, arm in row.items()}
    parts = [paragraph("ceiling", metric, record["recognition"][metric]) for metric, record in arms.items()]
    return [paragraph("ceilings", listed(parts))] if parts else []


def _our_row(
    declared: dict[str, Any], name: str, result: Result | None, known: dict[str, Result], speed: dict[str, Cell]
) -> Row:
    """A row of ours; `known` has the results of what is recognised after reconstruction, by metric."""
    label = declared["ours"].get(name, {})
    kind = label.get("dataset", "")
    title = declared["datasets"][kind]["title"] if kind else ""
    texts = {"dataset": title, "method": label.get("name", ""), "papers_row": label.get("paper", "")}
    if "loads" in declared["columns"]:
        texts |= {"loads": loads(name)}
    if "sweeps" in declared:
        texts |= {"parameter": label.get("parameter", "")}
    if result is None:
        return missing_row(name, texts, kind)
    record, data, evaluated = result.record, result.record["data"], result.evaluated
    # At another scale other images may stand in for the embedded ones.
    texts["dataset"] = title if data.get("dataset", kind) == kind else data["dataset"]
    texts |= {"size": paragraph("size", data, FEW_PHOTOGRAPHS), "focus": paragraph("focus", evaluated["focus"])}
    cells = text_cells(texts) | speed | _code(result) | _swept(declared, name, result) | cells_of("tokenizers", record)
    seeds = 1 if declared.get("one_model") else 2
    recognised = {column: arm.record["metrics"][column] for column, arm in known.items()}
    for column, metric in (record["metrics"] | recognised).items():
        cells[column] = score_cell(column, metric, _interval(metric, seeds))
    for column, score in record.get("scores", {}).items():
        cell = score_cell(column, score)
        cells[column] = replace(cell, text=f"{cell.text} (N = {score['count']})")
    return our_row(f"ours, {record['scale']} scale, {evaluated['image_size']} px", cells, name, result, kind)


def _published_here(declared: dict[str, Any], results: Path, measured: list[Result]) -> list[Row]:
    """Published weights of the rows, measured here on the same images: a source of their own."""
    rows = []
    for name in declared["ours"]:
        result = read_result(results / "published" / f"{name}.json", results.name)
        if result is None:
            continue
        if "published" not in result.record["training"]:
            raise ValueError(f"{result.path}: was trained here, and lies among the published weights")
        check_same([*measured[:1], result], "images")
        row = _our_row(declared, name, result, {}, {})
        source = f"published weights, measured here, {result.evaluated['image_size']} px"
        rows.append(replace(row, source=source, ours=False, row=None))
    return rows


def _interval(metric: dict[str, Any], seeds: int) -> tuple[float, float] | None:
    """The 95 % interval of a mean; None with fewer than `seeds` or two photographs, or where the file is too old."""
    if metric["seeds"] < seeds or metric["clusters"] < 2 or "degrees_of_freedom" not in metric:
        return None
    return Estimate(**metric).interval


def _code(result: Result) -> dict[str, Cell]:
    """Tokens, as a grid where they are one, and the numbers or bits that they hold."""
    count, code, bits = result.evaluated["num_tokens"], result.evaluated["code"], result.bits
    index = f"{result.index_bits} bit" if code["codebook_size"] else ""
    if index and code["channels"] == 1:
        held = Cell(f"{count} x {index}", bits)
    else:
        rounded = "" if bits is None else f" x {result.evaluated['token_bits']} bit"
        # Of real numbers, or of real numbers and an index
        token = f"({code['channels'] - 1}{rounded} + {index})" if index else f"{code['channels']}{rounded}"
        held = Cell(f"{count} x {token}", result.numbers)
    cells = {
        "tokens": Cell("x".join(map(str, code["shape"])), count),
        "numbers": held,
        "bits": Cell(f"{result.bits_of_bytes:,}", result.bits_of_bytes),
    }
    if bits is not None:
        per_pixel = bits / result.evaluated["image_size"] ** 2
        cells |= {"bytes": Cell(f"{bits / 8:,.0f}", bits / 8), "bits_per_pixel": Cell(f"{per_pixel:.2f}", per_pixel)}
    return cells


def _swept(declared: dict[str, Any], name: str, result: Result) -> dict[str, Cell]:
    """Which argument a row of a sweep varies and its value; of the base row all of them."""
    sweeps = declared.get("sweeps", {})
    values = {sweep: sweep_of(sweep, result) for sweep in sweeps}
    if sweeps and name == declared["base"]:
        return {"value": Cell(", ".join(f"{sweeps[sweep]['symbol']} = {value:g}" for sweep, value in values.items()))}
    if (sweep := varied(declared, name)) is None:
        return {}
    return {"parameter": Cell(sweeps[sweep]["symbol"]), "value": Cell(f"{values[sweep]:g}", values[sweep])}


def _paper_row(declared: dict[str, Any], printed: dict[str, str]) -> Row:
    dataset = printed.get("dataset", "")
    sizes = {kind: of.get("size", "") for kind, of in declared.get("datasets", {}).items() if of["paper"] == dataset}
    kind, size = next(iter(sizes.items()), ("", ""))
    cells = text_cells({"dataset": dataset.replace("_", "-"), "size": size, "method": printed.get("method", "")})
    if printed.get("tokens"):
        cells["tokens"] = tokens_cell(printed["tokens"])
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
        cells["parameters"] = millions(round(float(printed["params_m"]) * 1e6), form=".1f")
    cells |= {name: Cell(printed[name], float(printed[name])) for name in COLUMNS if printed.get(name)}
    return Row(printed["source"], cells, group=kind)
