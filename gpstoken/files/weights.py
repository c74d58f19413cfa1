"""A trained tokenizer or generator as one safetensors file: weights, classes with arguments, where it comes from.

`gpstoken export` writes these files. Those that come with the package are in `gpstoken/weights`, generators in a folder
of it, and are known by their names.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gpstoken.files.digests import DIGEST, check_digest, digest
from gpstoken.files.plain_text import parse_json
from gpstoken.files.reasons import reason
from gpstoken.files.writing import replacing
from gpstoken.limits import did_you_mean

VERSION, SUFFIX = "1", ".safetensors"
TOKENIZER, GENERATOR = "tokenizer", "generator"  # what a file holds
FOLDER = Path(__file__).parents[1] / "weights"
SHIPPED = {
    kind: {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}
    for kind, folder in {TOKENIZER: FOLDER, GENERATOR: FOLDER / "generators"}.items()
}


def weights_file(name: str | Path, kind: str = TOKENIZER) -> Path:
    """The file of weights that come with the package, by their name, or the path as it is.

    Raises:
        ValueError: for a single word that is neither a name nor a file.
    """
    path, shipped = Path(name), SHIPPED[kind]
    if str(name) in shipped and not path.exists():
        return shipped[str(name)]
    if len(path.parts) == 1 and not path.suffix and not path.exists():
        known = ", ".join(shipped) or "none"
        raise ValueError(
            f"{name}: no such file, and no such weights{did_you_mean(str(name), shipped)}; there are {known}"
        )
    return path


def write_weights(
    path: str | Path,
    class_path: str,
    init_args: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    origin: Mapping[str, Any],
    dtype: torch.dtype = torch.float16,
) -> None:
    """Writes a tokenizer, as a whole or not at all.

    Args:
        path: the file.
        class_path: module and name of the tokenizer's class.
        init_args: arguments of its constructor, plain data.
        weights: see `write_exported`.
        origin: see `write_exported`.
        dtype: see `write_exported`.

    Raises:
        ValueError: like `write_exported`.
        OSError: if the file cannot be written.
    """
    described = {"class_path": class_path, "init_args": dict(init_args)}
    write_exported(path, TOKENIZER, described, weights, origin, dtype)


def write_exported(
    path: str | Path,
    kind: str,
    described: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    origin: Mapping[str, Any],
    dtype: torch.dtype = torch.float16,
) -> None:
    """Writes a network, as a whole or not at all.

    Args:
        path: the file.
        kind: `TOKENIZER` or `GENERATOR`.
        described: how to build it, plain data.
        weights: its state dict; floating-point tensors are converted.
        origin: where it comes from: commit, versions, seed, as in a run's origin.json.
        dtype: type of the floating-point tensors in the file.

    Raises:
        ValueError: for a number that is not finite, or is too large for `dtype`.
        OSError: if the file cannot be written.
    """
    tensors = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in weights.items()
    }
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{path}: tensor {name!r} is not finite as {dtype}")
    parts = {kind: json.dumps(dict(described), sort_keys=True), "origin": json.dumps(dict(origin))}
    header = {"format": _format(kind), "version": VERSION} | parts
    try:
        with replacing(Path(path)) as part:
            save_file(tensors, part, header | {DIGEST: digest([header, tensors])})
    except SafetensorError as error:
        raise OSError(f"{path}: cannot be written ({error})") from error


def read_weights(path: str | Path) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Reads what `write_weights` wrote; the caller checks that the weights fit the class.

    Returns:
        (class path, arguments of the constructor, state dict in the types of the file).

    Raises:
        ValueError: like `read_exported`.
    """
    described, tensors = read_exported(path, TOKENIZER)
    class_path, init_args = described.get("class_path"), described.get("init_args")
    if not isinstance(class_path, str) or not isinstance(init_args, dict):
        raise ValueError(f"{path}: its header describes no tokenizer (class_path and init_args)")
    lists = {name: tuple(value) for name, value in init_args.items() if isinstance(value, list)}
    return class_path, init_args | lists, tensors


def read_exported(path: str | Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads what `write_exported` wrote; the caller checks the description, and that the weights fit it.

    Returns:
        (the description, state dict in the types of the file).

    Raises:
        ValueError: for a file that is not readable, damaged, of another kind, of another format or of a later version.
    """
    header, tensors = _content(path, kind)
    return parse_json(path, header[kind]), tensors


def is_exported(path: str | Path) -> bool:
    """Whether `write_exported` wrote a file, as far as its header tells."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format") in map(_format, (TOKENIZER, GENERATOR))
    except (SafetensorError, OSError):
        return False


def read_origin_of(path: str | Path, kind: str = TOKENIZER) -> dict[str, Any]:
    """The origin that `write_exported` was given.

    Raises:
        ValueError: like `read_exported`.
    """
    return parse_json(path, _content(path, kind)[0]["origin"])


def _format(kind: str) -> str:
    return f"gpstoken {kind}"


def _content(path: str | Path, kind: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != _format(kind):
                found = str(header.get("format"))[:40]
                raise ValueError(f"{path}: not a {kind} that `gpstoken export` wrote (header format is {found!r})")
            if header.get("version") != VERSION:
                raise ValueError(f"{path}: version {str(header.get('version'))[:40]!r}, expected {VERSION!r}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({reason(error)})") from error
    known = {name: header.get(name, "{}") for name in ("format", "version", kind, "origin")}
    check_digest(path, [known, tensors], header.get(DIGEST))
    return known, tensors
