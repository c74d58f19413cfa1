"""The page of a row: its lines in every table, the files behind them, the figures that show it."""

from typing import Any

from reports.site.claims import place_of_scale
from reports.site.material import Material


def row_pages(material: Material) -> dict[str, dict[str, Any]]:
    """What is known of every row of ours that a table names, by name, in the order of the tables."""
    lines: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name, table in material.tables.items():
        for row in table["rows"]:
            if row["ours"] and row["row"]:
                lines.setdefault(row["row"], {}).setdefault(name, []).append(row)
    return {name: _row_page(name, lines[name], material) for name in lines}


def _row_page(name: str, lines: dict[str, list[dict[str, Any]]], material: Material) -> dict[str, Any]:
    rows = [row for rows in lines.values() for row in rows]
    cited = sorted({row["result"] for row in rows if row["result"]})
    files = [material.files[path] for path in cited]
    trained = {file["record"].get("evaluated", {}).get("row", name) for file in files}
    claims = [claim for table in material.tables.values() for claim in table["claims"]]
    return {
        "name": name,  # as result files have it
        "title": _title(rows) or name,
        "finding": _finding(lines, material.tables),
        "lines": lines,  # its rows of each table it is in, by the table's name
        "files": sorted(files, key=lambda file: file["named"].row != name),  # its own before those of its studies
        "claims": [claim for claim in claims if not set(claim["results"]).isdisjoint(cited)],  # it is one side of them
        "of": trained.pop() if len(trained) == 1 and trained != {name} else None,  # the trained row, of a study
    }


def _title(rows: list[dict[str, Any]]) -> str:
    """What the first table calls the row: its method and data set, or the argument of a sweep with its value."""
    texts = {name: cell["text"] for name, cell in rows[0]["cells"].items()}
    if "method" in texts:
        return ", ".join(texts[name] for name in ("method", "dataset") if name in texts)
    return " = ".join(texts[name] for name in ("parameter", "value") if name in texts)


def _finding(lines: dict[str, list[dict[str, Any]]], tables: dict[str, dict[str, Any]]) -> str:
    """The first three numbers of the row that pages show, of the scale that says most, and which are the best there."""
    for name, rows in lines.items():
        table = tables[name]
        names = table.get("shown") or [column["name"] for column in table["columns"]]
        judged = [column for column in table["columns"] if column["more_is_better"] is not None]
        for row in sorted((row for row in rows if row["result"]), key=place_of_scale):
            columns = [column for column in judged if column["name"] in names and column["name"] in row["cells"]]
            cells = [(column["heading"], row["cells"][column["name"]]) for column in columns[:3]]
            numbers = [f"{heading} {cell['text']}{' (best)' * bool(cell.get('best'))}" for heading, cell in cells]
            if numbers:
                return f"{table['title']} at the {row['scale']} scale: {', '.join(numbers)}."
    return ""
