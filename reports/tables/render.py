"""A table as a page of Markdown, as LaTeX, as CSV with every digit and as JSON with everything."""

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reports.tables.table import DASH, Cell, Claim, Head, Table


def as_csv(table: Table) -> str:
    """The rows; what belongs to a number (standard error, interval, count) in columns of its own, where it has any."""
    lines = []
    for row in table.rows:
        line: dict[str, Any] = {"row": row.row, "result": row.result, "commit": row.commit}
        for name, cell in row.cells.items():
            low, high = cell.interval or (None, None)
            line[name] = cell.text if cell.value is None else cell.value
            line |= {f"{name}_standard_error": cell.standard_error, f"{name}_low": low, f"{name}_high": high}
            line[f"{name}_count"] = cell.count
        lines.append({name: value for name, value in line.items() if value is not None})
    parts = ("", "_standard_error", "_low", "_high", "_count")
    names = [*(f"{head.name}{part}" for head in table.columns for part in parts), "row", "result", "commit"]
    used = {name for line in lines for name in line}
    file = io.StringIO()
    writer = csv.DictWriter(file, [name for name in names if name in used], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def as_json(table: Table) -> str:
    """Everything that a page needs; a missing number has no cell."""
    record = asdict(table)
    for row, line in zip(table.rows, record["rows"], strict=True):
        line["cells"] = {name: _cell(cell) for name, cell in row.cells.items()}
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _cell(cell: Cell) -> dict[str, Any]:
    return {"text": cell.text} if cell.value is None else asdict(cell)


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
        lines += ["", "## Tests of the paper's claims", "", *claim_table(table.claims)]
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


LONG = 50  # characters

# One character at a time, so that what a replacement holds is not replaced again.
ESCAPES = {character: f"\\{character}" for character in "&%$#_{}"}
ESCAPES |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"}
ESCAPES |= {"<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$", "≥": r"$\geq$", "≤": r"$\leq$"}
ESCAPES |= {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\rightarrow$", "λ": r"$\lambda$"}


def latex(table: Table, command: str = "") -> str:
    """The rows as a table float: bold is the best of its source and group; scale, commit and seeds in the caption.

    Args:
        table: the table.
        command: that made it, for a comment.
    """
    places = "".join(_place(table, head) for head in table.visible)
    lines = [f"% {table.name}: written by `{' '.join(command.split())}`; do not edit"] if command else []
    lines += [r"\begin{table}", r"\centering", r"\footnotesize", r"\setlength{\tabcolsep}{3pt}"]
    lines += [rf"\caption{{{escape(_caption(table))}}}", rf"\label{{tab:{table.name.replace('_', '-')}}}"]
    lines += [rf"\begin{{tabular}}{{{places}}}", r"\toprule"]
    lines += [_line([escape(head.printed) for head in table.visible]), r"\midrule"]
    for place, row in enumerate(table.rows):
        before = table.rows[place - 1] if place else row
        if (before.ours, before.group) != (row.ours, row.group):
            lines.append(r"\midrule")
        cells = [row.cells.get(head.name) for head in table.visible]
        texts = [DASH if cell is None else escape(cell.text) for cell in cells]
        best = [cell is not None and cell.best for cell in cells]
        # \boldmath: the sign between a number and its error is mathematics
        texts = [rf"{{\boldmath\textbf{{{text}}}}}" if bold else text for text, bold in zip(texts, best, strict=True)]
        lines.append(_line(texts))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _place(table: Table, head: Head) -> str:
    """Numbers stand on the right; text that is too long for a line is broken."""
    if head.kind == "number":
        return "r"
    cells = [row.cells[head.name].text for row in table.rows if head.name in row.cells]
    return "p{0.16\\linewidth}" if max(map(len, cells), default=0) > LONG else "l"


def escape(text: str) -> str:
    """`text` with what LaTeX would read as a command written out."""
    return "".join(ESCAPES.get(character, character) for character in text)


def _caption(table: Table) -> str:
    bold = " Bold: best of its source." if any(cell.best for row in table.rows for cell in row.cells.values()) else ""
    return f"{table.title}. {table.origin}{bold}"


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"
