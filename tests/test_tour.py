"""examples/tour.ipynb: every cell runs, in order, with what is installed."""

import json
import re
from pathlib import Path

import torch
from PIL import Image

NOTEBOOK = Path(__file__).parents[1] / "examples" / "tour.ipynb"


def test_every_cell_of_the_tour_runs(capsys):
    """Cells run in one namespace, and the last expression of one that ends in a picture is a picture."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(sources) > 7 and all(not cell.get("outputs") for cell in cells)
    namespace: dict = {}
    pictures = 0
    try:
        for number, source in enumerate(sources):
            *lines, last = source.splitlines()
            if not last.startswith(("contact_sheet", "to_picture")):
                exec(compile(source, f"cell {number}", "exec"), namespace)
                continue
            exec(compile("\n".join(lines), f"cell {number}", "exec"), namespace)
            shown = eval(last, namespace)
            assert isinstance(shown, Image.Image) and shown.width >= 256
            pictures += 1
    finally:
        torch.set_grad_enabled(True)
    assert pictures > 5
    said = capsys.readouterr().out
    by_count = [float(value) for value in re.findall(r"^\d+ tokens, [\d,]+ numbers: PSNR ([\d.]+) dB", said, re.M)]
    assert len(by_count) == 4 and by_count == sorted(by_count)  # a trained network is better with more tokens
    inside = dict(re.findall(r"^(no map|painted): ([\d.]+) dB in the disc", said, re.M))
    assert float(inside["painted"]) > float(inside["no map"])
