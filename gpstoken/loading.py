"""Loads a trained tokenizer of any class of this package; class paths and hashes that identify networks."""

import hashlib
import importlib
import json
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from gpstoken.base import Generator, Tokenizer
from gpstoken.files import checkpoints
from gpstoken.files.weights import weights_file

Face = TypeVar("Face", Tokenizer, Generator)


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Loads a tokenizer of any class trained by this project, with averaged (EMA) weights if the run kept them.

    Nothing in the file is executed; the class that it names must be a `Tokenizer` in a module of this package.

    Args:
        path: `last.ckpt` of a tokenizer's run, what `gpstoken export` wrote, or the name of weights that come with the
            package.

    Returns:
        The tokenizer in evaluation mode on the CPU.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is unreadable, not a tokenizer's checkpoint, or does not fit the class that it names.
    """
    path = weights_file(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such tokenizer checkpoint; `gpstoken fit --output RUN` writes one")
    class_path, config, weights = checkpoints.read_tokenizer(path)
    try:
        kind = class_of(class_path, Tokenizer)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    return checkpoints.build(path, kind, config, weights)


def read_fitting(path: str | Path, tokenizer: Tokenizer) -> dict[str, Tensor]:
    """Trained weights, of anything that `load_tokenizer` loads, for a tokenizer of the same class and size.

    Returns:
        Its state dict in float32.

    Raises:
        ValueError: if the file is unreadable, from another class, or does not fit; the first tensor is named.
    """
    stored, _, weights = checkpoints.read_tokenizer(path)
    if stored != class_path_of(tokenizer):
        raise ValueError(f"{path}: holds {stored}, expected {class_path_of(tokenizer)}")
    expected = tokenizer.state_dict()
    return {
        name: tensor.to(expected[name].dtype) for name, tensor in checkpoints.check(path, weights, expected).items()
    }


def class_path_of(network: nn.Module) -> str:
    """Module and name of the class of a tokenizer or a generator, as stored in checkpoints."""
    return f"{type(network).__module__}.{type(network).__qualname__}"


def tokenizer_hash(tokenizer: Tokenizer) -> str:
    """Hexadecimal sha256 over class path, configuration and every tensor (name, type, shape, bytes).

    It does not depend on device or mode: two tokenizers with the same hash make the same tokens up to rounding.
    """
    digest = hashlib.sha256(json.dumps([class_path_of(tokenizer), tokenizer.config], sort_keys=True).encode())
    for name, tensor in sorted(tokenizer.state_dict().items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        # As bytes, because numpy does not know bfloat16; flat, because a scalar has no last axis to view as bytes.
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def class_of(class_path: object, face: type[Face]) -> type[Face]:
    """The class that a file names.

    Args:
        class_path: module and name. Only this package is allowed: a file from elsewhere must not choose what is
            imported.
        face: the required base class, `Tokenizer` or `Generator`.

    Raises:
        ValueError: for anything else.
    """
    module, _, name = class_path.rpartition(".") if isinstance(class_path, str) else ("", "", "")
    if module.split(".")[0] != "gpstoken" or not all(part.isidentifier() for part in module.split(".")):
        named = repr(class_path)[:80] if isinstance(class_path, str) else f"a {type(class_path).__name__}"
        raise ValueError(f"names a class outside this package, {named}")
    try:
        kind = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        raise ValueError(f"names {class_path}, which cannot be imported ({error})") from error
    if not isinstance(kind, type) or not issubclass(kind, face):
        raise ValueError(f"names {class_path}, which is not a {face.__name__.lower()}")
    return kind
