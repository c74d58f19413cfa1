"""What `dvc metrics show` and `dvc plots` print of a scale: five numbers, and a quality a row."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from gpstoken.files.writing import replace_file
from reports.declared import every_table, generators, name_of, rows
from reports.tables.columns import METRICS
from reports.tables.generation_table import read_generators
from reports.tables.rows import read_table

OF_TOKENIZER = ("psnr", "ssim", "lpips_alexnet")
OF_GENERATOR = ("kid_efficientnet_lite0", "class_accuracy")


def write_summary(results: Path) -> None:
    """Writes metrics.json, of the main tokenizer and of the first generator, and rows.csv, of every tokenizer.

    Both go to results/SCALE; a number that was not measured is left out.
    """
    declared, (first, *_) = every_table()["reconstruction"], generators()
    ours, sampled = read_table(declared, results), read_generators(results)
    of_rows = {
        declared["ours"][row]["name"]: _means(result.record["metrics"], OF_TOKENIZER) for row, result in ours.items()
    }
    main = declared["ours"][rows()["swept"]]["name"]
    shown = {main: of_rows[main]} if main in of_rows else {}
    if first in sampled:
        shown[name_of(first)] = _means(sampled[first].record["scores"], OF_GENERATOR)
    metrics = {row: {METRICS[name].heading: mean for name, mean in means.items()} for row, means in shown.items()}
    table = pd.DataFrame.from_dict(of_rows, orient="index", columns=OF_TOKENIZER)
    replace_file(results / "metrics.json", (json.dumps(metrics, indent=1) + "\n").encode())
    replace_file(results / "rows.csv", table.to_csv(index_label="row", lineterminator="\n").encode())


def _means(measured: dict[str, Any], names: tuple[str, ...]) -> dict[str, float]:
    """Means as the tables print them."""
    columns = {name: METRICS[name] for name in names if name in measured}
    return {name: round(measured[name]["mean"] * column.factor, column.digits) for name, column in columns.items()}
