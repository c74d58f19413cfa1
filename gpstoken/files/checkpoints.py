"""Safe reading of weights, from checkpoints of this project and from the paper's release: no file is executed."""

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from gpstoken.files.digests import DIGEST, check_digest, digest
from gpstoken.files.reasons import looks_like, reason
from gpstoken.files.tensors import FLOATING, check_content
from gpstoken.files.weights import SUFFIX, read_weights, weights_file
from gpstoken.files.writing import replacing

Module = TypeVar("Module", bound=nn.Module)
FEW = 64  # a constructor may always build this many blocks
LOOPS = ("depth", "decoder_blocks", "layers_per_block", "heads")  # constructor arguments that set a number of blocks

# Released name -> name in this project, applied in order; a name that matches no rule is kept.
RELEASED_NAMES = [
    (r"^preprocess_img\.(\d)\.temb_proj\.", lambda match: f"refine.unused_time_projections.{int(match[1]) - 1}."),
    (r"^preprocess_img\.", "refine.stem."),
    (r"^roialign_layer\.", "refine.project."),
    (r"^gps_embed\.weight$", "refine.query"),
    (r"^gps_embed_layer\.", "refine.embed."),
    (r"^attnblocks\.", "refine.blocks."),
    (r"\.roimlp\.", ".pool."),
    (r"\.ln(\d)\.", r".norm\1."),
    (r"\.attn1\.", ".attention."),
    (r"^to_gps\.0\.", "refine.to_offset."),
    (r"^to_gps\.1\.", "refine.to_features."),
    (r"^decoder\.mid\.block_(\d)\.", r"decoder.middle\1."),
    (r"^decoder\.mid\.attn_1\.norm\.", "decoder.attention.norm."),
    (r"^decoder\.mid\.attn_1\.q\.", "decoder.attention.query."),
    (r"^decoder\.mid\.attn_1\.k\.", "decoder.attention.key."),
    (r"^decoder\.mid\.attn_1\.v\.", "decoder.attention.value."),
    (r"^decoder\.mid\.attn_1\.proj_out\.", "decoder.attention.out."),
    (r"^decoder\.up\.(\d+)\.block\.", r"decoder.levels.\1.blocks."),
    (r"^decoder\.up\.(\d+)\.upsample\.conv\.", r"decoder.levels.\1.upsample."),
    (r"\.nin_shortcut\.", ".shortcut."),
]


