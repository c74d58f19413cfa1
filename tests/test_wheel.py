"""The wheel: what it holds, what it asks for, and that it works away from any checkout."""

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, packages_distributions
from pathlib import Path

import pytest

from datamodules.preparation.catalogue import INSTALLED

ROOT = Path(__file__).parents[1]
PACKAGES = ("gpstoken", "datamodules", "reports", "experiments")
# Not for users, made by reports, or what Python and numba keep.
LEFT_OUT = ("reports/generated/", "reports/published/README.md", "__pycache__/")
# Modules of packages that another one, which is declared, brings along or works without.
BROUGHT = {"triton": "torch", "sqlalchemy": "mlflow", "markupsafe": "jinja2"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the wheel's content, as pip lays it out."""
    source, wheels, folder = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "installed"))
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "generated"))
    for name in ("tests", "benchmarks", "tools"):  # which it must leave out
        (source / name).mkdir()
        (source / name / "__init__.py").touch()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", wheels]
    run = subprocess.run([*map(str, build), "."], cwd=source, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    (wheel,) = wheels.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def files_below(folder):
    found = {path.relative_to(folder).as_posix() for name in PACKAGES for path in (folder / name).rglob("*")
             if path.is_file() and not path.name.startswith(".")}  # fmt: skip
    return {name for name in found if not any(part in name for part in LEFT_OUT)}


def test_it_holds_every_file_of_its_packages_and_no_other(installed):
    assert files_below(installed) == files_below(ROOT)
    (about,) = installed.glob("*.dist-info")
    assert {path.name for path in installed.iterdir()} == {*PACKAGES, about.name}


def test_what_it_imports_is_declared(installed):
    """At a module's top by the package itself (gradio by its extra), elsewhere at least by an extra."""
    (about,) = installed.glob("*.dist-info")
    needed, optional = set(), set()
    for line in Distribution.at(about).requires:
        name = re.match(r"[\w.-]+", line).group().lower()
        (optional if "extra ==" in line else needed).add(name)
    distributions = packages_distributions()
    checked = 0
    for path in sorted(installed.rglob("*.py")):
        module = path.relative_to(installed).as_posix()
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - set(PACKAGES):
                owners = {BROUGHT.get(name, owner) for owner in distributions.get(name, [name])}
                owners = {owner.lower().replace("_", "-") for owner in owners}
                is_core = node in tree.body and not module.startswith(("reports/", "gpstoken/explorer/page.py"))
                assert owners & (needed if is_core else needed | optional), f"{module}: {name}"
                checked += 1
    assert checked > 100
    assert {item.package for item in INSTALLED} <= needed  # photographs that lie in installed packages


def test_it_works_in_an_empty_folder(installed, tmp_path):
    program = """
import sys
from pathlib import Path
import gpstoken, reports.declared, reports.tables.__main__ as tables
from gpstoken.cli import main
from gpstoken.files.weights import weights_file
assert Path(gpstoken.__file__).is_relative_to(sys.argv[1])
gpstoken.GPSToken.from_pretrained("small"), gpstoken.Generator.from_pretrained("small")
assert weights_file("small").with_suffix(".md").is_file()
assert tables.READING.read_text() and (reports.declared.EXPERIMENTS / "rows.yaml").is_file()
sys.exit(main(["rows", "--scale", "laptop"]) or main(["fit", "gpstoken_m128", "--scale", "laptop", "--print_config"]))
"""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", program, str(installed)]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-2000:]
    assert f"-c {installed}/experiments/tokenizers/gpstoken_m128.yaml" in run.stdout
    assert "num_tokens: 16" in run.stdout  # as experiments/laptop/gpstoken.yaml has it
    assert not list(tmp_path.iterdir())
