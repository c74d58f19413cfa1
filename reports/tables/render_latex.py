"""A table as LaTeX, for a document that loads booktabs and nothing else."""

from reports.tables.table import DASH, Head, Table

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
