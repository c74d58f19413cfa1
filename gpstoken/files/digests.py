"""A digest of a file's whole content, stored in the file, so that a flipped bit is detected as damage."""

import hashlib
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

DIGEST = "gpstoken_sha256"  # the digest's key in a checkpoint, and in the header of a safetensors file


def digest(content: Any) -> str:
    """Hexadecimal sha256 over nested dicts and lists: keys, numbers, texts, and type, shape and bytes of tensors.

    It depends neither on the device nor on the order of keys. Of any other object only the name of its type counts.
    """
    hashed = hashlib.sha256()
    _add(hashed, content)
    return hashed.hexdigest()


def check_digest(path: Any, content: Any, expected: str | None) -> None:
    """Checks content against the digest in its file; prints one note per file that has no digest.

    Args:
        path: path of the file, for messages.
        content: the content, as `digest` takes it.
        expected: the digest in the file; None if it has none, because it is from elsewhere or an earlier version.

    Raises:
        ValueError: if the content differs.
    """
    if expected is None:
        _say_that_there_is_none(str(path))
    elif digest(content) != expected:
        raise ValueError(f"{path}: damaged, its content differs from what was written; fetch or make it again")


@cache
def _say_that_there_is_none(path: str) -> None:
    print(f"gpstoken: {path}: has no digest of its content, so damage cannot be detected", file=sys.stderr)


def _add(hashed: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        flat = value.detach().cpu().contiguous().flatten()
        hashed.update(repr((str(value.dtype), tuple(value.shape))).encode())
        # As bytes, because numpy does not know bfloat16.
        hashed.update(flat.view(torch.uint8).numpy() if flat.numel() else b"")
    elif isinstance(value, Mapping):
        hashed.update(f"{{{len(value)}".encode())
        for key, part in sorted(((repr(key), part) for key, part in value.items()), key=lambda pair: pair[0]):
            hashed.update(key.encode())
            _add(hashed, part)
    elif isinstance(value, list | tuple):
        hashed.update(f"[{len(value)}".encode())
        for part in value:
            _add(hashed, part)
    elif value is None or isinstance(value, bool | int | float | str | bytes):
        hashed.update(repr(value).encode() + b";")
    else:
        hashed.update(type(value).__name__.encode())
