"""Expands `gpstoken COMMAND ROW --scale SCALE` to the command line with files, folders and options.

`gpstoken fit gpstoken_m128 --scale laptop` is `gpstoken fit -c experiments/tokenizers/gpstoken_m128.yaml -c ...`, and
runs the same code. Only this module and its forms know which files and options belong to a row: the stages of the
pipeline are short, and no path is parsed to identify a file.
"""

import argparse
import glob
from collections.abc import Callable
from pathlib import Path

from gpstoken.commands import generator_forms, tokenizer_forms
from gpstoken.commands.declared import folders

Command = list[str]


def is_row_form(arguments: Command) -> bool:
    """Whether a command line names a row, a study or a split rather than files."""
    if len(arguments) < 2 or arguments[0] not in FORMS:
        return False
    first = arguments[1]
    return not first.startswith("-") and "/" not in first and not Path(first).suffix and not Path(first).exists()


def parse(arguments: Command) -> tuple[list[list[Command]], bool]:
    """Expands a command line that names a row.

    Args:
        arguments: COMMAND ROW --scale SCALE [--seeds N ...] and options of the command, which are appended.

    Returns:
        (command lines in groups, each of which needs those before it; whether the lines of a group differ in their seed
        and may run in parallel).

    Raises:
        ValueError: if there is no such row or scale.
    """
    command = arguments[0]
    parser = argparse.ArgumentParser(prog=f"gpstoken {command}", add_help=False)
    parser.add_argument("row")
    parser.add_argument("--scale", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    given, rest = parser.parse_known_args(arguments[1:])
    seeds = list(dict.fromkeys(given.seeds))
    lines = expanded(command, given.row, given.scale, seeds)
    seeded = command in ("fit", "generate-curve")
    if seeded and len(lines) > 1 and {"-o", "--output"} & set(rest):
        raise ValueError("--output: works for one seed only; with several seeds each has its own folder")
    lines = [[*map_globs(line), *rest] for line in lines]
    size = len(seeds) if seeded else len(lines)
    return [lines[start : start + size] for start in range(0, len(lines), size)], seeded


def expanded(command: str, key: str, scale: str, seeds: list[int]) -> list[Command]:
    """The command lines for a row, a study or a split; several runs are given as a pattern of their folders.

    Raises:
        ValueError: if the command has no such row, study or split.
    """
    folders(scale)  # raises an error for an unknown scale
    return FORMS[command](key, scale, seeds)


def map_globs(line: Command) -> Command:
    """A command line with its patterns replaced by the paths that match.

    Raises:
        ValueError: if a pattern matches nothing.
    """
    words: Command = []
    for word in line:
        if "*" not in word:
            words.append(word)
            continue
        paths = sorted(glob.glob(word))
        if not paths:
            raise ValueError(f"{word}: nothing there yet; earlier stages write it, see `gpstoken rows`")
        words += paths
    return words


# Command -> the function that expands `COMMAND KEY --scale SCALE --seeds ...`.
FORMS: dict[str, Callable[[str, str, list[int]], list[Command]]] = {
    "fit": tokenizer_forms.fit,
    "published": tokenizer_forms.published,
    "evaluate": tokenizer_forms.evaluate,
    "study": tokenizer_forms.study,
    "profile": tokenizer_forms.profile,
    "speed": tokenizer_forms.speed,
    "cache": generator_forms.cache,
    "images": generator_forms.images,
    "features": generator_forms.features,
    "generate-curve": generator_forms.generate_curve,
    "cost": generator_forms.cost,
    "evaluate-generator": generator_forms.evaluate_generator,
}
