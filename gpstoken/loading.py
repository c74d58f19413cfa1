"""A trained tokenizer of any class of this package from its checkpoint, and what identifies it."""

import hashlib
import importlib
import json
from pathlib import Path

import torch

from gpstoken import checkpoints
from gpstoken.base import Tokenizer


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Reads a tokenizer trained here, whatever its class, with its averaged (EMA) weights where the run kept them.

    Nothing in the file is executed; the class it names must be a `Tokenizer` in a module of this package.

    Args:
        path: `last.ckpt` of a tokenizer's run.

    Returns:
        The tokenizer in evaluation mode on the CPU.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is unreadable, of something else, or does not fit the class it names.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint of a tokenizer; `gpstoken fit --output RUN` makes it")
    class_path, config, weights = checkpoints.read_tokenizer(path)
    try:
        kind = _tokenizer_class(class_path)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    return checkpoints.build(path, kind, config, weights)


def class_path_of(tokenizer: Tokenizer) -> str:
    """Module and name of a tokenizer's class, as checkpoints have it."""
    return f"{type(tokenizer).__module__}.{type(tokenizer).__qualname__}"


def tokenizer_hash(tokenizer: Tokenizer) -> str:
    """Hexadecimal sha256 over class path, configuration and every tensor (name, type, shape, bytes).

    It does not depend on the device or on the mode: two tokenizers with one hash make the same tokens to rounding.
    """
    digest = hashlib.sha256(json.dumps([class_path_of(tokenizer), tokenizer.config], sort_keys=True).encode())
    for name, tensor in sorted(tokenizer.state_dict().items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        # As bytes, for numpy does not know bfloat16; flat, for a scalar has no last axis to see as bytes.
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _tokenizer_class(class_path: object) -> type[Tokenizer]:
    # A file from elsewhere must not choose what is imported: modules of this package alone.
    module, _, name = class_path.rpartition(".") if isinstance(class_path, str) else ("", "", "")
    if module.split(".")[0] != "gpstoken" or not all(part.isidentifier() for part in module.split(".")):
        named = repr(class_path)[:80] if isinstance(class_path, str) else f"a {type(class_path).__name__}"
        raise ValueError(f"names a class outside this package, {named}")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        raise ValueError(f"names {class_path}, which cannot be imported ({error})") from error
    if not isinstance(found, type) or not issubclass(found, Tokenizer):
        raise ValueError(f"names {class_path}, which is no tokenizer")
    return found
