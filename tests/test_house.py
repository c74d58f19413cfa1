"""Rules of the repository that no linter knows."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = [
    path for package in ("gpstoken", "datamodules", "reports") for path in sorted((ROOT / package).rglob("*.py"))
]


def test_each_equation_of_the_paper_lives_in_one_function():
    numbers = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                numbers += re.findall(r"\AEq\. \((\d+)\)", ast.get_docstring(node) or "")
    assert sorted(numbers, key=int) == ["1", "2", "3", "4"]


def test_no_module_is_long():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > 250} == {}


def test_the_package_imports_little_and_works_without_numba_and_triton():
    # torch itself imports triton where it is installed: that ours does without is shown by taking it away.
    program = """
import sys
sys.modules["numba"] = sys.modules["triton"] = None
import torch
import gpstoken.cli
assert gpstoken.cli.main(["encode", "none.jpg", "-o", "none", "--checkpoint", "none.ckpt"]) == 2
assert "gpstoken.commands.photos" in sys.modules
tokenizer = gpstoken.GPSToken(
    4, image_size=32, grid_size=8, width=8, depth=1, stem_channels=4, decoder_channels=4, norm_groups=2
)
assert tokenizer(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 32, 32)
print(*{"lightning", "mlflow", "pandas", "matplotlib", "timm", "diffusers", "sklearn"} & set(sys.modules))
"""
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    assert run.stderr.startswith("gpstoken: none.jpg: ")
    assert run.stdout.strip() == ""
