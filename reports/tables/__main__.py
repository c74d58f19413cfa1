"""`python -m reports.tables`: every table of tables.yaml as Markdown, CSV, LaTeX and JSON, ours beside the paper's."""

import argparse
import sys
from pathlib import Path

from gpstoken.files.writing import replace_file
from reports.declared import every_table
from reports.tables.claims_table import claims_table
from reports.tables.cost_table import cost_table
from reports.tables.efficiency_table import efficiency_table
from reports.tables.generation_table import generation_table
from reports.tables.kernels_table import kernels_table
from reports.tables.render import as_csv, as_json, latex, markdown
from reports.tables.summary import write_summary
from reports.tables.tokenizer_table import tokenizer_table

READERS = {
    "tokenizers": tokenizer_table,
    "efficiency": efficiency_table,
    "generators": generation_table,
    "costs": cost_table,
    "claims": claims_table,
    "kernels": kernels_table,
}
READING = Path(__file__).parents[1] / "reading.md"
COMMITTED = ("laptop", "workstation", "paper")  # scales whose results may lie in the repository


def main(arguments: list[str] | None = None) -> int:
    """Writes every declared table; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m reports.tables", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="holds a folder a scale")
    parser.add_argument("--scale", default="laptop", help="whose rows the tables have, measured or not")
    beside = f"scales whose rows stand beside, where there are any (default: {' '.join(COMMITTED)})"
    parser.add_argument("--beside", nargs="*", default=COMMITTED, help=beside)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    scales = list(dict.fromkeys([options.scale, *options.beside]))
    beside = f" --beside {' '.join(scales[1:])}" * (len(scales) > 1)
    command = f"python -m reports.tables --results {options.results} --scale {options.scale}{beside}"
    for name, declared in every_table().items():
        table = READERS[declared.get("reader", "tokenizers")](name, declared, options.results, scales)
        texts = {"md": markdown(table, options.output), "csv": as_csv(table), "json": as_json(table)}
        for form, text in (texts | {"tex": latex(table, command)}).items():
            replace_file(options.output / f"{table.name}.{form}", text.encode())
    replace_file(options.output / READING.name, READING.read_bytes())
    if (options.results / options.scale).is_dir():
        write_summary(options.results / options.scale)
    return 0


if __name__ == "__main__":
    sys.exit(main())
