"""`python -m reports.figures`: every figure that there is material for, as PNG, SVG and PDF."""

import argparse
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.figure import Figure

from gpstoken import GPSToken
from gpstoken.training.files import CHECKPOINT_FILE
from reports.declared import main_row
from reports.figures.domains import domains
from reports.figures.generation import curves, samples_page
from reports.figures.intervals import arms, tokens
from reports.figures.photographs import held_out
from reports.figures.pictures import focus_picture, overview, tokens_picture
from reports.figures.rate import rate_distortion
from reports.figures.sensitivity import curves_of, sensitivity
from reports.figures.speed import panels, read_efficiency, speed_quality
from reports.figures.style import STYLE, looks, save
from reports.figures.training import training
from reports.tables.generation_results import read_generators
from reports.tables.results import Result
from reports.tables.rows import declarations, read_table

Draw = Callable[[], Figure | None]
FOCUS = "focus_centre"  # the study whose map the figure of the focus map has


def main(arguments: list[str] | None = None) -> int:
    """Draws what there is material for, and names the rest on the terminal; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m reports.figures", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--scale", default="laptop", help="which folder of the results (default: laptop)")
    parser.add_argument("--runs", type=Path, help="runs/SCALE (default)")
    parser.add_argument("--data", type=Path, default=Path("data/embedded"), help="photographs (default: data/embedded)")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    runs = options.runs or Path("runs") / options.scale
    with mpl.rc_context(STYLE):
        for name, draw in figures(options.results / options.scale, runs, options.data).items():
            figure = draw()
            if figure is None:
                print(f"{name}: nothing to draw yet")
            else:
                save(figure, options.output, name)
    return 0


def figures(results: Path, runs: Path, data: Path) -> dict[str, Draw]:
    """Every figure by name, as a function that draws it, or gives None where it has no material.

    Args:
        results: results/SCALE.
        runs: runs/SCALE.
        data: the photographs, as `python -m datamodules.prepare` writes them.
    """
    tables = {name: table for name, table in declarations().items() if "reader" not in table}
    read = {name: read_table(tables[name], results) for name in tables if _drawn(name, tables[name])}
    found = {name: {row: each for row, each in ours.items() if each is not None} for name, (ours, _) in read.items()}
    published = {name: rows for name, (_, rows) in read.items()}
    labels: dict[str, dict[str, str]] = {}
    for table in tables.values():
        for row, label in table["ours"].items():
            labels.setdefault(row, label)
    trained = [row for row, label in labels.items() if "of" not in label]
    # A row looks the same in every figure, whichever others are there.
    styles = looks([*trained, *labels])
    named = {labels[row]["name"]: styles[row] for row in reversed(trained)}
    listed = {row: label for row, label in tables["reconstruction"]["ours"].items() if "of" not in label}
    papers = {label["paper"]: styles[row] for row, label in listed.items() if label.get("paper")}
    generators = read_generators(results)

    whose = f"{labels[main_row()]['name']}, {results.name} scale, seed 0"

    @cache
    def pictured() -> GPSToken | None:
        path = runs / "tokenizers" / main_row() / "seed0" / CHECKPOINT_FILE
        return GPSToken.from_checkpoint(path) if path.is_file() else None

    def picture(draw: Callable[..., Figure | None], count: int, *more: float) -> Figure | None:
        tokenizer = pictured()
        return None if tokenizer is None else draw(tokenizer, held_out(data, count), whose, *more)

    def focus() -> Figure | None:
        study: Result | None = found["focus"].get(FOCUS)
        return study and picture(focus_picture, 2, *(study.evaluated["focus"][key] for key in ("radius", "strength")))

    def speed() -> Figure | None:
        drawn = panels(
            listed, found["reconstruction"], published["reconstruction"], read_efficiency(results / "efficiency")
        )
        return speed_quality(drawn, papers)

    return {
        "overview": partial(picture, overview, 3),
        "tokens_picture": partial(picture, tokens_picture, 1),
        "focus_picture": focus,
        "rate_distortion": partial(
            rate_distortion, listed, found["reconstruction"], found["tokens"], published["reconstruction"], styles
        ),
        "speed_quality": speed,
        "sensitivity": lambda: sensitivity(curves_of(found.get("sensitivity", {}))),
        "domains": partial(domains, tables["domains"], found["domains"], published["domains"], named),
        "tokens": partial(tokens, tables["tokens"], found["tokens"], published["tokens"]),
        **{
            name: partial(arms, tables[name], found[name], styles)
            for name in found
            if "figure" in tables[name] and name != "sensitivity"
        },
        "training": partial(training, runs / "tokenizers", {row: labels[row]["name"] for row in trained}, styles),
        "fid_curve": partial(curves, generators),
        **{f"samples_{row}": partial(_samples, results, row, record) for row, record in generators.items()},
    }


def _drawn(name: str, table: dict) -> bool:
    return "figure" in table or name in ("reconstruction", "domains", "tokens", "focus", "sensitivity")


def _samples(results: Path, row: str, record: dict | None) -> Figure | None:
    return record and samples_page(results / "generators" / f"{row}.samples.npz", record)


if __name__ == "__main__":
    torch.set_num_threads(1)  # sums in another order end in other bytes of the pictures
    sys.exit(main())
