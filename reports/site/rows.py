"""The page of a row: its lines in every table, the files behind them, the figures that show it."""

from dataclasses import dataclass
from typing import Any

from reports.site.material import CLAIMS, Material
from reports.site.origins import ResultFile


@dataclass(frozen=True)
class RowPage:
    """A row of ours.

    Attributes:
        name: as in params.yaml.
        lines: its rows of each table it is in, by the table's name.
        files: the result files behind them, its own before those of its studies.
        claims: (table, claim) of the tests it is one side of.
        figures: figures of the tables it is in, by name.
        of: the row that was trained, where this one is a study of it.
    """

    name: str
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
    cited = sorted({row["result"] for rows in lines.values() for row in rows if row["result"]})
    trained = {files[path].record.get("evaluated", {}).get("row", name) for path in cited}
    shown = [figure for table in lines if table != CLAIMS for figure in material.tables[table]["figures"]]
    return RowPage(
        name=name,
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
