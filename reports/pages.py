"""One table as a page of Markdown: where ours comes from, what the claims came to, the rows, what to know of them."""

from typing import Any

from reports.claims import judge_all
from reports.columns import COLUMNS, IMAGE_COLUMNS, heading, number
from reports.results import Result, clusters
from reports.rows import FEW_PHOTOGRAPHS, Row, rows_of
from reports.verdicts import claim_table, in_words

DASH = "-"
HEADINGS = {
    "source": "source",
    "dataset": "data",
    "size": "n",
    "method": "method",
    "papers_row": "the paper's row",
    "focus": "focus map",
    "tokens": "tokens",
    "parameters": "parameters",
}


def markdown(declared: dict[str, Any], ours: dict[str, Result | None], published: list[dict[str, str]]) -> str:
    """The page of one table of tables.yaml; `ours` and `published` as `read_table` gives them."""
    found = [result for result in ours.values() if result is not None]
    rows = rows_of(declared, ours, published)
    lines = [f"# {declared['title']}", "", *origin(found), ""]
    tested = judge_all(declared, ours)
    if tested:
        lines += [in_words(declared["claimed"], tested), ""]
    lines += [*table(rows, declared["columns"]), "", *(f"- {note}" for note in notes(declared, rows))]
    if tested:
        lines += ["", "## The paper's claims, tested", "", *claim_table(tested)]
    elif "claims" in declared:
        lines += ["", "The paper's claims: not measured."]
    return "\n".join(lines) + "\n"


def origin(found: list[Result]) -> list[str]:
    """Where our numbers come from, in words; a list of the data where the rows have several."""
    if not found:
        return ["Ours: not measured. No row of ours has been evaluated yet."]
    records = [result.record for result in found]
    first = records[0]
    training, seeds = first["training"], ", ".join(map(str, first["seeds"]))
    commits = ", ".join(sorted({record["commit"] for record in records}))
    devices = ", ".join(sorted({"{device} ({processor})".format(**record["machine"]) for record in records}))
    budget = f"seeds {seeds}; {training['steps']} training steps of {training['batch_size']} images."
    made = f"Commit {commits}. Device {devices}, torch {first['versions']['torch']}."
    data = list(dict.fromkeys(_data(result) for result in found))
    if len(data) == 1:
        size, described = data[0]
        return [f"Scale **{first['scale']}**: {size}; {budget} Data {described}. {made}"]
    return [f"Scale **{first['scale']}**: {budget} {made} Data:", "", *(f"- {text}: {size}" for size, text in data)]


def _data(result: Result) -> tuple[str, str]:
    data = result.record["data"]
    name = f"{data['class_path']}" + (f" ({data['dataset']})" if "dataset" in data else "")
    crop = f" crop {data['crop']}," if "crop" in data else ""
    skipped = f", damaged files skipped: {data['skipped']}" if data.get("skipped") else ""
    return (
        f"n = {data['images']} held-out images of {clusters(data)}{skipped}",
        f"{name}, split {data['split']}, {result.evaluated['image_size']} px,{crop} "
        f"fingerprint {data['fingerprint'][:12]}",
    )


def table(rows: list[Row], columns: list[str]) -> list[str]:
    """The rows in Markdown, `columns` before the numbers, without the columns that are empty throughout.

    Bold is the best of the rows of one source and data set, where there are two or more.
    """
    columns = [column for column in columns if any(row.get(column) for row in rows)]
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    compared: dict[Any, list[Row]] = {}
    for row in rows:
        for name in set(names) & row.keys():
            compared.setdefault((row["source"], row["kind"], name), []).append(row)
    best = {
        (id(row), name)
        for (*_, name), group in compared.items()
        for row in group
        if len(group) > 1 and row[name] == (max if COLUMNS[name].more_is_better else min)(r[name] for r in group)
    }
    right = {"tokens", "parameters"}
    headings = [HEADINGS[column] for column in columns] + [heading(name) for name in names]
    lines = [_line(headings), _line(["---:" if name in right else "---" for name in columns] + ["---:"] * len(names))]
    for row in rows:
        cells = [_text(row, column) for column in columns]
        for name in names:
            count = row.get(f"{name}_count")
            text = number(name, row[name], row.get(f"{name}_standard_error"), count) if name in row else DASH
            cells.append(f"**{text}**" if (id(row), name) in best else text)
        lines.append(_line(cells))
    return lines


def _text(row: Row, column: str) -> str:
    if column != "parameters" or column not in row:
        return row.get(column) or DASH
    # The paper prints one decimal of a million; a narrow network needs two.
    digits = 1 if row["source"].startswith("paper") else 2
    return f"{row['parameters'] / 1e6:.{digits}f} M"


def notes(declared: dict[str, Any], rows: list[Row]) -> list[str]:
    """What to know of the rows, and only what applies to them."""
    ours = [row for row in rows if row["source"].startswith("ours") and "images" in row]
    several = " and data set" if "datasets" in declared else ""
    said = []
    if ours:
        said.append(
            "±: one standard error of the mean over images and seeds. Images of one photograph (faces: of one person) "
            "count as one cluster, and the spread between seeds is added; the paper prints none."
        )
    if any(row["photographs"] <= FEW_PHOTOGRAPHS for row in ours):
        said.append(
            "**Demonstration only**: so few photographs stand for themselves alone, and the ± beside them hardly tells "
            "anything of others."
        )
    if any(f"{name}_count" in row for row in ours for name in COLUMNS.keys() - IMAGE_COLUMNS.keys()):
        said.append(
            "FID, sFID and KID-Inception are distances of Inception features; rFD, FD and KID with another network's "
            "name are of that network's and are no FID. rec. and r: reconstructions against the same images. N: images "
            "a seed; their ± is between seeds. Fréchet distances of few images come out too large, the more so the "
            "fewer: compare them at equal N alone."
        )
    paper = f"The paper's rows are {declared['paper']}, as printed. " if declared["published"] else ""
    caution = (
        f"Data, resolution, network size and training differ from ours: compare the order of rows within a "
        f"source{several}, not values across."
        if paper
        else f"The paper has {declared['paper']}."
    )
    return [*said, f"**Bold**: best of its source{several}. {paper}{caution}", *declared.get("notes", [])]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
