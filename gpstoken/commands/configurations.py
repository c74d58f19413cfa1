"""Checks the YAML files of a command line before LightningCLI reads them, which has no limit of depth or size."""

from pathlib import Path
from typing import Any

from gpstoken.files.plain_text import read_yaml

ENDINGS = (".yaml", ".yml")


def check_files(arguments: Any) -> None:
    """Checks every configuration file that arguments name, and the data file that it names; nothing is kept.

    Args:
        arguments: a list of words; anything else is ignored.

    Raises:
        ValueError: see `read_yaml`.
    """
    before = ""
    for word in map(str, arguments) if isinstance(arguments, list) else ():
        path = Path(word.partition("=")[2] if word.startswith("-") else word)
        named, before = before in ("-c", "--config") or word.startswith("--config="), word
        if (named or path.suffix in ENDINGS) and path.is_file():
            data = read_yaml(path).get("data")
            beside = path.parent / data if isinstance(data, str) else None
            if beside is not None and beside.suffix in ENDINGS and beside.is_file():
                read_yaml(beside)
