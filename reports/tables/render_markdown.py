"""A table as a page of Markdown."""

from pathlib import Path

from reports.tables.table import DASH, Claim, Table

FIGURES = "../figures"


def markdown(table: Table, folder: Path | None = None) -> str:
    """The page of a table.

    Args:
        table: the table.
        folder: where the page will lie; a figure is shown if its PNG lies in ../figures from there.
    """
    lines = [f"# {table.title}", "", table.introduction, ""]
    rows = []
    for row in table.rows:
        cells = [row.cells.get(head.name) for head in table.visible]
        texts = [DASH if cell is None else f"**{cell.text}**" if cell.best else cell.text for cell in cells]
        rows.append(texts)
    left = {place for place, head in enumerate(table.visible) if head.kind == "text"}
    lines += pipe_table([head.printed for head in table.visible], rows, left)
    if table.notes:
        lines += ["", *(f"- {note}" for note in table.notes)]
    if table.claims:
        lines += ["", "## The paper's claims, tested", "", *claim_table(table.claims)]
    for section in table.sections:
        lines += ["", section]
    for name in table.figures:
        if folder is not None and (folder / FIGURES / f"{name}.png").is_file():
            lines += ["", f"![Figure {name.replace('_', ' ')}]({FIGURES}/{name}.png)"]
    for origin in table.origins:
        lines += ["", *["## Where our numbers come from", ""] * (origin == table.origins[0]), origin]
    return "\n".join([*lines, "", "[How to read these tables](reading.md)"]) + "\n"


def claim_table(claims: list[Claim]) -> list[str]:
    """Every test: difference with its 95 % interval, what is claimed of it, and the verdict."""
    several = len({claim.scale for claim in claims} - {None}) > 1
    lines = []
    for claim in claims:
        scale = [claim.scale or DASH] * several
        lines.append([*scale, claim.text, claim.metric, *claim.said, claim.claimed, claim.verdict])
    headings = [*["scale"] * several, "claim", "metric", "difference", "95 % interval", "claimed", "verdict"]
    texts = {place for place, name in enumerate(headings) if name in ("scale", "claim", "metric", "verdict")}
    return pipe_table(headings, lines, texts)


def pipe_table(headings: list[str], lines: list[list[str]], left: set[int]) -> list[str]:
    """Lines of a Markdown table; columns stand on the right but for those whose places are `left`."""
    rules = ["---" if place in left else "---:" for place in range(len(headings))]
    # a bar would end its cell
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in [headings, rules, *lines]]
