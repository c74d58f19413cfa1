"""`python -m reports.site`: the tables, figures and result files as a folder of HTML that opens without a server."""

import argparse
import sys
from pathlib import Path

from reports.site.build import build
from reports.site.material import read_material


def main(arguments: list[str] | None = None) -> int:
    """Writes the site; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m reports.site", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="laptop", help="whose tables and figures (default: laptop)")
    parser.add_argument("--tables", type=Path, help="NAME.json of each (default: reports/generated/SCALE/tables)")
    parser.add_argument("--figures", type=Path, help="default: reports/generated/SCALE/figures")
    parser.add_argument("--results", type=Path, default=Path("results"), help="what the tables call results/")
    parser.add_argument(
        "--runs-file",
        type=Path,
        nargs="*",
        help="stamps of reports.publish, for MLflow's run ids (default: published.json of every scale in --results)",
    )
    parser.add_argument("-o", "--output", type=Path, help="default: reports/generated/SCALE/site")
    options = parser.parse_args(arguments)
    generated = Path("reports/generated") / options.scale
    for name in ("tables", "figures"):
        setattr(options, name, getattr(options, name) or generated / name)
    options.output = options.output or generated / "site"
    stamps = options.runs_file
    if stamps is None:
        stamps = sorted(options.results.glob("*/published.json"))
    try:
        pages = build(read_material(options.tables, options.figures, options.results, stamps), options.output)
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{pages} pages: {options.output / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
