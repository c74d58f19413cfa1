"""The pages that `make docs` builds: what they name exists, and what is public is on them."""

import re
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REFERENCE = sorted((DOCS / "reference").glob("*.md"))
NAMED = {name: page.name for page in REFERENCE for name in re.findall(r"(?m)^::: (\S+)$", page.read_text())}


def class_paths(content):
    if isinstance(content, dict):
        for key, value in content.items():
            yield from [value] if key == "class_path" else class_paths(value)
    elif isinstance(content, list):
        for value in content:
            yield from class_paths(value)


def pages(entry):
    return [entry] if isinstance(entry, str) else [page for part in entry for page in pages(next(iter(part.values())))]


@pytest.fixture(scope="module")
def documented():
    """Every object on the pages; of a package, what its `__all__` lists."""
    found = [resolve_name(name) for name in NAMED]
    return found + [getattr(each, name) for each in found for name in getattr(each, "__all__", [])]


@pytest.mark.parametrize("name", NAMED)
def test_every_name_is_there_and_documented(name):
    assert resolve_name(name).__doc__


@pytest.mark.parametrize("package", ["gpstoken", "gpstoken.metrics", "gpstoken.training", "datamodules"])
def test_every_public_name_is_on_a_page(package, documented):
    module = import_module(package)
    assert [name for name in module.__all__ if not any(getattr(module, name) is each for each in documented)] == []


def test_every_class_that_an_experiment_names_is_on_a_page(documented):
    files = sorted((ROOT / "experiments").rglob("*.yaml"))
    named = {name for path in files for name in class_paths(yaml.safe_load(path.read_text()))}
    assert len(named) > 20  # they are found
    assert [name for name in sorted(named) if not any(resolve_name(name) is each for each in documented)] == []


def test_every_page_is_in_the_navigation():
    listed = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(listed) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def test_the_first_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "index.md").read_text(), flags=re.DOTALL)
    exec(compile(block, "index.md", "exec"), {})
    assert (tmp_path / "china.png").stat().st_size
