"""Which code a stage of the pipeline depends on, and that its digests change with it."""

import subprocess
import sys
from pathlib import Path

import pytest

from gpstoken.commands import closure
from gpstoken.commands.rows import record

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A package of a few modules in the place of ours."""
    files = {
        "gpstoken/__init__.py": "from gpstoken.a import A\n",
        "gpstoken/a.py": '"""A."""\nfrom gpstoken.b import f\nclass A:\n    """Doc."""\n    x = f  # why\n',
        "gpstoken/b.py": "def f():\n    from gpstoken.late import g\n    return g\n",
        "gpstoken/late.py": "if TYPE_CHECKING:\n    import gpstoken.typed\ng = 'told.yaml'\n",
        "gpstoken/typed.py": "",
        "gpstoken/told.yaml": "x: 1\n",
        "gpstoken/other.yaml": "x: 1\n",
        "gpstoken/splat/__init__.py": "from importlib import import_module\n",
        "gpstoken/splat/cpu.py": "import gpstoken.typed\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(closure, "ROOT", tmp_path)
    _forget()
    yield tmp_path
    _forget()


def _forget():
    for each in (
        closure._imported,
        closure._path,
        closure._handed_on,
        closure._tree,
        closure._digest,
        closure._read_beside,
    ):
        each.cache_clear()


def test_imports_are_followed_and_what_a_package_hands_on_to_its_module(project):
    assert closure.closure(["gpstoken.A"]) == {"gpstoken.a", "gpstoken.b", "gpstoken.late"}
    assert closure.closure(["torch.nn.Module", "gpstoken.b.f"]) == {"gpstoken.b", "gpstoken.late"}
    # its modules are chosen by name at run time
    assert closure.closure(["gpstoken.splat.splat"]) == {"gpstoken.splat", "gpstoken.splat.cpu", "gpstoken.typed"}
    assert "gpstoken/told.yaml" in closure.digests(["gpstoken.A"])
    assert "gpstoken/other.yaml" not in closure.digests(["gpstoken.A"])


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ('"""A."""', '"""Another."""', False),
        ('"""Doc."""', '"""Doc,\n    longer."""', False),
        ("# why", "# because", False),
        ("x = f", "x = (f)", False),
        ("x = f", "x = 'f'", True),
        ("class A", "class B", True),
    ],
)
def test_a_digest_is_of_the_code_and_not_of_its_words(project, before, after, changes):
    first = closure.digests(["gpstoken.a"])
    path = project / "gpstoken/a.py"
    path.write_text(path.read_text().replace(before, after))
    _forget()
    second = closure.digests(["gpstoken.a"])
    assert [name for name in first if first[name] != second[name]] == ["gpstoken/a.py"] * changes


STARTED = """
import sys
from gpstoken import cli
try:
    cli.main(sys.argv[1:])
except SystemExit:
    pass
for name in sorted(sys.modules):
    if name.split(".")[0] in ("gpstoken", "datamodules"):
        print("MODULE", name)
"""
# What starts every command, whatever it does; and what only hands names on.
DISPATCH = {"gpstoken.cli", "gpstoken.early_signals", "gpstoken.freed_memory", "gpstoken.limits"} | {
    f"gpstoken.commands.{name}"
    for name in ("by_row", "declared", "fit_help", "generator_forms", "studies", "tokenizer_forms")
}


@pytest.mark.parametrize(
    ("command", "row", "arguments"),
    [
        # Up to where the data is asked for: everything is imported and made by then.
        ("fit", "gpstoken_m128", ["--data.init_args.root", "nowhere"]),
        ("fit", "vavae", ["--data.init_args.root", "nowhere"]),
        ("fit", "texture", []),
        ("profile", "vqvae_f16", ["--count-only"]),
    ],
)
def test_no_module_that_a_command_loads_is_missing_from_its_record(command, row, arguments, tmp_path):
    if command == "profile":
        arguments = [*arguments, "--output", str(tmp_path / f"{row}.json")]
    words = [command, row, "--scale", "laptop", *arguments]
    run = subprocess.run([sys.executable, "-c", STARTED, *words], cwd=ROOT, capture_output=True, text=True, timeout=600)
    loaded = {line.split()[1] for line in run.stdout.splitlines() if line.startswith("MODULE")}
    assert f"gpstoken.commands.{command}" in loaded, run.stderr
    made = record(command, row, "laptop")
    known = {name.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for name in made["code"]}
    # Of a package, what is beside the way to a module is loaded and not run: it hands names on.
    packages = {name for name in loaded if (ROOT / name.replace(".", "/") / "__init__.py").is_file()}
    handed_on = closure.closure([name for package in packages for name in _names_of(package)])
    assert loaded - known - DISPATCH - packages - handed_on == set()
    assert len(known & loaded) > 15


def _names_of(package: str) -> list[str]:
    return [
        f"{module}.{name}"
        for name, module in closure._handed_on(ROOT / package.replace(".", "/") / "__init__.py").items()
    ]
