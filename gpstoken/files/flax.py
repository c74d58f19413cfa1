"""Reads weights of JAX that flax stored as msgpack, without either of them; nothing in a file is executed.

Format: the specification of MessagePack (msgpack.org), where an array is an extension of type 1 that holds in turn the
list of its shape, the name of its type and its bytes (`flax.serialization`).
"""

import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ARRAY, SCALAR = 1, 3  # the types of extension that hold an array, and a number of numpy
TYPES = {
    "float32": torch.float32, "float64": torch.float64, "float16": torch.float16, "bfloat16": torch.bfloat16,
    "int8": torch.int8, "int16": torch.int16, "int32": torch.int32, "int64": torch.int64, "uint8": torch.uint8,
    "uint32": torch.uint32,
}  # fmt: skip
AROUND = ("optimizer", "target", "params")  # where a training keeps its weights, within one another
MAX_DEPTH, MAX_VALUES = 50, 300_000  # of lists and maps within one another, and of all values of a file
MAX_AXES = 32
NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i",
    0xD3: ">q",
}  # fmt: skip
CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
SIZES = {1: ">B", 2: ">H", 4: ">I"}  # by the number of bytes that hold a length
# The first byte of a value of any length -> what it is, and the number of bytes that hold its length
LONG = {
    0xC4: ("bytes", 1), 0xC5: ("bytes", 2), 0xC6: ("bytes", 4), 0xD9: ("text", 1), 0xDA: ("text", 2),
    0xDB: ("text", 4), 0xDC: ("list", 2), 0xDD: ("list", 4), 0xDE: ("map", 2), 0xDF: ("map", 4),
    0xC7: ("extension", 1), 0xC8: ("extension", 2), 0xC9: ("extension", 4),
}  # fmt: skip


def is_flax(path: str | Path) -> bool:
    """Whether a file begins as a map of msgpack that is not empty, as no other file of weights does."""
    with Path(path).open("rb") as file:
        first = file.read(1)
    return bool(first) and (0x81 <= first[0] <= 0x8F or first[0] in (0xDE, 0xDF))


def read_flax(path: str | Path) -> dict[str, Tensor]:
    """Reads the arrays of a file.

    Args:
        path: the file; the weights may lie under "optimizer", "target" and "params", and what is beside them is left
            out.

    Returns:
        The arrays by the names of the maps that hold them, joined by dots: "Embed_0.word_embeddings.embedding".

    Raises:
        ValueError: for an unreadable file, or one without arrays.
        OSError: if it cannot be opened.
    """
    try:
        reader = _Reader(memoryview(Path(path).read_bytes()))
        content = reader.value(0)
        if reader.place != len(reader.data):
            raise ValueError("it goes on after its end")
    except (ValueError, struct.error) as error:
        raise ValueError(f"{path}: not a readable msgpack file ({error})") from error
    while isinstance(content, Mapping) and isinstance(inside := _inside(content), Mapping):
        content = inside
    tensors = dict(_flat(content, "")) if isinstance(content, Mapping) else {}
    if not tensors:
        raise ValueError(f"{path}: a msgpack file without arrays")
    return tensors


def _inside(content: Mapping[str, Any]) -> Any:
    return next((content[name] for name in AROUND if isinstance(content.get(name), Mapping)), None)


def _flat(content: Mapping[str, Any], before: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        elif isinstance(value, Tensor):
            yield f"{before}{name}", value


class _Reader:
    """Reads the values of msgpack one after another; no length is believed beyond the end of the data."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.place, self.values = data, 0, 0

    def value(self, depth: int) -> Any:
        self.values += 1
        if depth > MAX_DEPTH or self.values > MAX_VALUES:
            raise ValueError("too deep" if depth > MAX_DEPTH else f"more than {MAX_VALUES:,} values")
        first = self.take(1)[0]
        if first <= 0x7F or first >= 0xE0:
            return first if first <= 0x7F else first - 0x100
        if first in CONSTANTS:
            return CONSTANTS[first]
        if first in NUMBERS:
            return self.number(NUMBERS[first])
        kind, length = self.kind(first)
        if kind in ("list", "map"):
            return self.many(kind, length, depth)
        if kind == "extension":
            code = self.number(">b")
            return _extension(code, self.take(length), depth)
        return str(self.take(length), "utf-8") if kind == "text" else self.take(length)

    def kind(self, first: int) -> tuple[str, int]:
        """What a value is, and its length."""
        if first <= 0x9F:
            return ("map" if first <= 0x8F else "list"), first & 0x0F
        if first <= 0xBF:
            return "text", first & 0x1F
        if 0xD4 <= first <= 0xD8:
            return "extension", 1 << (first - 0xD4)
        if first not in LONG:
            raise ValueError(f"a value that begins with {first:#04x}")
        kind, size = LONG[first]
        return kind, self.number(SIZES[size])

    def many(self, kind: str, length: int, depth: int) -> Any:
        if kind == "list":
            return [self.value(depth + 1) for _ in range(length)]
        found = {}
        for _ in range(length):
            name = self.value(depth + 1)
            if not isinstance(name, str):
                raise ValueError(f"a name that is a {type(name).__name__}")
            found[name] = self.value(depth + 1)
        return found

    def take(self, length: int) -> memoryview:
        if self.place + length > len(self.data):
            raise ValueError("it is cut short")
        self.place += length
        return self.data[self.place - length : self.place]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]


def _extension(code: int, data: memoryview, depth: int) -> Any:
    if code not in (ARRAY, SCALAR):
        raise ValueError(f"an extension of type {code}")
    match _Reader(data).value(depth + 1):
        case [list(shape), str(name), memoryview() as numbers] if len(shape) <= MAX_AXES:
            if not all(type(size) is int and size >= 0 for size in shape):
                raise ValueError("an array of a shape that is none")
            kind = TYPES.get(name)
            if kind is None:
                raise ValueError(f"an array of {name[:40]}")
            if math.prod(shape) * kind.itemsize != len(numbers):
                raise ValueError(f"an array of {len(numbers)} bytes, which are not {shape} numbers of {name}")
            if not len(numbers):
                return torch.empty(0, dtype=kind)
            # A copy, because the numbers may begin at any byte of the file, and its memory cannot be written.
            return torch.frombuffer(bytearray(numbers), dtype=kind).reshape(shape)
    raise ValueError("an array without shape, type and numbers")
