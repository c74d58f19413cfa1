"""What can be wrong with a file, drawn by chance: of its bytes, of its values, of its parts.

`chance` is a `random.Random`, or what the strategy `randoms` of hypothesis gives in its place, which shrinks.
"""

import io
import json
import math
import struct
import warnings
import zipfile
from typing import Any

import numpy as np

DEEP: list = []
for _ in range(80):
    DEEP = [DEEP]
VALUES = [
    None, True, False, 0, 1, -1, 3, 2**31, 2**63, 2**64, -(2**63), 10**400, 0.0, -0.0, 0.5, -1.5, 1e-320, 1e39, 1e308,
    math.nan, math.inf, -math.inf, "", " ", "ten", "3", "-1", "nan", "../x", "/etc/passwd", "a/../../b", "a\0b", "a\nb",
    "\ud800", "\x1b[31m", "x" * 5000, [], {}, [[]], {"": None}, [None], [1, "a"], {"a": {"b": []}}, list(range(300)),
    DEEP,
]  # fmt: skip
NUMBERS = [0, 1, -1, 2, 3, 5, 255, 2**15, 2**31 - 1, 2**31, 2**40, 2**63 - 1, -(2**63), 10**12]
TYPES = (
    "f8", "f4", "f2", "g", ">f8", "i8", "u8", "u1", "i1", "?", "c16", "U3", "S2", "O", "M8[s]", "m8[D]", "f8,i4", "V3",
)  # fmt: skip
HEADS = ("<f8", "|u1", "|O", "<U9", "|V0", "<m8[s]", "<c16", "<i8")
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1}
SIZES |= {"F8_E5M2": 1, "U16": 2, "U64": 8, "C64": 8, "F4": 1}
PIECES = [
    b"\0", b"\xff", b"\n", b'"', b"'", b"[", b"]", b"{", b"}", b":", b",", b"- ", b"&a ", b"*a", b"!!", b"<<: ", b"? ",
    b"!!bool ", b"!!timestamp ", b"!!binary ", b"!!set ", b"!!omap ", b"!!int ", b"!!python/name:os ", b"%YAML 1.1\n",
    b"---\n", b"...\n", b"|\n", b">\n", b"#", b"@", b"`", b"\t", b"\r", b"\xef\xbb\xbf", b"\xfe\xff", b"1:2:3", b"0x",
    b"0o7", b"2001-02-30", b"2001-01-01 25:00:00", b"1e999", b"NaN", b"-Infinity", b"null", b"~", b".nan", b".inf",
    b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY", b"[" * 60, b"{a: " * 60, b"9" * 500, b"\xc3\x28", b"\xed\xa0\x80",
    b"\\ud800", b"\\u0000",
]  # fmt: skip


def bent(content: bytes, chance: Any) -> bytes:
    """Bytes with some of them flipped, cut away, doubled, moved or written over."""
    content = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        if not content:
            return bytes(chance.choice(PIECES))
        kind, place = chance.randrange(8), chance.randrange(len(content))
        length = min(chance.choice((1, 2, 4, 8, 30, 200)), len(content) - place)
        if kind == 0:
            content[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            content[place] = chance.randrange(256)
        elif kind == 2:
            del content[place:]
        elif kind == 3:
            del content[place : place + length]
        elif kind == 4:
            content[place:place] = content[place : place + length]
        elif kind == 5:
            content[place:place] = chance.choice(PIECES)
        elif kind == 6:
            content[place : place + length] = chance.choice(PIECES)
        else:  # a number of the format itself
            whole = struct.pack(chance.choice(("<H", "<I", "<Q", ">I")), 0)
            value = chance.choice(NUMBERS) % (1 << 8 * len(whole))
            content[place : place + len(whole)] = value.to_bytes(len(whole), "little")
    return bytes(content)


def changed(tree: Any, chance: Any, values: list = VALUES) -> Any:
    """Nested lists and objects with one to three of their values replaced, removed, added or wrapped."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        tree = _changed(tree, chance, values)
    return tree


def _changed(tree: Any, chance: Any, values: list) -> Any:
    if not isinstance(tree, dict | list) or not tree or chance.random() < 0.1:
        return chance.choice(([tree], {"a": tree}, [tree, tree], chance.choice(values), chance.choice(values)))
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    key, kind = chance.choice(keys), chance.randrange(10)
    tree = tree.copy()
    if kind == 0:
        del tree[key]
    elif kind == 1 and isinstance(tree, dict):
        tree[chance.choice(("", "new", "shape", "mean", "0", key))] = tree.pop(key)
    elif kind == 2:
        tree[key] = chance.choice(values)
    elif kind == 3 and isinstance(tree, list):
        tree.insert(key, chance.choice((tree[key], chance.choice(values))))
    else:
        tree[key] = _changed(tree[key], chance, values)
    return tree


def as_json(tree: Any) -> bytes:
    """JSON as Python writes it, with NaN; what has no UTF-8 is escaped."""
    return json.dumps(tree).encode()


def safetensors(header: Any, data: bytes) -> bytes:
    """A safetensors file of a header that need not fit its data."""
    text = header if isinstance(header, bytes) else as_json(header)
    return struct.pack("<Q", len(text)) + text + data


def split_safetensors(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and data of a whole safetensors file."""
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def changed_safetensors(content: bytes, chance: Any, described: str | None = None) -> bytes:
    """A safetensors file that is wrong in its bytes, in its header, in its numbers or in what it says of itself.

    Args:
        content: a whole file.
        chance: see the module.
        described: a key of its metadata whose text is JSON, to be changed inside.
    """
    kind = chance.randrange(6)
    header, data = split_safetensors(content)
    told = header["__metadata__"] = dict(header.get("__metadata__", {}))
    if described and chance.random() < 0.7:  # without its digest, that more than this is looked at
        known = {name: value for name, value in json.loads(told[described]).items() if "sha256" not in name}
        if chance.random() < 0.3:
            known = changed(known, chance)
        told[described] = as_json(known).decode()
    elif chance.random() < 0.7:
        told.pop("gpstoken_sha256", None)
    if kind == 0:
        return bent(content, chance)
    if kind == 1:
        return safetensors(header, bent(data, chance))
    if kind == 2:
        return safetensors(changed(header, chance), data)
    if kind == 3:
        return safetensors(bent(as_json(header), chance), data)
    if kind == 4:
        told[chance.choice((*told, "size", "canvas"))] = chance.choice(
            ("", "1x1", "65536x65536", "999999x999999", "0x0", "-1x4", "4x4\n", "٣x٣", "{", "[]", "null", "1", "NaN")
        )  # fmt: skip
        return safetensors(header, data)
    return _retyped(header, data, chance)


def _retyped(header: dict[str, Any], data: bytes, chance: Any) -> bytes:
    """One tensor of another type and shape, with numbers that need not be any; the file itself is a whole one."""
    chosen = chance.choice([name for name in header if name != "__metadata__"])
    written, pieces, place = {"__metadata__": header["__metadata__"]}, [], 0
    for name, described in header.items():
        if name == "__metadata__":
            continue
        start, stop = described["data_offsets"]
        piece, kind, shape = data[start:stop], described["dtype"], described["shape"]
        if name == chosen:
            kind = chance.choice(list(SIZES))
            shape = [chance.choice((0, 1, 2, 3, 4, 5)) for _ in range(chance.randrange(5))]
            if chance.random() < 0.4:
                kind, shape = described["dtype"], described["shape"]
            count = math.prod(shape) * SIZES[kind]
            piece = (chance.choice((b"\0", b"\xff", b"\x7f\x80", b"\x00\x00\xc0\x7f", piece or b"\0")) * (count + 1))[
                :count
            ]
        written[name] = {"dtype": kind, "shape": shape, "data_offsets": [place, place + len(piece)]}
        pieces.append(piece)
        place += len(piece)
    return safetensors(written, b"".join(pieces))


def zipped(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of members, of which two may have one name."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two members with one name
        for name, member in members:
            archive.writestr(zipfile.ZipInfo(name), member, method)
    return content.getvalue()


def npy(array: np.ndarray) -> bytes:
    """An array as numpy writes it."""
    content = io.BytesIO()
    np.lib.format.write_array(content, array, allow_pickle=True)
    return content.getvalue()


def changed_npz(arrays: dict[str, np.ndarray], chance: Any) -> bytes:
    """An npz that is wrong in its bytes, in the headers of its arrays, in their types, or in how it is packed."""
    members = [(f"{name}.npy", npy(array)) for name, array in arrays.items()]
    number, kind = chance.randrange(len(members)), chance.randrange(7)
    name, content = members[number]
    if kind == 0:
        return bent(zipped(members), chance)
    if kind == 1:
        members[number] = (name, bent(content, chance))
    elif kind == 2:
        head, data = content[10:].split(b"\n", 1)
        head = bent(head.strip(), chance) + b"\n"
        members[number] = (name, b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head + data)
    elif kind == 3:
        members[number] = (name, npy(_strange(arrays[name.removesuffix(".npy")], chance)))
    elif kind == 4:
        members[number] = (chance.choice(("", "mu.npy", "arr_0", "sigma.npy", "../x.npy", "count.npy")), content)
    elif kind == 5:
        shape = tuple(chance.choice(NUMBERS) for _ in range(chance.randrange(4)))
        kinds = {"descr": chance.choice(HEADS), "fortran_order": chance.choice((False, True, 1)), "shape": shape}
        head = repr(kinds).encode() + b"\n"
        members[number] = (name, b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head + content[-64:])
    else:
        del members[number]
    method = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2))
    return zipped(members, method)


def _strange(array: np.ndarray, chance: Any) -> np.ndarray:
    shapes = [array.shape, array.T.shape, (), (0,), (1,), (2, 2), (4, 4), (1, 2, 2, 3), (2, 0, 0, 3)]
    shape = chance.choice(shapes)
    filled = np.full(shape, chance.choice((0, 1, 2, 127)), chance.choice(TYPES))
    if filled.dtype.kind == "f":
        filled = filled + filled.dtype.type(chance.choice((1.0, math.nan, math.inf, -1.0)))
    return np.asarray(filled) if chance.random() < 0.7 else np.asfortranarray(filled)
