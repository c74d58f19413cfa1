"""Reading the trained tokenizer that another one learns from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from gpstoken.base import Tokenizer
from gpstoken.files.checkpoints import build, read_training

Kind = TypeVar("Kind", bound=Tokenizer)


def read_teacher(path: Path, kind: type[Kind], expected: Mapping[str, Any]) -> Kind:
    """Reads a trained tokenizer of the class `kind` from a checkpoint or an exported file, in evaluation mode.

    Args:
        path: see `gpstoken.files.checkpoints.read_training`.
        kind: class of the teacher.
        expected: arguments of its constructor that the pupil needs, by name.

    Raises:
        ValueError: for an unreadable file, another class, or a teacher with other arguments.
    """
    teacher = build(path, kind, *read_training(path, f"{kind.__module__}.{kind.__qualname__}"))
    for name, value in expected.items():
        if (found := teacher.config[name]) != value:
            raise ValueError(f"{path}: the teacher's {name} is {found}, expected {value}")
    return teacher
