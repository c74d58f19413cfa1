"""Safe reading of YAML and JSON: a mapping of plain values, within limits, or an error that names the file."""

import json
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 2**22  # ten times the description of a token cache of all of ImageNet
MAX_DEPTH = 50
MAX_NODES = 100_000  # YAML nodes, with every alias expanded: aliases of aliases multiply
MAX_DIGITS = 400  # per number; YAML's base-60 numbers take quadratic time to convert
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, but not in every build of PyYAML


def read_yaml(path: str | Path) -> dict[Any, Any]:
    """The mapping of a YAML file.

    Args:
        path: a file of at most `MAX_BYTES`. Aliases are allowed; each counts as a copy of what it refers to.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not YAML, names Python objects, is nested too deep or too large, or is not a mapping.
    """
    return _read(Path(path), "a readable YAML file", _parse_yaml)


def read_json(path: str | Path) -> dict[str, Any]:
    """The object of a JSON file; NaN and Infinity, which Python writes, are read.

    Args:
        path: a file of at most `MAX_BYTES`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not JSON, is nested too deep, or is not an object.
    """
    return _read(Path(path), "JSON", json.loads)


def parse_json(path: str | Path, text: str) -> dict[str, Any]:
    """The object of a JSON text within a file, such as the header of a safetensors file.

    Raises:
        ValueError: like `read_json`.
    """
    return _checked(path, "JSON", json.loads, text)


def _read(path: Path, kind: str, parse: Callable[[str], Any]) -> dict[Any, Any]:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would block
            raise ValueError(f"{path}: not a file")
        if status.st_size > MAX_BYTES:
            raise ValueError(f"{path}: {status.st_size:,} bytes, but {MAX_BYTES:,} are allowed")
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not {kind} (it is not UTF-8 at byte {error.start})") from error
    return _checked(path, kind, parse, text)


def _checked(path: str | Path, kind: str, parse: Callable[[str], Any], text: str) -> dict[Any, Any]:
    try:
        content = parse(text)
        _check_depth(content)
    except Exception as error:  # PyYAML raises nearly anything: a KeyError for !!bool maybe, an OverflowError for 10000
        deep = isinstance(error, RecursionError)
        reason = f"nested deeper than {MAX_DEPTH}" if deep else " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: not {kind} ({reason if len(reason) < 300 else reason[:296] + ' ...'})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object (a mapping), got {type(content).__name__}")
    return content


def _parse_yaml(text: str) -> Any:
    _check_events(yaml.parse(text, Loader=LOADER))
    return yaml.load(text, Loader=LOADER)


def _check_events(events: Iterable[yaml.Event]) -> None:
    """Checks the parser's events, which are cheap, for content that would take long or much memory to load."""
    opened: list[tuple[str | None, int]] = []  # anchor, and number of nodes before it
    sizes: dict[str, int] = {}
    nodes = 0
    for event in events:
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor is not None:
                sizes[anchor] = nodes - before
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(f"the alias *{event.anchor} refers to no earlier value, or to one that contains it")
            nodes += sizes[event.anchor]
        elif isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.CollectionStartEvent):
                opened.append((event.anchor, nodes))
                if len(opened) > MAX_DEPTH:
                    raise ValueError(f"nested deeper than {MAX_DEPTH}")
            elif event.implicit[0] and len(event.value) > MAX_DIGITS and event.value[0] in "+-.0123456789":
                raise ValueError(f"a number of {len(event.value):,} digits")
            nodes += 1
            if event.anchor is not None and isinstance(event, yaml.ScalarEvent):
                sizes[event.anchor] = 1
        if nodes > MAX_NODES:
            raise ValueError(f"more than {MAX_NODES:,} values, with aliases expanded")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        held = [node.values() if isinstance(node, dict) else node for node in level if isinstance(node, dict | list)]
        level = [node for values in held for node in values]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH}")
