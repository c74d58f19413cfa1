"""Reads the layouts of each class with which the paper's generator starts, from their pickle, without executing it.

`gpstoken released-layouts initg.pickle layouts.safetensors` converts the pickle permanently.
"""

import io
import math
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gpstoken.files.writing import replacing

FORMAT, VERSION = "gpstoken.layouts", "1"
# All names that occur in a pickle of numpy arrays, in numpy 1 and 2 and in every protocol.
ADMITTED = {"numpy.ndarray", "numpy.dtype", "_codecs.encode"} | {
    f"numpy.{core}.{name}"
    for core in ("core", "_core")
    for name in ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")
}
NUMBERS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"}


def read_layouts(path: str | Path) -> dict[int, Tensor]:
    """Reads the layouts of each class.

    Args:
        path: a safetensors file that `convert` wrote, or else a pickle: a dict or list by class of float[N, 5],
            float[n, N, 5] or lists of these.

    Returns:
        class -> float32[n, N, 5] of (sigma_x, sigma_y, rho, x, y), classes ascending, with the same N for all classes.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: for a file that is damaged, holds anything but numbers, or has no layouts.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; the release has initg.pickle beside the generator's weights")
    try:
        layouts = _read_converted(path) if path.suffix == ".safetensors" else _read_pickle(path.read_bytes())
        _check(layouts)
    except Exception as error:  # the unpickler raises nearly anything for damaged files
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: not a readable file of layouts ({reason})") from error
    return dict(sorted(layouts.items()))


def convert(pickle_path: str | Path, safetensors_path: str | Path) -> dict[int, Tensor]:
    """Writes the layouts of a pickle as safetensors, one tensor per class, and returns them.

    Raises:
        FileNotFoundError: if the pickle is missing.
        ValueError: like `read_layouts`, and for an output name that does not end in .safetensors.
        OSError: if it cannot be written.
    """
    if Path(safetensors_path).suffix != ".safetensors":
        raise ValueError(f"{safetensors_path}: expected a name that ends in .safetensors")
    layouts = read_layouts(pickle_path)
    tensors = {str(label): layout for label, layout in layouts.items()}
    try:
        with replacing(safetensors_path) as part:
            save_file(tensors, part, {"format": FORMAT, "version": VERSION})
    except SafetensorError as error:
        raise OSError(f"{safetensors_path}: cannot be written ({error})") from error
    return layouts


def _read_converted(path: Path) -> dict[int, Tensor]:
    with safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
        if (header.get("format"), header.get("version")) != (FORMAT, VERSION):
            raise ValueError(f"header is {header}, expected format {FORMAT} version {VERSION}")
        return {_label(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict


class _Recorded:
    """A name in a pickle, or the call of one: recorded, never executed.

    numpy's own functions must not run on untrusted data: `ndarray.__setstate__` accepts any flags, sizes and bytes (an
    object array made of bytes is a set of forged pointers), `ndarray(...)` allocates any amount of memory, and
    `_codecs.encode` looks up any codec.
    """

    def __init__(self, name: str, arguments: tuple[Any, ...] | None = None) -> None:
        self.name, self.arguments, self.state = name, arguments, None

    def __call__(self, *arguments: Any) -> "_Recorded":
        return _Recorded(self.name, arguments)

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> _Recorded:
        full = f"{module}.{name}"
        if full not in ADMITTED:
            raise ValueError(f"it names {full[:80]!r}, but only numpy arrays are read")
        return _Recorded(name.rpartition(".")[2])


def _read_pickle(data: bytes) -> dict[int, Tensor]:
    """Reads a pickle's bytes; its arrays may not be larger than the file, because pickles can repeat references."""
    for opcode, argument, _ in pickletools.genops(data):  # fails if the file is truncated
        if opcode.name.endswith("PUT") and argument > len(data):
            raise ValueError(f"memo {argument} in {len(data)} bytes")  # the unpickler would allocate up to it
    content = _Unpickler(io.BytesIO(data)).load()
    if not isinstance(content, dict | list | tuple):
        raise ValueError(f"expected a dict or list by class, got {_kind(content)}")
    layouts, left = {}, len(data)
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        label = _label(key)
        if label in layouts:
            raise ValueError(f"class {label} occurs twice")
        parts = []
        for part in value if isinstance(value, list | tuple) else [value]:
            array = _array(part)
            left -= array.nbytes
            if left < 0:
                raise ValueError("its arrays are larger than the file")
            with np.errstate(over="ignore"):  # infinity is rejected below
                parts.append(torch.from_numpy(array.astype(np.float32)).reshape(-1, *array.shape[-2:]))
        if len({part.shape[1:] for part in parts}) != 1:
            raise ValueError(f"class {label}: no layouts, or layouts of different sizes")
        layouts[label] = torch.cat(parts)
    return layouts


