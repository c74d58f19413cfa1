"""Expands `gpstoken COMMAND ROW --scale SCALE` to the command line with files, folders and options.

`gpstoken fit gpstoken_m128 --scale laptop` is `gpstoken fit -c experiments/tokenizers/gpstoken_m128.yaml -c ...`, and
runs the same code. Only this module knows which files and options belong to a row: the stages of the pipeline are
short, and no path is parsed to identify a file.
"""

import argparse
import glob
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpstoken.commands.declared import (
    Row,
    configuration_files,
    file_options,
    find_row,
    folders,
    options,
    read_scale,
    scale_file,
    studies,
)
from gpstoken.commands.studies import arms_of
from gpstoken.limits import did_you_mean

Command = list[str]
CONSTRUCTOR = {"tokenizers": "model.init_args.tokenizer.init_args", "generators": "model.init_args.generator.init_args"}
FITTED = (
    "tokenizers", "arriving", "components", "ablations", "sweeps", "generator_tokenizers", "networks", "small_networks",
)  # fmt: skip
STUDIED = ("tokenizers", "pretrained", "components", "untrained")  # sections whose rows a study may name
SPLITS = ("train", "test")  # splits of the real images that samples are compared with


def is_row_form(arguments: Command) -> bool:
    """Whether a command line names a row, a study or a split rather than files."""
    if len(arguments) < 2 or arguments[0] not in FORMS:
        return False
    first = arguments[1]
    return not first.startswith("-") and "/" not in first and not Path(first).suffix and not Path(first).exists()


