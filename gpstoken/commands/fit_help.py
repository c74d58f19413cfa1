"""`gpstoken fit --help`: a help page, with the arguments of the rows that are named."""

import importlib
import inspect
import itertools
import re
from pathlib import Path
from typing import Any

from gpstoken.files.plain_text import read_yaml

PAGE = """usage: gpstoken {command} -c ROW.yaml [-c OVERLAY.yaml ...] [--output DIR] [--OPTION VALUE ...]
       gpstoken fit ROW --scale SCALE [--seeds N ...] [--OPTION VALUE ...]    (a row of experiments/rows.yaml)

Later files and options replace earlier ones. An option is a path through the YAML:
  -c, --config FILE            a row (experiments/tokenizers/, experiments/generators/) or an overlay of it
                               (experiments/laptop/*.yaml: two CPU cores)
  --output DIR                 folder of the finished run; the same command resumes after a kill
  --seed_everything N          seed of weights, data and noise (default 0)
  --data FILE.yaml | CLASS     other images: experiments/_data/*.yaml, datamodules.Folder --data.root photos/
  --ckpt_path FILE             resume from this checkpoint
  --trainer.max_steps N, --trainer.devices N, --trainer.accelerator cpu|gpu, --trainer.precision 32-true|bf16-mixed
  --print_config               print the whole configuration, with all defaults
  --help trainer               list every option of Lightning's Trainer"""


def show(arguments: list[str]) -> int:
    """Prints the page for the arguments of a call; returns 0.

    Raises:
        ValueError: if a file that they name is not the YAML of a row.
    """
    if "trainer" in arguments:
        from lightning import Trainer

        print("\n".join(f"  --trainer.{line}" for line in _described(Trainer)))
        return 0
    print(PAGE.format(command=arguments[0]))
    files = [value for option, value in itertools.pairwise(arguments) if option in ("-c", "--config")]
    parts: dict[str, str] = {}
    for file in files:
        _classes(_read(Path(file)), "", parts)
    for key, class_path in parts.items():
        print(f"\n{class_path}:")
        print("\n".join(f"  --{key}.init_args.{line}" for line in _described(class_of(class_path))))
    if not files:
        print("\nWith a row before --help, its arguments are shown: gpstoken fit -c ROW.yaml --help")
    return 0


def _read(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    if isinstance(content.get("data"), str):
        content["data"] = read_yaml(path.parent / content["data"])
    return content


def _classes(content: Any, key: str, parts: dict[str, str]) -> None:
    """Adds option -> class path for every class that the YAML builds; a later file may replace it."""
    for name, value in content.items() if isinstance(content, dict) else ():
        if name == "class_path":
            parts[key] = value
        elif name != "trainer":
            _classes(value, f"{key}.{name}".lstrip("."), parts)


def class_of(class_path: str) -> type:
    """The class of a name such as gpstoken.GPSToken.

    Raises:
        ValueError: if there is none.
    """
    module, _, name = class_path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"class_path: there is no {class_path} ({error})") from error


def _described(kind: type) -> list[str]:
    """One line per argument of a class: name, default, description, at most 100 characters."""
    lines = []
    seen: set[str] = set()
    for base in kind.__mro__:
        documentation = f"{base.__doc__ or ''}\n{base.__init__.__doc__ or ''}"
        for name, parameter in inspect.signature(base.__init__).parameters.items():
            described = re.search(rf"^( +)\**{name}: (.*\n(?:\1    .*\n)*)", documentation, re.M)
            if name == "self" or name in seen or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                continue
            if not described and base is object:
                continue
            seen.add(name)
            words = " ".join(described[2].split()) if described else ""
            default = "" if parameter.default is parameter.empty else f" ({parameter.default})"
            line = f"{name}{default}: {words}" if words else f"{name}{default}"
            lines.append(line if len(line) <= 100 else f"{line[:97]}...")
        if "**options" not in (base.__doc__ or "") and not base.__module__.startswith("datamodules"):
            break
    return lines
