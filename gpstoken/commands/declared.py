"""The rows, scales and studies that experiments/ declares.

A row is one entry of experiments/rows.yaml and one YAML of its published size. A scale is a folder of files that are
laid over it; see `configuration_files` for the order.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gpstoken.files.plain_text import read_yaml
from gpstoken.limits import did_you_mean

EXPERIMENTS = Path("experiments")
# Section of rows.yaml -> folder of the published sizes of its rows, and folder of runs/SCALE that they are trained to.
PUBLISHED = {
    "tokenizers": "tokenizers",
    "ablations": "tokenizers",
    "generator_tokenizers": "tokenizers",
    "networks": "generators",
    "small_networks": "generators",
}
GROUPS = {
    "tokenizers": "tokenizers",
    "ablations": "tokenizers",
    "sweeps": "sweeps",
    "generator_tokenizers": "generation",
    "networks": "generators",
    "small_networks": "generators",
    "generators": "generators",
    "generator_sizes": "generators",
}
FIELDS = {"name", "paper", "family", "like", "arguments", "tokens", "first", "last"}


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        key: as commands and results name it.
        section: of rows.yaml; "sweeps" for ARGUMENT=VALUE.
        like: the row whose published size it has, often itself.
        family: the file, or the settings of a sampler, of a scale that it shares with others, or None.
        arguments: of its constructor, which differ from those of `like`.
        tokens: of a network or generator, the tokenizer on whose tokens it works.
        networks: of a generator, from first to last.
    """

    key: str
    section: str
    like: str
    family: str | None = None
    arguments: tuple[tuple[str, Any], ...] = ()
    tokens: str | None = None
    networks: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The folder of runs/SCALE and results/SCALE that it is in."""
        return GROUPS[self.section]

    @property
    def published(self) -> Path:
        """The YAML of its published size."""
        folder = PUBLISHED["tokenizers" if self.section == "sweeps" else self.section]
        return EXPERIMENTS / folder / f"{self.like}.yaml"


@cache
def read_rows(path: Path = EXPERIMENTS / "rows.yaml") -> list[Row]:
    """Every row of rows.yaml. A network and the generator of that network alone may have one key.

    Raises:
        ValueError: if the file is missing, two rows would be trained or sampled to one place, or an entry has a field
            that there is not.
    """
    try:
        declared = read_yaml(path)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: not here; rows are named in a checkout of this project") from error
    rows: list[Row] = []
    for section in [section for section in GROUPS if section in declared]:
        for key, entry in declared[section].items():
            unknown = sorted(set(entry) - FIELDS)
            if unknown:
                raise ValueError(f"{path}: {key}: no field {unknown[0]}{did_you_mean(unknown[0], sorted(FIELDS))}")
            if any((row.key, bool(row.networks)) == (key, "first" in entry) for row in rows):
                raise ValueError(f"{path}: {key} stands twice")
            like = declared["tokenizers"] | declared.get("networks", {})
            base = entry.get("like", key)
            if "like" in entry and base not in like:
                raise ValueError(f"{path}: {key}: there is no row {base} that it could be like")
            rows.append(
                Row(
                    key,
                    section,
                    base,
                    entry.get("family", like.get(base, {}).get("family")),
                    tuple(entry.get("arguments", {}).items()),
                    entry.get("tokens"),
                    tuple(dict.fromkeys(entry[name] for name in ("first", "last") if name in entry)),
                )
            )
    return rows


def find_row(key: str, sections: Collection[str]) -> Row:
    """The row of a key in one of some sections: of rows.yaml, or ARGUMENT=VALUE of the row that it has swept.

    Raises:
        ValueError: if there is none; says which there are.
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


def scales() -> list[str]:
    """The scales that experiments/ has."""
    return sorted(path.parent.name for path in EXPERIMENTS.glob("*/scale.yaml"))


def read_scale(scale: str) -> dict[str, Any]:
    """What scale.yaml says, over what that of the scale says that it is `like`.

    Raises:
        ValueError: if there is no such scale.
    """
    settings: dict[str, Any] = {}
    for folder in folders(scale):
        own = read_yaml(folder / "scale.yaml")
        own.pop("like", None)
        merged = {name: settings[name] | value for name, value in own.items() if name in settings}
        settings |= own | merged
    return settings


def folders(scale: str) -> list[Path]:
    """The folders of a scale in the order in which they are laid: first the one that it is like, then its own."""
    if scale not in scales():
        raise ValueError(f"--scale {scale}: no {EXPERIMENTS / scale / 'scale.yaml'}{did_you_mean(scale, scales())}")
    like = read_yaml(EXPERIMENTS / scale / "scale.yaml").get("like")
    return [*([] if like is None else folders(like)), EXPERIMENTS / scale]


def configuration_files(row: Row, scale: str) -> list[Path]:
    """The files that a row is configured by, a later one over an earlier one.

    They are its published size, and then of every folder of the scale what is there of: the file of its kind, that of
    its family, that of the row that it is like, that of all tokenizers of generators, and its own.
    """
    kind = PUBLISHED["tokenizers" if row.section == "sweeps" else row.section]
    section = row.section if row.section == "generator_tokenizers" else None
    names = dict.fromkeys(name for name in (kind, row.family, row.like, section, row.key) if name is not None)
    laid = [folder / f"{name}.yaml" for folder in folders(scale) for name in names]
    return [row.published, *(path for path in laid if path.is_file())]


def scale_file(scale: str, name: str) -> Path:
    """The file of a scale, or of the one that it is like, which is nearest to it."""
    return next(folder / name for folder in reversed(folders(scale)) if (folder / name).is_file())


def file_options(files: list[Path]) -> list[str]:
    """`-c FILE` for each."""
    return [word for path in files for word in ("-c", path.as_posix())]


def options(settings: dict[str, Any]) -> list[str]:
    """Settings as a command line has them: a list as several words, true as a flag alone, --data last."""
    words: list[str] = []
    for name, value in sorted(settings.items(), key=lambda each: (each[0].startswith("data."), each[0] == "data")):
        words.append(f"--{name}")
        if value is not True:
            words += [str(each) for each in (value if isinstance(value, list) else [value])]
    return words