def parse(arguments: Command) -> tuple[list[Command], bool]:
    """Expands a command line that names a row.

    Args:
        arguments: COMMAND ROW --scale SCALE [--seeds N ...] and options of the command, which are appended.

    Returns:
        (command lines, whether they differ in their seed and may run in parallel).

    Raises:
        ValueError: if there is no such row or scale.
    """
    command = arguments[0]
    parser = argparse.ArgumentParser(prog=f"gpstoken {command}", add_help=False)
    parser.add_argument("row")
    parser.add_argument("--scale", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    given, rest = parser.parse_known_args(arguments[1:])
    lines = expanded(command, given.row, given.scale, list(dict.fromkeys(given.seeds)))
    if command in ("fit", "generate-curve") and len(lines) > 1 and {"-o", "--output"} & set(rest):
        raise ValueError("--output: works for one seed only; with several seeds each has its own folder")
    return [[*map_globs(line), *rest] for line in lines], command in ("fit", "generate-curve")


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


def _fit(key: str, scale: str, seeds: list[int]) -> list[Command]:
    row = find_row(key, FITTED)
    kind = "generators" if row.group == "generators" else "tokenizers"
    words = ["fit", *file_options(configuration_files(row, scale))]
    if row.tokens is not None:
        words += ["--data.init_args.root", f"data/cache/{scale}/{row.tokens}"]
    words += [*_arguments(row, kind), "--row", key, "--group", row.group, "--scale", scale]
    run = f"runs/{scale}/{row.group}/{key}/seed"
    return [[*words, "--seed_everything", str(seed), "--output", f"{run}{seed}"] for seed in seeds]


def _evaluate(key: str, scale: str, _: Any) -> list[Command]:
    row = find_row(key, ("tokenizers", "arriving", "ablations", "sweeps"))
    settings = read_scale(scale).get("evaluate", {})
    if row.section == "sweeps":  # no table shows their distribution scores
        settings = settings | {"networks": []}
    return [_evaluation(row, key, row.group, scale, settings)]


def _study(key: str, scale: str, _: Any) -> list[Command]:
    if key not in studies():
        raise ValueError(f"{key}: no such study{did_you_mean(key, studies())}; there are {', '.join(studies())}")
    lines = []
    for arm, settings in arms_of(key, scale).items():
        row = find_row(settings.pop("row"), STUDIED)
        command, runs, *line = _evaluation(row, arm, f"studies/{key}", scale, settings)
        lines.append([command, runs, "--trained-row", row.key, *line])
    return lines


def _evaluation(row: Row, key: str, group: str, scale: str, settings: dict[str, Any]) -> Command:
    place = f"results/{scale}/{group}/{key}.json"
    words = ["evaluate", f"runs/{scale}/{row.group}/{row.key}/seed*", "--row", key, "--group", group.split("/")[0]]
    return [*words, "--scale", scale, "--output", place, *options(settings)]


def _published(key: str, scale: str, _: Any) -> list[Command]:
    row = find_row(key, ("pretrained", "untrained"))
    published, *laid = configuration_files(row, scale)
    words = ["published", published.as_posix(), *([key] if row.section == "pretrained" else []), *file_options(laid)]
    return [[*words, *_arguments(row, "tokenizers"), "--output", f"runs/{scale}/{row.group}/{key}/seed0"]]


def _profile(key: str, scale: str, _: Any) -> list[Command]:
    row = find_row(key, ("tokenizers", "networks"))
    place = f"results/{scale}/efficiency/{key}.json"
    words = ["profile", row.published.as_posix(), "--row", key, "--scale", scale, "--output", place]
    return [[*words, *options(read_scale(scale).get("profile", {}))]]


def _cache(key: str, scale: str, _: Any) -> list[Command]:
    row = find_row(key, ("generator_tokenizers",))
    words = ["cache", "--tokenizer", f"runs/{scale}/{row.group}/{key}/seed0/last.ckpt"]
    words += ["--output", f"data/cache/{scale}/{key}"]
    return [[*words, *options(read_scale(scale).get("cache", {}) | _classes(scale))]]


def _images(key: str, scale: str, _: Any) -> list[Command]:
    settings = read_scale(scale).get("images", {}) | _classes(scale)
    if key not in SPLITS:  # reconstructed test images: the upper bound of generators on this tokenizer's tokens
        row = find_row(key, ("generator_tokenizers",))
        settings["through"] = f"runs/{scale}/{row.group}/{key}/seed0/last.ckpt"
    if key != "train":
        settings.pop("count", None)
    words = ["images", "--split", "train" if key == "train" else "test", "--output", f"data/real/{scale}/{key}.npz"]
    return [[*words, *options(settings)]]


def _features(key: str, scale: str, _: Any) -> list[Command]:
    if key != "real":
        raise ValueError(f"{key}: only the real images' features are stored: gpstoken features real --scale {scale}")
    files = [f"data/real/{scale}/{split}.npz" for split in SPLITS]
    return [["features", *files, *options(read_scale(scale).get("features", {}))]]


def _generate_curve(key: str, scale: str, seeds: list[int]) -> list[Command]:
    row = find_row(key, ("generators", "generator_sizes"))
    settings = read_scale(scale)
    how = options(settings.get("generate", {}) | settings.get(row.family, {}))
    if row.section == "generator_sizes":
        how = ["--last", *how]
    lines = []
    for seed in seeds:
        words = ["generate-curve", *_networks(row, scale, seed), "--seed", str(seed)]
        lines.append([*words, "--output", f"samples/{scale}/{key}/seed{seed}", *how])
    return lines


def _cost(key: str, scale: str, _: Any) -> list[Command]:
    row = find_row(key, ("generators",))
    settings = read_scale(scale)
    words = ["cost", *_networks(row, scale, 0), "--row", key, "--scale", scale]
    words += ["--output", f"results/{scale}/cost/{key}.json"]
    return [[*words, *options(settings.get("cost", {}) | settings.get(row.family, {}))]]


def _evaluate_generator(key: str, scale: str, _: Any) -> list[Command]:
    row = find_row(key, ("generators", "generator_sizes"))
    real = f"data/real/{scale}"
    words = ["evaluate-generator", f"samples/{scale}/{key}/seed*/step_*.npz", "--row", key, "--scale", scale]
    words += ["--train", f"{real}/train.npz", "--test", f"{real}/test.npz"]
    words += ["--reconstructions", f"{real}/{row.tokens}.npz"]
    words += ["--output", f"results/{scale}/generators/{key}.json"]
    return [[*words, *options(read_scale(scale).get("evaluate-generator", {}))]]


# Command -> the function that expands `COMMAND KEY --scale SCALE --seeds ...`.
FORMS: dict[str, Callable[[str, str, list[int]], list[Command]]] = {
    "fit": _fit,
    "published": _published,
    "evaluate": _evaluate,
    "study": _study,
    "profile": _profile,
    "cache": _cache,
    "images": _images,
    "features": _features,
    "generate-curve": _generate_curve,
    "cost": _cost,
    "evaluate-generator": _evaluate_generator,
}


def _arguments(row: Row, kind: str) -> Command:
    """The options of the arguments in which a row differs from the one that it is like."""
    words: Command = []
    for name, value in row.arguments:
        words += [f"--{CONSTRUCTOR[kind]}.{name}", str(value).lower() if isinstance(value, bool) else str(value)]
    return words


def _classes(scale: str) -> dict[str, Any]:
    return {"data": scale_file(scale, "classes.yaml").as_posix()}


def _networks(row: Row, scale: str, seed: int) -> Command:
    first, last = row.networks[0], row.networks[-1]
    words = [f"runs/{scale}/generators/{last}/seed{seed}"]
    return words if first == last else [*words, "--layout", f"runs/{scale}/generators/{first}/seed{seed}"]
