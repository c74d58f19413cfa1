"""A slow writer of MessagePack and of flax's arrays, written from the specification."""

import struct

import numpy as np


def head(count, small, forms):
    """The first bytes of something of a length: `small` is (first byte, most) and `forms` {first byte: format}."""
    if small and count <= small[1]:
        return bytes([small[0] | count])
    for first, form in forms.items():
        if count < 1 << 8 * struct.calcsize(form):
            return bytes([first]) + struct.pack(form, count)
    raise ValueError(count)


def packed(value):
    """Bytes of nested dictionaries and lists of texts, numbers, bytes and arrays."""
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        if -32 <= value <= 127:
            return struct.pack(">b", value)
        forms = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
        return head(value, None, forms) if value > 0 else b"\xd3" + struct.pack(">q", value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        content = value.encode()
        return head(len(content), (0xA0, 31), {0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}) + content
    if isinstance(value, bytes):
        return head(len(value), None, {0xC4: ">B", 0xC5: ">H", 0xC6: ">I"}) + value
    if isinstance(value, dict):
        parts = b"".join(packed(name) + packed(part) for name, part in value.items())
        return head(len(value), (0x80, 15), {0xDE: ">H", 0xDF: ">I"}) + parts
    if isinstance(value, list | tuple):
        return head(len(value), (0x90, 15), {0xDC: ">H", 0xDD: ">I"}) + b"".join(map(packed, value))
    return extension(1, packed([list(value.shape), value.dtype.name, np.ascontiguousarray(value).tobytes()]))


def extension(code, content):
    fixed = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}
    first = bytes([fixed[len(content)]]) if len(content) in fixed else None
    first = first or head(len(content), None, {0xC7: ">B", 0xC8: ">H", 0xC9: ">I"})
    return first + struct.pack(">b", code) + content


def nested(flat):
    """Arrays by names with dots as dictionaries within one another."""
    tree = {}
    for name, value in flat.items():
        *folders, last = name.split(".")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return tree
