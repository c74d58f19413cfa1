"""The YAML that a command line names, looked at before LightningCLI reads it, which has no limit of depth or size."""

from pathlib import Path
from typing import Any

from gpstoken.files.plain_text import read_yaml

ENDINGS = (".yaml", ".yml")


def check_files(arguments: Any) -> None:
    """Reads every file of a configuration that arguments name, and the data that it names, and drops what it holds.

    Args:
        arguments: a list of words, or anything else, in which nothing is looked for.

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