def rename_released(name: str) -> str:
    """The name that a released tensor has in this project's modules."""
    for pattern, replacement in RELEASED_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def read_released(path: str | Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Reads a released safetensors file under this project's names.

    Files written by an EMA wrapper hold the averaged weights under "ema_model." beside the raw weights; the averaged
    weights are returned.

    Args:
        path: the file.
        expected: the state dict that it must fill, for names and shapes.

    Returns:
        A state dict with exactly the names of `expected`.

    Raises:
        ValueError: for an unreadable file, or naming the first missing, unknown or misshapen tensor.
    """
    tensors = read_safetensors(path)
    averaged = below("ema_model.", tensors)
    return check(path, {rename_released(name): tensor for name, tensor in (averaged or tensors).items()}, expected)


def read_training(path: str | Path, class_path: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads a tokenizer of a known class out of a training checkpoint or a file of weights.

    Args:
        path: see `read_tokenizer`.
        class_path: the expected tokenizer class.

    Returns:
        (constructor arguments, state dict of the tokenizer).

    Raises:
        ValueError: for an unreadable file or a checkpoint of something else.
    """
    stored, config, weights = read_tokenizer(path)
    if stored != class_path:
        raise ValueError(f"{path}: holds {stored}, expected {class_path}")
    return config, weights


def read_tokenizer(path: str | Path) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Reads a tokenizer of any class out of a training checkpoint or a file of weights.

    Args:
        path: a Lightning checkpoint written by `TokenizerModule`, what `gpstoken export` wrote (*.safetensors), or the
            name of weights that come with the package.

    Returns:
        (class path, constructor arguments, state dict of the tokenizer, averaged if the run kept an average).

    Raises:
        ValueError: for an unreadable file or a checkpoint of something else.
    """
    path = weights_file(path)
    if path.suffix == SUFFIX:
        return read_weights(path)
    checkpoint = read_plain(path)
    described = checkpoint.get("tokenizer") if isinstance(checkpoint, dict) else None
    weights = checkpoint.get("state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(described, dict) or "class_path" not in described or not isinstance(weights, dict):
        raise ValueError(f"{path}: not a tokenizer checkpoint of this project (no 'tokenizer' entry or no weights)")
    return described["class_path"], described.get("init_args", {}), below("tokenizer.", weights)


def read_official(path: str | Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Reads an official .pt file of DiT or SiT: a flat state dict, or one under "ema" in a training run's checkpoint.

    Raises:
        ValueError: for an unreadable file, or naming the first missing, unknown or misshapen tensor.
    """
    # Training runs of DiT and SiT keep their arguments as a Namespace of plain data beside the weights.
    with torch.serialization.safe_globals([argparse.Namespace]):
        return check(path, read_state_dict(path, "ema"), expected)


def read_state_dict(path: str | Path, key: str) -> dict[str, Tensor]:
    """Reads a state dict from a torch file that is one, or contains one under `key`.

    Raises:
        ValueError: for an unreadable file, or one without a state dict.
    """
    content = read_plain(path)
    weights = content.get(key, content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"{path}: neither a state dict nor a checkpoint with one under {key!r}")
    return weights


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        ValueError: for an unreadable file.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({reason(error)})") from error


def write_plain(path: str | Path, content: dict[str, Any]) -> None:
    """Writes tensors and plain data for `read_plain`, as a whole or not at all, with a digest of the content.

    Raises:
        OSError: if the file cannot be written.
    """
    # Through an open file: given a path, torch writes the file's name into it, and the temporary name always differs.
    with replacing(path) as part, part.open("wb") as file:
        torch.save(content | {DIGEST: digest(content)}, file)


def read_plain(path: str | Path) -> Any:
    """Reads a torch file of tensors and plain data onto the CPU; the inverse of `write_plain`.

    Raises:
        ValueError: for a file that is unreadable or damaged, or contains anything else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's safe unpickler raises nearly anything for damaged files
        raise ValueError(f"{path}: not a readable checkpoint ({looks_like(Path(path), error)})") from error
    check_content(path, content)
    if isinstance(content, dict):
        check_digest(path, {name: part for name, part in content.items() if name != DIGEST}, content.pop(DIGEST, None))
    return content


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, under their names without the prefix."""
    names = [name for name in tensors if isinstance(name, str) and name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors[name] for name in names}


def build(
    path: str | Path,
    kind: type[Module],
    config: Mapping[str, Any],
    weights: dict[str, Tensor],
    make: Callable[[Mapping[str, Any]], Module] | None = None,
) -> Module:
    """Builds a network from a file's content, in evaluation mode; memory is only allocated if its weights fit.

    Args:
        path: path of the file, for errors.
        kind: class of the network.
        config: arguments of its constructor.
        weights: its state dict.
        make: builds the network from `config`; default: the constructor.

    Raises:
        ValueError: if the constructor rejects an argument, for example one that this version does not have, or for a
            tensor that does not fit (the message names the first).
    """
    if not isinstance(config, Mapping) or not all(isinstance(name, str) for name in config):
        raise ValueError(f"{path}: the arguments of {kind.__name__} must be a mapping, got a {type(config).__name__}")
    make = make or (lambda config: kind(**config))
    nested = [part for part in config.values() if isinstance(part, Mapping)]
    for name, value in (item for part in (config, *nested) for item in part.items()):
        # Every block has tensors: a small file must not cause millions of blocks to be built.
        blocks = len(value) if isinstance(value, list | tuple) else value if name in LOOPS else 0
        if isinstance(blocks, int) and blocks > max(FEW, len(weights)):
            raise ValueError(f"{path}: {name} is {value!r}, but the file has only {len(weights)} tensors")
    try:
        with torch.device("meta"):
            check(path, weights, make(config).state_dict())
        network = make(config)
    except (TypeError, ValueError, RuntimeError, OverflowError, KeyError) as error:
        raise ValueError(f"{path}: {reason(error).removeprefix(f'{path}: ')}") from error
    network.load_state_dict(weights)
    return network.eval()


def check(path: str | Path, weights: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns `weights` if names and shapes match `expected` and every number is finite.

    Raises:
        ValueError: naming the first tensor that differs, or is not finite.
    """
    for name, tensor in expected.items():
        if not isinstance(weights.get(name), Tensor):
            raise ValueError(f"{path}: tensor {name!r} is missing")
        if weights[name].shape != tensor.shape:
            raise ValueError(
                f"{path}: tensor {name!r} has shape {tuple(weights[name].shape)}, expected {tuple(tensor.shape)}"
            )
    for name, tensor in weights.items():
        if name not in expected:
            raise ValueError(f"{path}: unknown tensor {name!r}")
        if tensor.is_floating_point() and tensor.dtype not in FLOATING:
            raise ValueError(f"{path}: tensor {name!r} has type {tensor.dtype}, which is not supported")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(f"{path}: tensor {name!r} is not finite; the training that wrote it has failed")
    return weights
