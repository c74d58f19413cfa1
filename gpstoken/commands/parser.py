"""What the commands share of a command line: one line for each mistake, and the same option by the same name."""

import argparse
from pathlib import Path
from typing import Any, NoReturn

import torch


class Parser(argparse.ArgumentParser):
    """A parser of `gpstoken COMMAND`, whose complaints are errors of bad input: `gpstoken.cli` prints one line."""

    def __init__(self, command: str = "", description: str | None = None, **more: Any) -> None:
        """Makes a parser.

        Args:
            command: that it is of.
            description: a docstring, of which the first line is shown.
            more: other arguments of argparse's.
        """
        first = (description or "").partition("\n")[0]
        super().__init__(**{"prog": f"gpstoken {command}".strip(), "description": first} | more)

    def error(self, message: str) -> NoReturn:
        """Raises a ValueError that says what is wrong and where the options are listed."""
        raise ValueError(f"{message.removeprefix('argument ')} ({self.prog} --help shows the options)")

    def add_device(self) -> None:
        """Adds --device."""
        told = "cpu, cuda, ... (default: a CUDA device where there is one)"
        self.add_argument("--device", default=_device("auto"), type=_device, help=told)

    def add_result(self) -> None:
        """Adds --row, --scale and --output of a result file, which is named after its row; see `check_named`."""
        self.add_argument("--row", required=True, help="name of the row")
        self.add_argument("--scale", required=True, help="scale of the runs, printed beside every number")
        self.add_argument("-o", "--output", type=Path, required=True, metavar="ROW.json", help="result file")


def positive(text: str) -> int:
    """A number of at least 1, for `type=`."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text}")
    return number


def _device(name: str) -> str:
    """The device of a name; of "auto" a CUDA device where there is one."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
