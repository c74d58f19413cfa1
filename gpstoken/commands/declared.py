"""The rows, scales and studies that experiments/ declares.

A row is one entry of experiments/rows.yaml and one YAML of its published size. A scale is a folder of overlay files;
see `configuration_files` for the order in which they are merged.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gpstoken.files.plain_text import read_yaml
from gpstoken.limits import did_you_mean

# That of the working folder, as in a checkout and in the pipeline; elsewhere the one installed beside this package.
EXPERIMENTS = Path("experiments")
if not (EXPERIMENTS / "rows.yaml").is_file():
    EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
# Section of rows.yaml -> folder of its rows' published sizes; below, folder of runs/SCALE that holds their runs.
PUBLISHED = {
    "tokenizers": "tokenizers",
    "teachers": "tokenizers",
    "loaded": "tokenizers",
    "pretrained": "tokenizers",
    "components": "tokenizers",
    "untrained": "tokenizers",
    "ablations": "tokenizers",
    "equal_budget": "tokenizers",
    "generator_tokenizers": "tokenizers",
    "networks": "generators",
    "other_networks": "generators",
    "small_networks": "generators",
}
GROUPS = {
    "tokenizers": "tokenizers",
    "teachers": "tokenizers",
    "loaded": "tokenizers",
    "pretrained": "tokenizers",
    "components": "tokenizers",
    "untrained": "tokenizers",
    "ablations": "tokenizers",
    "equal_budget": "tokenizers",
    "sweeps": "sweeps",
    "generator_tokenizers": "generation",
    "networks": "generators",
    "other_networks": "generators",
    "small_networks": "generators",
    "generators": "generators",
    "other_generators": "generators",
    "generator_sizes": "generators",
}
# Sections whose rows others may be like.
LIKE = ("tokenizers", "components", "untrained", "networks")
# Sections of the networks that generators consist of, and of what is sampled.
NETWORKS = ("networks", "other_networks", "small_networks")
SAMPLED = ("generators", "other_generators", "generator_sizes")
# Sections of one size at every scale.
SCALELESS = ("pretrained", "components", "untrained")
FIELDS = {"name", "paper", "family", "like", "arguments", "trained", "teacher", "tokens", "first", "last"}


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        key: the row's name in commands and results.
        section: section of rows.yaml; "sweeps" for ARGUMENT=VALUE.
        like: the row whose published size it has, often itself.
        family: name of a scale's file, or of its sampler settings, that several rows share, or None.
        arguments: constructor arguments that differ from those of `like`.
        trained: whether its network has weights, which are trained.
        teacher: the row that is trained first, with the same seed, as this one's teacher, or None.
        tokens: for a network or generator, the tokenizer whose tokens it models.
        networks: for a generator, its networks from first to last.
    """

    key: str
    section: str
    like: str
    family: str | None = None
    arguments: tuple[tuple[str, Any], ...] = ()
    trained: bool = True
    teacher: str | None = None
    tokens: str | None = None
    networks: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The row's folder in runs/SCALE and results/SCALE."""
        return GROUPS[self.section]

    @property
    def published(self) -> Path:
        """The YAML file of the row's published size."""
        folder = PUBLISHED["tokenizers" if self.section == "sweeps" else self.section]
        return EXPERIMENTS / folder / f"{self.like}.yaml"


@cache
def read_rows(path: Path = EXPERIMENTS / "rows.yaml") -> list[Row]:
    """Every row of rows.yaml. A network and the generator of that network alone may have one key.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if two rows would be written to the same folder, or an entry has an unknown field.
    """
    declared = read_yaml(path)
    rows: list[Row] = []
    for section in [section for section in GROUPS if section in declared]:
        for key, entry in declared[section].items():
            unknown = sorted(set(entry) - FIELDS)
            if unknown:
                raise ValueError(f"{path}: {key}: no field {unknown[0]}{did_you_mean(unknown[0], sorted(FIELDS))}")
            if any((row.key, bool(row.networks)) == (key, "first" in entry) for row in rows):
                raise ValueError(f"{path}: {key} is declared twice")
            like = {row: entry for each in LIKE for row, entry in declared.get(each, {}).items()}
            base = entry.get("like", key)
            # Of an arm, the row may be left out of a run: its file is enough.
            known = base in like or (section == "equal_budget" and (EXPERIMENTS / f"tokenizers/{base}.yaml").is_file())
            if "like" in entry and not known:
                raise ValueError(f"{path}: {key}: like: there is no row {base}")
            rows.append(
                Row(
                    key,
                    section,
                    base,
                    entry.get("family", like.get(base, {}).get("family")),
                    tuple(entry.get("arguments", {}).items()),
                    entry.get("trained", True),
                    entry.get("teacher", like.get(base, {}).get("teacher")),
                    entry.get("tokens"),
                    tuple(dict.fromkeys(entry[name] for name in ("first", "last") if name in entry)),
                )
            )
    return rows


