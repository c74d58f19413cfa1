"""Checks of the records in token caches and generator checkpoints: tokenizer, code, statistics of channels."""

from math import isfinite
from typing import Any

from gpstoken.limits import Limit, at_least, each, optional, text

ALIGNMENT = "alignment"  # the tensor of a token cache with features of the images, which are no tokens


def check_tokenizer(name: str, record: Any) -> None:
    """Checks that a record names a tokenizer by its class, its file and the hash of its tensors.

    Raises:
        ValueError: naming the value, what is allowed and what was given.
        KeyError: for a missing entry.
    """
    MAPPING.check(name, record)
    for part in ("sha256", "path", "class_path"):
        text().check(f"{name}.{part}", record[part])


def check_code(name: str, record: Any) -> None:
    """Checks that a record is {"tokens", "shape", "channels", "codebook_size"}, see `gpstoken.base.Code`.

    Raises:
        ValueError: naming the value, what is allowed and what was given.
        KeyError: for a missing entry.
    """
    MAPPING.check(name, record)
    each(at_least(1)).check(f"{name}.shape", record["shape"])
    for part, limit in (("tokens", at_least(1)), ("channels", at_least(1)), ("codebook_size", optional(at_least(1)))):
        limit.check(f"{name}.{part}", record[part])


def check_statistics(name: str, statistics: Any) -> None:
    """Checks that a record is {"mean", "std"} with the same number of channels in both.

    Raises:
        ValueError: naming the value, what is allowed and what was given.
        KeyError: for a missing entry.
    """
    MAPPING.check(name, statistics)
    each(NUMBER).check(f"{name}.mean", statistics["mean"])
    each(DEVIATION, len(statistics["mean"])).check(f"{name}.std", statistics["std"])


def _is_finite(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) < FLOAT32 and isfinite(value)


FLOAT32 = 3.4e38  # tokens are kept in float32
MAPPING = Limit("an object", lambda value: isinstance(value, dict))
NUMBER = Limit("a finite number", _is_finite)
DEVIATION = Limit("a finite number above 0", lambda value: _is_finite(value) and value > 0)
