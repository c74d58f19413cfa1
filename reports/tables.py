"""`python -m reports.tables`: the tables of tables.yaml as Markdown and CSV, ours beside the paper's."""

import argparse
import csv
import io
import sys
from pathlib import Path

from gpstoken.writing import replacing
from reports.columns import COLUMNS
from reports.pages import markdown
from reports.rows import Row, declarations, read_table, rows_of


def main(arguments: list[str] | None = None) -> int:
    """Writes every declared table; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m reports.tables", description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="results/SCALE")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    for name, declared in declarations().items():
        ours, published = read_table(declared, options.results)
        with replacing(options.output / f"{name}.md") as part:
            part.write_text(markdown(declared, ours, published), encoding="utf-8")
        with replacing(options.output / f"{name}.csv") as part:
            part.write_text(as_csv(rows_of(declared, ours, published)), encoding="utf-8")
    return 0


def as_csv(rows: list[Row]) -> str:
    """The rows for machines: every digit, the standard error and the number of images in columns of their own."""
    used = {name for row in rows for name, value in row.items() if value != ""}
    columns = ["source", "dataset", "method", "papers_row", "tokens", "focus", "images", "photographs", "parameters"]
    columns += [f"{name}{part}" for name in COLUMNS for part in ("", "_standard_error", "_count")]
    file = io.StringIO()
    # what no row has is left out, and what only sorts and words the rows
    names = [name for name in columns if name in used]
    writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
