"""What `dvc metrics show` and `dvc plots` print of a scale: five numbers, and a quality a row."""

import csv
import json
from pathlib import Path
from typing import Any

from gpstoken.files.writing import replacing
from reports.declared import every_table, generators, main_row, name_of
from reports.tables.columns import METRICS
from reports.tables.generation_results import read_generators
from reports.tables.rows import read_table

OF_TOKENIZER = ("psnr", "ssim", "lpips_alexnet")
OF_GENERATOR = ("kid_efficientnet_lite0", "class_accuracy")


def write_summary(results: Path) -> None:
    """Writes metrics.json, of the main tokenizer and of the first generator, and rows.csv, of every tokenizer.

    Both go to results/SCALE; a number that was not measured is left out.
    """
    declared = every_table()["reconstruction"]
    ours = {row: result.record for row, result in read_table(declared, results).items() if result is not None}
    rows = {declared["ours"][row]["name"]: _numbers(record["metrics"], OF_TOKENIZER) for row, record in ours.items()}
    main, first = declared["ours"][main_row()]["name"], generators()[0]
    metrics = {main: rows[main]} if main in rows else {}
    if result := read_generators(results)[first]:
        metrics[name_of(first)] = _numbers(result.record["scores"], OF_GENERATOR)
    with replacing(results / "metrics.json") as part:
        part.write_text(json.dumps(metrics, indent=1) + "\n")
    with replacing(results / "rows.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([["row", *OF_TOKENIZER], *([name, *numbers.values()] for name, numbers in rows.items())])


def _numbers(measured: dict[str, Any], names: tuple[str, ...]) -> dict[str, float]:
    """Means as the tables print them, by heading."""
    columns = {name: METRICS[name] for name in names if name in measured}
    return {
        column.heading: round(measured[name]["mean"] * column.factor, column.digits) for name, column in columns.items()
    }