def _array(value: Any) -> np.ndarray:
    """Builds the array from its recorded bytes, as numpy would."""
    match value:
        case _Recorded(name="_reconstruct", state=(int(), tuple(shape), dtype, bool(fortran), data)):
            pass
        case _Recorded(name="_frombuffer", arguments=(data, dtype, tuple(shape), "C" | "F" as order)):
            fortran = order == "F"
        case _:
            raise ValueError(f"expected a numpy array, got {_kind(value)}")
    data, dtype = _bytes(data), _dtype(dtype)
    if len(shape) not in (2, 3) or not all(type(size) is int and size > 0 for size in shape) or shape[-1] != 5:
        raise ValueError(f"expected layouts [N, 5] or [n, N, 5], got {str(shape)[:80]}")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {str(shape)[:80]} and type {dtype} in {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _label(key: Any) -> int:
    """Reads a class: an integer of numpy or Python, or its digits as text."""
    if isinstance(key, _Recorded) and key.name == "scalar" and len(key.arguments or ()) == 2:
        dtype, data = _dtype(key.arguments[0]), _bytes(key.arguments[1])
        if dtype.kind in "iu" and len(data) == dtype.itemsize:
            key = np.frombuffer(data, dtype)[0].item()
    if isinstance(key, str) and key.isascii() and key.isdigit():
        key = int(key)
    if type(key) is not int or key < 0:
        raise ValueError(f"expected classes 0, 1, ..., got {_kind(key)}")
    return key


def _dtype(value: Any) -> np.dtype:
    match value:
        case _Recorded(name="dtype", arguments=(str(code), *_), state=(_, "<" | ">" | "|" as order, *_)):
            if code in NUMBERS:
                return np.dtype(order + code)
            raise ValueError(f"an array of {code[:20]!r}, but only numbers are read")
    raise ValueError(f"expected a numeric type, got {_kind(value)}")


def _bytes(value: Any) -> bytes:
    match value:
        case bytes() | bytearray():
            return bytes(value)
        case _Recorded(name="encode", arguments=(str(text), "latin1")):  # protocols 0 to 2 write bytes like this
            return text.encode("latin1")
    raise ValueError(f"expected an array's bytes, got {_kind(value)}")


def _kind(value: Any) -> str:
    """A short description of any value."""
    if isinstance(value, _Recorded):
        return f"numpy's {value.name}"
    return repr(value)[:40] if isinstance(value, int | float | str) else f"a {type(value).__name__}"


def _check(layouts: dict[int, Tensor]) -> None:
    """Raises ValueError for anything but layouts of one length within the canvas."""
    if not layouts:
        raise ValueError("no classes")
    tokens = next(iter(layouts.values())).shape[1:2]
    for label, layout in layouts.items():
        if layout.dtype != torch.float32 or layout.dim() != 3 or layout.shape[1:] != (*tokens, 5):
            wanted = f"float32[n, {tokens[0] if tokens else 'N'}, 5] as in the first class"
            raise ValueError(f"class {label}: expected {wanted}, got {layout.dtype} {list(layout.shape)}")
        sigma, rho, mu = layout[..., :2], layout[..., 2], layout[..., 3:]
        # Written so that NaN fails every check.
        if not ((sigma > 0) & (sigma < 1)).all():
            raise ValueError(f"class {label}: a sigma that is not between 0 and 1")
        if not (rho.abs() < 1).all():
            raise ValueError(f"class {label}: a rho that is not between -1 and 1")
        if not (mu.abs() <= 1).all():
            raise ValueError(f"class {label}: a centre off the canvas")
