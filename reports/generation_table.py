"""The table of generators: our rows at their scale beside the paper's Table 2, as Markdown and as CSV."""

import csv
import io
from typing import Any

from reports.generation_cells import ACCURACY, DASH, INCEPTION, SCORES, heading, markdown_table, rounded, score_cell
from reports.generation_results import ROWS, Record, read_published, samples_per_seed, source

PAPER = "paper, ImageNet 256 px"
GROUPS = {"ar": "autoregressive", "diffusion": "diffusion"}
Row = dict[str, Any]


def our_rows(ours: dict[str, Record | None]) -> list[Row]:
    """Our rows of the table, numbers as they were measured, absent where there is none."""
    rows = []
    for name, (method, papers_row) in ROWS.items():
        row: Row = {"source": "ours, not measured", "kind": "diffusion", "method": method, "papers_row": papers_row}
        if (record := ours[name]) is not None:
            stages = list(record["generator"]["stages"].values())
            row |= {"source": source(record), "samples": samples_per_seed(record), "seeds": len(record["seeds"])}
            row |= {"tokens": "x".join(map(str, stages[-1].get("network", {}).get("shape", [])))}
            row |= {"scores": record["scores"], "chance": record["classifier"]["chance"]}
            row |= {"tokenizer_parameters": record["generator"]["tokenizer"]["parameters"]}
            row |= {"stages": [stage["parameters"] for stage in stages]}
        rows.append(row)
    return rows


def paper_rows() -> list[Row]:
    """The paper's Table 2, as printed."""
    rows = []
    for printed in read_published("generation_imagenet256.csv"):
        row = {"source": PAPER, "kind": GROUPS[printed["group"]], "method": printed["method"]}
        row |= {"tokens": printed["tokens"], "tokenizer_parameters": _millions(printed["tokenizer_params_m"])}
        row["stages"] = [_millions(part) for part in printed["generator_params_m"].split("+") if part]
        row["scores"] = {name: {"mean": float(printed[name])} for name in INCEPTION if printed[name]}
        rows.append(row)
    return rows


def table(rows: list[Row]) -> list[str]:
    """The rows in Markdown; bold is the best of the rows of one source, where there are two or more."""
    names = [name for name in SCORES if any(name in row.get("scores", {}) for row in rows)]
    best = set()
    for name in names:
        for source_ in {row["source"] for row in rows}:
            group = [row for row in rows if row["source"] == source_ and name in row.get("scores", {})]
            choose = max if SCORES[name].more_is_better else min
            top = choose((row["scores"][name]["mean"] for row in group), default=None)
            best |= {(id(row), name) for row in group if len(group) > 1 and row["scores"][name]["mean"] == top}
    headings = ["source", "kind", "method", "the paper's row", "tokens", "tokenizer", "generator", "samples"]
    lines = []
    for row in rows:
        ours = not row["source"].startswith("paper")
        # The paper prints at most one decimal of a million; a narrow network needs two.
        tokenizer = _in_millions([row.get("tokenizer_parameters")], ours)
        cells = [row["source"], row["kind"], row["method"], row.get("papers_row") or DASH, row.get("tokens") or DASH]
        cells += [tokenizer, _in_millions(row.get("stages", []), ours)]
        cells += [f"{row['seeds']} x {row['samples']:,}" if "samples" in row else DASH]
        for name in names:
            score = row.get("scores", {}).get(name)
            text = DASH if score is None else score_cell(name, score) if ours else rounded(name, score["mean"])
            cells.append(f"**{text}**" if (id(row), name) in best else text)
        lines.append(cells)
    chances = sorted({row["chance"] for row in rows if "chance" in row})
    chance = f" (chance: {' or '.join(rounded(ACCURACY, each) for each in chances)})"
    headings += [heading(name) + chance * (name == ACCURACY) for name in names]
    return markdown_table(headings, lines, left=4)


def as_csv(rows: list[Row]) -> str:
    """The rows for machines: every digit, what belongs to a score in columns of their own."""
    parts = ("standard_error", "count", "low", "high")
    columns = ["source", "kind", "method", "papers_row", "tokens", "samples", "seeds", "tokenizer_parameters"]
    columns += ["layout_parameters", "generator_parameters"]
    columns += [f"{name}{part}" for name in SCORES for part in ("", *(f"_{part}" for part in parts))] + ["chance"]
    flat = []
    for row in rows:
        *layout, generator = row.get("stages") or [""]
        line = row | {"layout_parameters": layout[0] if layout else "", "generator_parameters": generator}
        for name, score in row.get("scores", {}).items():
            ends = dict(zip(("low", "high"), score.get("interval") or (), strict=False))
            line |= {name: score["mean"]} | {f"{name}_{part}": value for part, value in (score | ends).items()}
        flat.append({name: "" if value is None else value for name, value in line.items()})
    file = io.StringIO()
    used = [name for name in columns if any(line.get(name, "") != "" for line in flat)]
    writer = csv.DictWriter(file, used, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return file.getvalue()


def _millions(printed: str) -> int | None:
    return round(float(printed) * 1e6) if printed else None


def _in_millions(parameters: list[int | None], ours: bool) -> str:
    known = [count for count in parameters if count is not None]
    return " + ".join(f"{count / 1e6:.2f}" if ours else f"{count / 1e6:g}" for count in known) + " M" if known else DASH
