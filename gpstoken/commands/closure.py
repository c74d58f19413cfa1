"""The code that a command runs: the modules that it imports, directly or through others, and a digest of each.

The pipeline runs a stage again when one of its digests has changed. A digest leaves out comments and docstrings, so
that they can be rewritten without training anything again.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGES = ("gpstoken", "datamodules")
ROOT = Path(__file__).resolve().parents[2]
# Packages that choose one of their modules by name at run time: all their modules count.
BACKENDS = ("gpstoken.splat", "gpstoken.partition", "gpstoken.calibrate")


def digests(names: Iterable[str]) -> dict[str, str]:
    """Hexadecimal digests of all modules that some names import, and of the YAML files beside them that they read.

    Args:
        names: names of modules or of their members, such as gpstoken.GPSToken.
    """
    hashes: dict[str, str] = {}
    for module in sorted(closure(names)):
        path = _path(module)
        hashes[path.relative_to(ROOT).as_posix()] = _digest(path)
        for beside in _read_beside(path):
            hashes[beside.relative_to(ROOT).as_posix()] = hashlib.sha256(beside.read_bytes()).hexdigest()[:16]
    return hashes


def closure(names: Iterable[str]) -> set[str]:
    """The modules of this project that some names import, directly or through others.

    The packages that contain a module are left out, unless a name that they define themselves is imported: a name that
    a package only re-exports is followed to the module that defines it.
    """
    waiting, reached = [module for name in names for module in _resolved(name)], set()
    while waiting:
        module = waiting.pop()
        if module in reached:
            continue
        reached.add(module)
        waiting += _imported(module)
        for package in BACKENDS:
            if module == package or module.startswith(f"{package}."):
                waiting += [f"{package}.{path.stem}" for path in _path(package).parent.glob("[!_]*.py")]
    return reached


@cache
def _imported(module: str) -> tuple[str, ...]:
    names: list[str] = []
    for node in _without_type_checking(_tree(_path(module))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(resolved for name in names for resolved in _resolved(name))


def _resolved(name: str) -> Iterator[str]:
    """The module that a dotted name is, or is defined in; none for a name of another project."""
    parts = name.split(".")
    if parts[0] not in PACKAGES:
        return
    for end in range(len(parts), 0, -1):
        module = ".".join(parts[:end])
        path = _path(module)
        if path is None:
            continue
        if path.name == "__init__.py" and end < len(parts) and (origin := _handed_on(path).get(parts[end])):
            yield from _resolved(f"{origin}.{parts[end]}")
        else:
            yield module
        return


@cache
def _path(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)


@cache
def _handed_on(package: Path) -> dict[str, str]:
    """Name -> module of everything that a package re-exports."""
    tree = _tree(package)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {
        alias.name: node.module for node in imports for alias in node.names if node.module.split(".")[0] in PACKAGES
    }


def _without_type_checking(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from _without_type_checking(node)


@cache
def _tree(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"))


Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@cache
def _digest(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))  # a copy, because it is changed
    for node in ast.walk(tree):
        if isinstance(node, Documented) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16]


@cache
def _read_beside(path: Path) -> tuple[Path, ...]:
    """The YAML files beside a module whose names it contains."""
    words = {node.value for node in ast.walk(_tree(path)) if isinstance(node, ast.Constant)}
    return tuple(sorted(other for other in path.parent.glob("*.yaml") if other.name in words))
