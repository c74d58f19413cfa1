"""Builds the network of a row of `experiments/` at its published size, without the training framework."""

import importlib
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from torch import nn

from gpstoken.base import Generator, Tokenizer
from gpstoken.files.plain_text import read_yaml

KINDS = {"tokenizer": Tokenizer, "generator": Generator}  # argument of the row's module -> its base class


@dataclass(frozen=True)
class Row:
    """The network that a row's YAML declares.

    Attributes:
        path: the YAML.
        kind: "tokenizer" or "generator".
        class_path: class path of the tokenizer or the generator, as in the YAML.
        init_args: its arguments, as in the YAML; a nested class is given by its arguments only.
    """

    path: Path
    kind: str
    class_path: str
    init_args: dict[str, Any]

    def build(self, **overrides: Any) -> nn.Module:
        """Builds an untrained tokenizer or generator.

        Args:
            overrides: arguments that differ from the row's.

        Raises:
            ValueError: if the class is not of this package and kind, or rejects the arguments.
        """
        try:
            kind, arguments = self.class_(), self.init_args | overrides
            return kind.from_config(arguments) if issubclass(kind, Generator) else kind(**arguments)
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"{self.path}: {self.class_path}: {' '.join(str(error).split())}") from error

    def arguments(self) -> dict[str, Any]:
        """The arguments of the constructor, including its defaults."""
        parameters = signature(self.class_()).parameters.values()
        return {one.name: one.default for one in parameters if one.default is not one.empty} | self.init_args

    def class_(self) -> type[nn.Module]:
        """The class of `class_path`.

        Raises:
            ValueError: if there is none in this package, or it is of another kind.
        """
        module, _, name = self.class_path.rpartition(".")
        if module.split(".")[0] != "gpstoken":  # a file from elsewhere must not choose what is imported
            raise ValueError(f"names {self.class_path}, which is not a class of this package")
        try:
            kind = getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError as error:
            raise ValueError(f"names {self.class_path}, which cannot be imported ({error})") from error
        wanted = KINDS[self.kind]
        if not isinstance(kind, type) or not issubclass(kind, wanted):
            raise ValueError(f"names {self.class_path}, which is not a {wanted.__name__}")
        return kind


def read_row(path: Path) -> Row:
    """Reads which network a row trains, and ignores the rest of the file.

    Args:
        path: a YAML of experiments/tokenizers or experiments/generators.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not YAML, or names neither a tokenizer nor a generator.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such row; the rows are in experiments/tokenizers and /generators")
    content = read_yaml(path)
    try:
        arguments = content["model"]["init_args"]
        kind = next(kind for kind in KINDS if kind in arguments)
        part = arguments[kind]
        given = {name: _plain(value) for name, value in (part.get("init_args") or {}).items()}
        return Row(path, kind, str(part["class_path"]), given)
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise ValueError(
            f"{path}: not a row: expected model.init_args.tokenizer or .generator with a class_path"
        ) from error


def _plain(value: Any) -> Any:
    return dict(value.get("init_args") or {}) if isinstance(value, dict) and "class_path" in value else value
