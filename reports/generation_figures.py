"""Goes when `python -m reports.generation` draws no more: `python -m reports.figures` draws these too."""

from pathlib import Path

import matplotlib as mpl

from reports.figures.generation import curves, samples_page
from reports.figures.style import STYLE, save
from reports.generation_results import Record


def draw_all(ours: dict[str, Record | None], results: Path, output: Path) -> list[str]:
    """Draws what there is material for and names the rest on the terminal; returns the PNG files made."""
    drawn = []
    with mpl.rc_context(STYLE):
        figures = {"fid_curve": curves(ours)}
        for row, record in ours.items():
            path = results / "generators" / f"{row}.samples.npz"
            figures[f"samples_{row}"] = record and samples_page(path, record)
        for name, figure in figures.items():
            if figure is None:
                print(f"{name}: nothing to draw yet")
                continue
            save(figure, output, name)
            drawn.append(f"{name}.png")
    return drawn
