"""`gpstoken rows`: lists every row of experiments/rows.yaml and its commands."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gpstoken.commands.by_row import expanded
from gpstoken.commands.closure import digests
from gpstoken.commands.declared import (
    EXPERIMENTS,
    NETWORKS,
    PUBLISHED,
    SAMPLED,
    Row,
    configuration_files,
    find_row,
    read_rows,
    scales,
    studies,
)
from gpstoken.commands.generator_forms import SPLITS
from gpstoken.commands.parser import Parser
from gpstoken.commands.studies import arms_of
from gpstoken.commands.tokenizer_forms import STUDIED, timed_rows
from gpstoken.files.plain_text import read_yaml
from gpstoken.files.writing import replacing

# Section of rows.yaml -> the commands of its rows, in the order of the pipeline.
STEPS = {
    "tokenizers": ("fit", "evaluate", "profile"),
    "teachers": (),
    "loaded": (),
    "pretrained": ("published",),
    "components": ("fit",),
    "untrained": ("published",),
    "ablations": ("fit", "evaluate"),
    "equal_budget": ("fit", "evaluate"),
    "sweeps": ("fit", "evaluate"),
    "generator_tokenizers": ("fit", "cache", "images"),
    "networks": ("fit", "profile"),
    "other_networks": ("fit", "profile"),
    "small_networks": ("fit",),
    "generators": ("generate-curve", "evaluate-generator", "cost"),
    "other_generators": ("generate-curve", "evaluate-generator", "cost"),
    "generator_sizes": ("generate-curve", "evaluate-generator"),
}


def main(arguments: list[str]) -> int:
    """`gpstoken rows`: prints the commands of every row, or writes them for the pipeline; returns 0."""
    parser = Parser("rows", main.__doc__)
    parser.add_argument("--scale", default="laptop", help=f"{', '.join(scales())} (default: laptop)")
    parser.add_argument("--params", type=Path, help="params.yaml of the pipeline, whose sweeps are listed too")
    parser.add_argument("-o", "--output", type=Path, help="write COMMAND/ROW.yaml to this folder instead")
    given = parser.parse_args(arguments)
    sweeps = [] if given.params is None else read_yaml(given.params).get("sweeps", [])
    rows = [*read_rows(), *(find_row(sweep, ["sweeps"]) for sweep in sweeps)]
    steps = [(command, row.key) for row in rows for command in STEPS[row.section]]
    steps += [("study", study) for study in studies()] + [("images", split) for split in SPLITS]
    for command, key in [*steps, ("features", "real"), ("speed", "rows")]:
        if given.output is None:
            lines = expanded(command, key, given.scale, [0])
            print(f"gpstoken {command} {key} --scale {given.scale}")
            print("".join(f"    gpstoken {' '.join(line)}\n" for line in lines))
            continue
        path = given.output / command / f"{key}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_text(yaml.safe_dump(record(command, key, given.scale), sort_keys=False, width=2**20))
    return 0


def record(command: str, key: str, scale: str) -> dict[str, Any]:
    """The dependencies of a stage of the pipeline.

    Returns:
        {"commands": the expanded command lines, "files": content of the configuration files that they name, "code":
        digests of the modules that they run}.
    """
    lines = expanded(command, key, scale, [0])
    named = sorted({word for line in lines for word in line if word.startswith(f"{EXPERIMENTS}/")})
    files = {path: read_yaml(path) for path in named}
    classes = set(class_paths(list(files.values())))
    for row in _involved(command, key, scale):
        classes |= set(class_paths([read_yaml(path) for path in configuration_files(row, scale)]))
    modules = {f"gpstoken.commands.{line[0].replace('-', '_')}" for line in lines}
    return {"commands": [" ".join(line) for line in lines], "files": files, "code": digests(modules | classes)}


def class_paths(content: Any) -> Iterator[str]:
    """Every class that a configuration names."""
    for name, value in content.items() if isinstance(content, dict) else enumerate(content):
        if name == "class_path":
            yield value
        elif isinstance(value, dict | list):
            yield from class_paths(value)


def _involved(command: str, key: str, scale: str) -> list[Row]:
    """The rows whose networks a command builds, beside those of its configuration files."""
    if command == "study":
        return [
            find_row(trained, STUDIED) for trained in dict.fromkeys(arm["row"] for arm in arms_of(key, scale).values())
        ]
    if command in ("generate-curve", "cost"):
        row = find_row(key, SAMPLED)
        networks = [find_row(network, NETWORKS) for network in row.networks]
        return [*networks, find_row(row.tokens, ["generator_tokenizers"])]
    if command == "speed":
        return timed_rows(scale)
    if command in ("evaluate-generator", "features") or key in SPLITS:
        return []
    row = find_row(key, [*PUBLISHED, "sweeps"])
    return [row] if row.teacher is None else [row, find_row(row.teacher, ["teachers"])]
