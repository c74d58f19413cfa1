"""The rows of the tables of tables.yaml: our result files beside the paper's numbers."""

import csv
from pathlib import Path
from typing import Any

import yaml

from reports.columns import COLUMNS
from reports.results import Result, check_same, check_same_origin, clusters, read_result

HERE = Path(__file__).parent
# Up to so many photographs, a mean stands for those photographs alone.
FEW_PHOTOGRAPHS = 3
Row = dict[str, Any]


def declarations() -> dict[str, dict[str, Any]]:
    """Every table of tables.yaml by name."""
    return yaml.safe_load((HERE / "tables.yaml").read_text(encoding="utf-8"))


def read_table(declared: dict[str, Any], results: Path) -> tuple[dict[str, Result | None], list[dict[str, str]]]:
    """The result files that a table names (None where there is none) and the published rows.

    Returns:
        Our rows by name, and the paper's: what is printed, with the "source" that tables.yaml words.

    Raises:
        ValueError: if the files are of different scales, seeds or training budgets, those of one data set are of
            different images, or a study evaluated another row than its name says.
    """
    ours = {row: _read(results, row, label) for row, label in declared["ours"].items()}
    found = {row: result for row, result in ours.items() if result is not None}
    of_data_set: dict[Any, list[Result]] = {}
    for row, result in found.items():
        label = declared["ours"][row]
        if (of := label.get("of", row)) != result.evaluated["row"]:
            raise ValueError(f"{results}: the file of {row} evaluated the row {result.evaluated['row']!r}, not {of!r}")
        for name in ("scale", "seeds", "training"):
            check_same(next(iter(found.values())), result, name)
        of_data_set.setdefault(label.get("dataset"), []).append(result)
    for group in of_data_set.values():
        check_same_origin(group, declared.get("sizes_differ", False))
    published = []
    for table in declared["published"]:
        with (HERE / "published" / table["file"]).open(newline="", encoding="utf-8") as file:
            for printed in csv.DictReader(file):
                named = {"source": table["source"].format(**printed)}
                published.append({"method": table.get("method", "")} | printed | named)
    return ours, published


def _read(results: Path, row: str, label: dict[str, str]) -> Result | None:
    if "of" not in label:
        return read_result(results / "tokenizers" / f"{row}.json")
    result = read_result(results / "studies" / f"{row}.json")
    if result is None and "dataset" in label:
        itself = read_result(results / "tokenizers" / f"{label['of']}.json")
        if itself is not None and itself.record["data"].get("dataset") == label["dataset"]:
            return itself
    return result


def rows_of(declared: dict[str, Any], ours: dict[str, Result | None], published: list[dict[str, str]]) -> list[Row]:
    """The table as one list; numbers as they were measured or printed, absent where there is none.

    Ours come first, or where there are several data sets, ours of each before the paper's of its kind.
    """
    rows = [_our_row(declared, row, result) for row, result in ours.items()]
    rows += [_published_row(declared, printed) for printed in published]
    places = {name: place for place, name in enumerate(declared.get("datasets", {}))}
    return sorted(rows, key=lambda row: places.get(row["kind"], 0))


def _our_row(declared: dict[str, Any], name: str, result: Result | None) -> Row:
    label = declared["ours"][name]
    kind = label.get("dataset", "")
    title = declared["datasets"][kind]["title"] if kind else ""
    row = {"kind": kind, "source": "ours, not measured", "method": label["name"], "papers_row": label.get("paper", "")}
    if result is None:
        return row | {"dataset": title}
    record, data, evaluated = result.record, result.record["data"], result.evaluated
    # At another scale other images may stand in for the embedded ones.
    row["dataset"] = title if data.get("dataset", kind) == kind else data["dataset"]
    row |= {"source": f"ours, {record['scale']} scale, {evaluated['image_size']} px"}
    row |= {"tokens": str(evaluated["num_tokens"]), "parameters": record["parameters"]}
    row |= {"images": data["images"], "photographs": data["photographs"], "focus": _focus(evaluated["focus"])}
    row["size"] = f"{data['images']} images of {clusters(data)}"
    if data["photographs"] <= FEW_PHOTOGRAPHS:
        plural = "s" * (data["photographs"] != 1)
        row["size"] = f"demonstration only (n = {data['photographs']} photograph{plural}), {data['images']} images"
    for column, metric in record["metrics"].items():
        row |= {column: metric["mean"], f"{column}_standard_error": metric["standard_error"]}
    for column, score in record.get("scores", {}).items():
        row |= {column: score["mean"], f"{column}_count": score["count"]}
        if len(score["per_seed"]) > 1:  # one seed tells nothing of the next
            row[f"{column}_standard_error"] = score["standard_error"]
    return row


def _published_row(declared: dict[str, Any], printed: dict[str, str]) -> Row:
    dataset = printed.get("dataset", "")
    kinds = [kind for kind, entry in declared.get("datasets", {}).items() if entry["paper"] == dataset]
    row = {"kind": kinds[0] if kinds else "", "dataset": dataset.replace("_", "-")}
    row |= {name: printed.get(name, "") for name in ("source", "method", "tokens")}
    row["size"] = declared["datasets"][kinds[0]].get("size", "") if kinds else ""
    if printed.get("params_m"):
        row["parameters"] = round(float(printed["params_m"]) * 1e6)
    return row | {name: float(printed[name]) for name in COLUMNS if printed.get(name)}


def _focus(focus: dict[str, float] | None) -> str:
    if not focus or not focus["strength"]:
        return ""
    return f"strength {focus['strength']:g}, radius {focus['radius']:g} of the shorter side"
