"""The command lines of a tokenizer's row and of a study: see `gpstoken.commands.by_row`."""

from dataclasses import replace
from typing import Any

from gpstoken.commands.declared import (
    NETWORKS,
    Row,
    configuration_files,
    file_options,
    find_row,
    options,
    read_rows,
    read_scale,
    studies,
)
from gpstoken.commands.studies import arms_of
from gpstoken.limits import did_you_mean

Command = list[str]
CONSTRUCTOR = {"tokenizers": "model.init_args.tokenizer.init_args", "generators": "model.init_args.generator.init_args"}
FITTED = (
    "tokenizers", "teachers", "components", "ablations", "equal_budget", "sweeps", "generator_tokenizers", *NETWORKS,
)  # fmt: skip
STUDIED = ("tokenizers", "pretrained", "components", "untrained")  # sections whose rows a study may name


def fit(key: str, scale: str, seeds: list[int]) -> list[Command]:
    """The trainings of a row, one per seed, after those of its teachers."""
    row = find_row(key, FITTED)
    run = f"runs/{scale}/{row.group}/{key}"
    if not row.trained:
        return [_published(row, scale)]
    if row.teacher is None:
        return [_fit(row, scale, seed, f"{run}/seed{seed}") for seed in seeds]
    teacher = find_row(row.teacher, ("teachers",))
    if row.section == "generator_tokenizers":  # it learns from the same images
        teacher = replace(teacher, section=row.section)
    lines = [_fit(teacher, scale, seed, f"{run}/teacher{seed}") for seed in seeds]
    for seed in seeds:
        taught = [f"--{CONSTRUCTOR['tokenizers']}.teacher", f"{run}/teacher{seed}/last.ckpt"]
        lines.append([*_fit(row, scale, seed, f"{run}/seed{seed}"), *taught])
    return lines


def _fit(row: Row, scale: str, seed: int, output: str) -> Command:
    kind = "generators" if row.group == "generators" else "tokenizers"
    words = ["fit", *file_options(configuration_files(row, scale))]
    if row.tokens is not None:
        words += ["--data.init_args.root", f"data/cache/{scale}/{row.tokens}"]
    words += [*_arguments(row, kind), "--row", row.key, "--group", row.group, "--scale", scale]
    return [*words, "--seed_everything", str(seed), "--output", output]


def evaluate(key: str, scale: str, _: Any) -> list[Command]:
    """The evaluation of a row's runs."""
    row = find_row(key, ("tokenizers", "ablations", "equal_budget", "sweeps"))
    settings = read_scale(scale).get("evaluate", {})
    if row.section == "sweeps":  # no table shows their distribution scores
        settings = settings | {"networks": []}
    return [_evaluation(row, key, row.group, scale, settings)]


def study(key: str, scale: str, _: Any) -> list[Command]:
    """The evaluations of a study's arms."""
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


def published(key: str, scale: str, _: Any) -> list[Command]:
    """The run of weights that come with the package."""
    return [_published(find_row(key, ("pretrained", "untrained")), scale)]


def _published(row: Row, scale: str) -> Command:
    published, *laid = configuration_files(row, scale)
    words = [
        "published",
        published.as_posix(),
        *([row.key] if row.section == "pretrained" else []),
        *file_options(laid),
    ]
    return [*words, *_arguments(row, "tokenizers"), "--output", f"runs/{scale}/{row.group}/{row.key}/seed0"]


def profile(key: str, scale: str, _: Any) -> list[Command]:
    """The cost of a row at its published size."""
    row = find_row(key, ("tokenizers", "networks", "other_networks"))
    place = f"results/{scale}/efficiency/{key}.json"
    words = ["profile", row.published.as_posix(), "--row", key, "--scale", scale, "--output", place]
    return [[*words, *options(read_scale(scale).get("profile", {}))]]


def timed_rows(scale: str) -> list[Row]:
    """The rows that are timed side by side: every tokenizer, and the arms of equal budgets that the scale trains."""
    arms = read_scale(scale).get("params", {}).get("arms")  # None: all
    rows = [row for row in read_rows() if row.section in ("tokenizers", "equal_budget")]
    return [row for row in rows if row.section == "tokenizers" or arms is None or row.key in arms]


def speed(key: str, scale: str, _: Any) -> list[Command]:
    """The timing of all rows side by side."""
    if key != "rows":
        raise ValueError(f"{key}: all rows are timed side by side: gpstoken speed rows --scale {scale}")
    runs = [f"runs/{scale}/{row.group}/{row.key}/seed0" for row in timed_rows(scale)]
    words = ["speed", *runs, "--row", key, "--scale", scale, "--output", f"results/{scale}/speed/{key}.json"]
    return [[*words, *options(read_scale(scale).get("speed", {}))]]


def _arguments(row: Row, kind: str) -> Command:
    """The options of the arguments in which a row differs from the one that it is like."""
    words: Command = []
    for name, value in row.arguments:
        words += [f"--{CONSTRUCTOR[kind]}.{name}", str(value).lower() if isinstance(value, bool) else str(value)]
    return words