def find_row(key: str, sections: Collection[str]) -> Row:
    """The row of a key in the given sections of rows.yaml, or for ARGUMENT=VALUE, a variant of the row `swept`.

    Raises:
        ValueError: if there is none; lists the rows that there are.
    """
    argument, equals, value = key.partition("=")
    if "sweeps" in sections and equals and argument.isidentifier() and value:
        swept = find_row(read_yaml(EXPERIMENTS / "rows.yaml")["swept"], ["tokenizers"])
        return Row(key, "sweeps", swept.like, swept.family, (*swept.arguments, (argument, value)))
    rows = {row.key: row for row in read_rows() if row.section in sections}
    if key not in rows:
        raise ValueError(f"{key}: no such row here{did_you_mean(key, rows)}; there are {', '.join(rows)}")
    return rows[key]


def studies() -> list[str]:
    """The studies of rows.yaml."""
    return list(read_yaml(EXPERIMENTS / "rows.yaml")["studies"])


def chosen_arms(arms: dict[str, Any], names: list[str] | None, where: str) -> dict[str, Any]:
    """The arms of a study that a scale names; all of them where it names none.

    Raises:
        ValueError: if the study has no such arm; the message begins with `where`.
    """
    if unknown := [name for name in names or [] if name not in arms]:
        raise ValueError(f"{where}: arms: {unknown[0]}: no such arm{did_you_mean(unknown[0], arms)}")
    return arms if names is None else {name: arms[name] for name in names}


def scales() -> list[str]:
    """The scales that experiments/ declares."""
    return sorted(path.parent.name for path in EXPERIMENTS.glob("*/scale.yaml"))


def read_scale(scale: str) -> dict[str, Any]:
    """The settings of scale.yaml, laid over those of the scale that it is `like`.

    Raises:
        ValueError: if there is no such scale.
    """
    settings: dict[str, Any] = {}
    for folder in folders(scale):
        declared = read_yaml(folder / "scale.yaml")
        declared.pop("like", None)
        merged = {name: settings[name] | value for name, value in declared.items() if name in settings}
        settings |= declared | merged
    return settings


def folders(scale: str) -> list[Path]:
    """The folders of a scale in the order of merging: first the scale that it is like, then its own."""
    if scale not in scales():
        raise ValueError(f"--scale {scale}: no {EXPERIMENTS / scale / 'scale.yaml'}{did_you_mean(scale, scales())}")
    like = read_yaml(EXPERIMENTS / scale / "scale.yaml").get("like")
    return [*([] if like is None else folders(like)), EXPERIMENTS / scale]


def configuration_files(row: Row, scale: str) -> list[Path]:
    """The files that configure a row; later files override earlier ones.

    The first is the row's published size. Then come, for every folder of the scale, those files that exist of: the file
    of its kind, of its family, of the row that it is like, of all tokenizers of generators, and its own. Rows of one
    size have nothing but their own file of a scale.
    """
    kind = PUBLISHED["tokenizers" if row.section == "sweeps" else row.section]
    section = row.section if row.section == "generator_tokenizers" else None
    names = dict.fromkeys(name for name in (kind, row.family, row.like, section, row.key) if name is not None)
    if row.section in SCALELESS:
        names = {row.key: None}
    laid = [folder / f"{name}.yaml" for folder in folders(scale) for name in names]
    return [row.published, *(path for path in laid if path.is_file())]


def scale_file(scale: str, name: str) -> Path:
    """A file of a scale, or if the scale has none, that of the scale that it is like."""
    return next(folder / name for folder in reversed(folders(scale)) if (folder / name).is_file())


def file_options(files: list[Path]) -> list[str]:
    """`-c FILE` for each file."""
    return [word for path in files for word in ("-c", path.as_posix())]


def options(settings: dict[str, Any]) -> list[str]:
    """Settings as command-line options, --data last: a list as several words, true as a bare flag.

    An option of LightningCLI, a path through its YAML, has no flags: its true is a word.
    """
    words: list[str] = []
    for name, value in sorted(settings.items(), key=lambda item: (item[0].startswith("data."), item[0] == "data")):
        words.append(f"--{name}")
        if value is True and "." in name:
            words.append("true")
        elif value is not True:
            words += [str(word) for word in (value if isinstance(value, list) else [value])]
    return words
