"""`python -m reports.readme`: writes the table of rows into README.md, from experiments/rows.yaml."""

import re
import sys
from pathlib import Path
from typing import Any

from gpstoken.files.writing import replace_file
from reports.declared import COMPARED, loads, rows

README = Path(__file__).resolve().parents[1] / "README.md"
PLACE = re.compile(r"(?<=<!-- rows of experiments/rows.yaml -->\n).*?(?=<!-- end of rows -->)", re.DOTALL)
HEAD = "| row | name | in the paper | loads published weights |\n| --- | --- | --- | --- |\n"


def main() -> int:
    """Writes the table; returns 0."""
    text = README.read_text(encoding="utf-8")
    if PLACE.search(text) is None:
        raise ValueError(f"{README}: has no place for the table of rows")
    replace_file(README, PLACE.sub(lambda _: table(), text).encode())
    return 0


def table() -> str:
    """Every row that is compared in Table 1 or 2, as Markdown."""
    lines = [
        _line(key, entry, "Table 1", loads(key))
        for section in ("tokenizers", "loaded")
        for key, entry in rows()[section].items()
    ]
    for section in COMPARED:
        for key, entry in rows()[section].items():
            tokens = rows()["generator_tokenizers"][entry["tokens"]]["name"].removesuffix(", for generators")
            lines.append(_line(key, entry | {"name": f"{entry['name']}, on {tokens}"}, "Table 2", loads(entry["last"])))
    return HEAD + "\n".join(lines) + "\n"


def _line(key: str, entry: dict[str, Any], table: str, loaded: str) -> str:
    paper = f"{table}, {entry['paper']}" if "paper" in entry else ""
    return f"| `{key}` | {entry['name']} | {paper} | {loaded} |"


if __name__ == "__main__":
    sys.exit(main())
