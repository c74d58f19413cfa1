"""The page of a row: its lines in every table, the files behind them, the figures that show it."""

from dataclasses import dataclass
from typing import Any

from reports.site.claims import place_of_scale
from reports.site.material import CLAIMS, Material
from reports.site.origins import ResultFile


@dataclass(frozen=True)
class RowPage:
    """A row of ours.

    Attributes:
        name: as result files have it.
        title: as the tables call it.
        finding: what was measured of it, in a sentence; empty where nothing was.
        lines: its rows of each table it is in, by the table's name.
        files: the result files behind them, its own before those of its studies.
        claims: (table, claim) of the tests it is one side of.
        figures: figures of the tables it is in, by name.
        of: the row that was trained, where this one is a study of it.
    """

    name: str
    title: str
    finding: str
    lines: dict[str, list[dict[str, Any]]]
    files: list[ResultFile]
    claims: list[tuple[str, dict[str, Any]]]
    figures: list[str]
    of: str | None

    @property
    def measured(self) -> bool:
        """Whether there is any number of it."""
        return bool(self.files)


def row_pages(material: Material, files: dict[str, ResultFile]) -> dict[str, RowPage]:
    """Every row of ours that a table names, by name, in the order of the tables."""
    lines: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name, table in material.tables.items():
        for row in table["rows"]:
            if row["ours"] and row["row"]:
                lines.setdefault(row["row"], {}).setdefault(name, []).append(row)
    return {name: _page(name, lines[name], material, files) for name in lines}


def _page(
    name: str, lines: dict[str, list[dict[str, Any]]], material: Material, files: dict[str, ResultFile]
) -> RowPage:
    every = [row for rows in lines.values() for row in rows]
    cited = sorted({row["result"] for rows in lines.values() for row in rows if row["result"]})
    trained = {files[path].record.get("evaluated", {}).get("row", name) for path in cited}
    shown = [figure for table in lines if table != CLAIMS for figure in material.tables[table]["figures"]]
    title = next(
        (row["cells"][key]["text"] for key in ("method", "value") for row in every if key in row["cells"]), name
    )
    return RowPage(
        name=name,
        title=title,
        finding=_finding(lines, material),
        lines=lines,
        files=sorted((files[path] for path in cited), key=lambda file: file.named.row != name),
        claims=[
            (table, claim)
            for table in material.tables
            for claim in material.tables[table]["claims"]
            if set(claim["results"]) & set(cited)
        ],
        figures=[figure for figure in dict.fromkeys(shown) if figure in material.figures],
        of=trained.pop() if len(trained) == 1 and trained != {name} else None,
    )


def _finding(lines: dict[str, list[dict[str, Any]]], material: Material) -> str:
    """The first three numbers of the row that pages show, of the scale that says most, and which are the best there."""
    for table, rows in lines.items():
        names = material.tables[table].get("shown") or [column["name"] for column in material.tables[table]["columns"]]
        columns = [column for column in material.tables[table]["columns"] if column["more_is_better"] is not None]
        for row in sorted((row for row in rows if row["result"]), key=place_of_scale):
            found = [(column, row["cells"][column["name"]]) for column in columns if column["name"] in row["cells"]]
            found = [(column, cell) for column, cell in found if column["name"] in names][:3]
            if found:
                parts = [
                    f"{column['heading']} {cell['text']}" + " (best)" * bool(cell.get("best")) for column, cell in found
                ]
                return f"{material.tables[table]['title']} at the {row['scale']} scale: {', '.join(parts)}."
    return ""
