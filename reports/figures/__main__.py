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
from reports.declared import every_table, generators, rows
from reports.figures.curves import curves, sensitivity, training
from reports.figures.intervals import arms, domains, rate_distortion, rates, tokens
from reports.figures.pictures import failures, focus_picture, held_out, overview, samples_page, tokens_picture
from reports.figures.speed import speed_quality
from reports.figures.style import STYLE, looks, save
from reports.tables.efficiency_table import read_efficiency
from reports.tables.generation_table import read_generators
from reports.tables.rows import published, read_table


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
            if figure := draw():
                save(figure, options.output, name)
            else:
                print(f"{name}: nothing to draw yet")
    return 0


def figures(results: Path, runs: Path, data: Path) -> dict[str, Callable[[], Figure | None]]:
    """Every figure by name, as a function that draws it, or gives None where it has no material.

    `results` is results/SCALE, `runs` is runs/SCALE, `data` has photographs as `python -m datamodules.prepare` writes.
    """
    tables = {name: table for name, table in every_table().items() if "reader" not in table}
    papers = {name: published(table) for name, table in tables.items()}
    ours = {name: read_table(table, results) for name, table in tables.items()}
    labels: dict[str, dict[str, str]] = {}
    for table in tables.values():
        labels |= {row: label for row, label in table["ours"].items() if row not in labels}
    names = {row: label["name"] for row, label in labels.items() if "of" not in label}
    # A row looks the same in every figure, whichever others are there.
    styles = looks([*names, *labels])
    by_name = {names[row]: styles[row] for row in reversed(names)}
    declared, measured, theirs = tables["reconstruction"]["ours"], ours["reconstruction"], papers["reconstruction"]
    by_method = {label["paper"]: styles[row] for row, label in declared.items() if label.get("paper")}
    (shown,) = rows()["pretrained"]  # what a network learns in minutes shows nothing of what the method can do
    checkpoint = runs / "tokenizers" / shown / "seed0" / CHECKPOINT_FILE
    tokenizer = cache(GPSToken.from_checkpoint)
    sampled, profiles = read_generators(results), read_efficiency(every_table()["efficiency"], results)
    whose = f"{rows()['pretrained'][shown]['name']}, gpstoken/weights"

    def picture(draw: Callable[..., Figure], count: int, *more: float) -> Figure | None:
        photographs = held_out(data, count)
        if not photographs or not checkpoint.is_file():
            return None
        foot = f"{whose}. Held-out photographs: {', '.join(photographs.values())}"
        return draw(tokenizer(checkpoint), list(photographs), foot, *more)

    def focus() -> Figure | None:
        study = ours["focus"].get("focus_centre")
        return study and picture(focus_picture, 2, *(study.evaluated["focus"][key] for key in ("radius", "strength")))

    return {
        "overview": partial(picture, overview, 3),
        "tokens_picture": partial(picture, tokens_picture, 1),
        "focus_picture": focus,
        "failures": lambda: failures(tokenizer(checkpoint), whose) if checkpoint.is_file() else None,
        "rate_distortion": partial(rate_distortion, declared, measured, theirs, styles),
        "rates": partial(rates, tables["rates"], ours["rates"]),
        "speed_quality": partial(speed_quality, declared, measured, theirs, profiles, by_method),
        "sensitivity": partial(sensitivity, tables["sensitivity"], ours["sensitivity"], papers["sensitivity"]),
        "domains": partial(domains, tables["domains"], ours["domains"], papers["domains"], by_name),
        "tokens": partial(tokens, tables["tokens"], ours["tokens"], papers["tokens"]),
        **{name: partial(arms, tables[name], ours[name], styles) for name in ours if "figure" in tables[name]},
        "training": partial(training, runs / "tokenizers", names, styles),
        "fid_curve": partial(curves, sampled),
        **{f"samples_{row}": partial(samples_page, sampled.get(row)) for row in generators()},
    }


if __name__ == "__main__":
    torch.set_num_threads(1)  # sums in another order end in other bytes of the pictures
    sys.exit(main())
