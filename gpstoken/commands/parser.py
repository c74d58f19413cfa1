"""The parser that all commands share: one line for each mistake, and the same name for the same option."""

import argparse
from pathlib import Path
from typing import Any, NoReturn

import torch


class Parser(argparse.ArgumentParser):
    """The parser of `gpstoken COMMAND`; its errors are ValueErrors, which `gpstoken.cli` prints in one line."""

    def __init__(self, command: str = "", description: str | None = None, **more: Any) -> None:
        """Makes a parser.

        Args:
            command: name of the command.
            description: a docstring, whose first line is shown.
            more: further arguments of argparse.ArgumentParser.
        """
        first = (description or "").partition("\n")[0]
        super().__init__(**{"prog": f"gpstoken {command}".strip(), "description": first} | more)

    def error(self, message: str) -> NoReturn:
        """Raises a ValueError that says what is wrong and where the options are listed."""
        raise ValueError(f"{message.removeprefix('argument ')} ({self.prog} --help shows the options)")

    def add_device(self) -> None:
        """Adds --device."""
        message = "cpu, cuda, ... (default: a CUDA device if there is one)"
        self.add_argument("--device", default=_device("auto"), type=_device, help=message)

    def add_result(self) -> None:
        """Adds --row, --scale and --output for a result file named after its row; see `check_named`."""
        self.add_argument("--row", required=True, help="name of the row")
        self.add_argument("--scale", required=True, help="scale of the runs, printed beside every number")
        self.add_argument("-o", "--output", type=Path, required=True, metavar="ROW.json", help="result file")


def positive(text: str) -> int:
    """Parses an integer of at least 1, for `type=`."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text}")
    return number


def _device(name: str) -> str:
    """The device of that name; "auto" is a CUDA device if there is one, else the CPU."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
