"""A report of two tables, their claims, a figure and two result files, typed by hand: what the site is made from."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

PATHS = {row: f"results/laptop/tokenizers/{row}.json" for row in ("narrow", "wide")}
SOURCES = {True: "ours, laptop scale, 64 px", False: "paper, ImageNet 256 px"}
RUNS = {
    "narrow evaluation (tokenizers, laptop)": {"key": "aaaa1111", "run_id": "run-of-the-evaluation"},
    "narrow seed0 (tokenizers, laptop)": {"key": "bbbb2222", "run_id": "run-of-the-training", "weights": ["5eed"]},
    "narrow seed0 (tokenizers, paper)": {"key": "cccc3333", "run_id": "run-of-another-scale", "weights": ["0ther"]},
}


def column(name: str, heading: str, kind: str = "number", more_is_better: bool | None = None) -> dict[str, Any]:
    return {"name": name, "heading": heading, "kind": kind, "more_is_better": more_is_better, "unit": ""}


def line(method: str, row: str | None, ours: bool, **cells: Any) -> dict[str, Any]:
    measured = ours and row in PATHS
    return {
        "source": SOURCES[ours],
        "ours": ours,
        "scale": "laptop" if measured else None,
        "group": "",
        "row": row,
        "result": PATHS[row] if measured else None,
        "commit": "c0ffee123456" if measured else None,
        "cells": {"method": {"text": method}, "source": {"text": SOURCES[ours]}} | cells,
    }


def number(value: float, error: float | None = None, best: bool = False) -> dict[str, Any]:
    cell: dict[str, Any] = {"text": f"{value} ± {error}" if error else f"{value}", "value": value}
    if error:
        cell |= {"standard_error": error, "interval": [value - 2 * error, value + 2 * error], "count": 1234}
    return cell | ({"best": True} if best else {})


def table(name: str, title: str, columns: list, rows: list, **changes: Any) -> dict[str, Any]:
    fields = {"introduction": "", "notes": [], "claims": [], "figures": [], "sections": [], "origins": []}
    return {"name": name, "title": title, "paper": "its Table 1", "columns": columns, "rows": rows, **fields, **changes}


RECONSTRUCTION = table(
    "reconstruction",
    "Reconstruction",
    [
        column("source", "source", "text"),
        column("method", "method", "text"),
        column("tokens", "tokens", "text"),
        column("psnr", "PSNR ↑", more_is_better=True),
        column("lpips", "LPIPS", more_is_better=False),
    ],
    [
        line("Narrow", "narrow", True, tokens={"text": "8x8"}, psnr=number(9.5, 0.25), lpips=number(0.5, 0.125)),
        line("Wide", "wide", True, tokens={"text": "128"}, psnr=number(10.25, 0.5, best=True)),
        line("Unmeasured", "unmeasured", True),
        line("<b>Theirs</b> & co", None, False, tokens={"text": "16x16"}, psnr=number(28.81), lpips=number(0.043)),
    ],
    introduction="Scale **laptop**: n = 1,234 <img src=x onerror=alert(1)>",
    notes=["**Bold**: best of its source.", "More in [the claims](claims.md)."],
    claims=[
        {
            "text": "wide over narrow",
            "metric": "PSNR ↑",
            "difference": 0.75,
            "interval": [0.25, 1.25],
            "claimed": "> 0",
            "verdict": "holds",
            "digits": 2,
            "results": list(PATHS.values()),
        }
    ],
    figures=["ablation", "plain", "never_drawn"],
    sections=[
        "## Copies\n\n| what | n |\n| --- | ---: |\n| a | 1,000 |\n| b | 9 |\n\n![By hand](../figures/plain.png)"
    ],
)
SMALL = table(
    "small",
    "A small one",
    [column("method", "method", "text"), column("speed", "speed ↑", more_is_better=True)],
    [line("Narrow", "narrow", True, speed={"text": "3/s", "value": 3.0})],
)
CLAIMS = table(
    "claims",
    "Claims",
    [column("claim", "claim", "text"), column("verdict", "verdict", "text")],
    [
        line("", None, True, claim={"text": "Width helps"}, verdict={"text": "holds"}),
        line("", None, True, claim={"text": "Speed doubles"}, verdict={"text": "not testable at this scale: no GPU"}),
        line("", None, True, claim={"text": "Two beat one"}, verdict={"text": "does not hold"}),
        line("", None, True, claim={"text": "Zero hurts"}, verdict={"text": "not resolved"}),
    ],
)


def write(folder: Path) -> Path:
    """Writes tables/, figures/ and results/ into `folder`."""
    for name in ("tables", "figures", "results/laptop/tokenizers"):
        (folder / name).mkdir(parents=True)
    for each in (RECONSTRUCTION, SMALL, CLAIMS):
        (folder / "tables" / f"{each['name']}.json").write_text(json.dumps(each))
    (folder / "tables" / "small.csv").write_text("method,speed\nNarrow,3\n")
    for row, path in PATHS.items():
        record = {
            "row": row,
            "group": "tokenizers",
            "scale": "laptop",
            "seeds": [0, 1],
            "tokenizer": {"class_path": "gpstoken.GPSToken", "init_args": {"width": 8}},
            "data": {"images": 1234},
            "evaluated": {"row": row, "image_size": 64},
            "training": {"steps": 240, "batch_size": 16},
            "metrics": {"psnr": {"mean": 9.5, "standard_error": 0.25, "per_seed": [9.25, 9.75], "count": 1234}},
            "checkpoints": ["5eed"] if row == "narrow" else ["a1one"],
            "commit": "c0ffee123456",
            "versions": {"torch": "2.14.1"},
            "machine": {"device": "cpu", "processor": "Test CPU", "threads": 2},
        }
        (folder / path).write_text(json.dumps(record))
    (folder / "results" / "laptop" / "published.json").write_text(json.dumps({"runs": 3, "published": RUNS}))
    for name in ("ablation", "plain"):
        Image.new("RGB", (640, 320), (200, 220, 240)).save(folder / "figures" / f"{name}.png")
    picture = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="640" height="320"><circle cx="160" cy="160" r="120"/></svg>'
    )
    (folder / "figures" / "ablation.svg").write_text(picture)
    return folder
