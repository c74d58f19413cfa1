"""`python -m reports.site`: the tables, figures and result files as a folder of HTML that opens without a server."""

import argparse
import sys
from pathlib import Path

from reports.site.build import build
from reports.site.explorer.scripts import read_explorer
from reports.site.material import read_material


def main(arguments: list[str] | None = None) -> int:
    """Writes the site; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m reports.site", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="laptop", help="whose tables and figures (default: laptop)")
    parser.add_argument(
        "--report", type=Path, help="folder of the report's tables/ and figures/ (default: reports/generated/SCALE)"
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="what the tables call results/")
    parser.add_argument("-o", "--output", type=Path, help="default: the folder `site` of the report")
    words = "the tokenizer of explorer.html, a page that runs it in the browser; none: no such page (default: small)"
    parser.add_argument("--explorer", metavar="WEIGHTS", default="small", help=words)
    options = parser.parse_args(arguments)
    report = options.report or Path("reports/generated", options.scale)
    output = options.output or report / "site"
    explorer = None
    try:
        material = read_material(report, options.results)
        try:
            explorer = read_explorer(options.explorer) if options.explorer != "none" else None
        except RuntimeError as error:  # nothing is wrong with the results: the site goes without that page
            print(f"without explorer.html: {error}")
        pages = build(material, output, explorer)
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{pages} pages: {output / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
