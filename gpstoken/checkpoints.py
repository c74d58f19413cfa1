"""Weights from files, ours and the paper's, read safely: nothing in them is executed."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

# Released name -> ours, tried in order; whatever no rule names keeps its name.
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
    """The name of a released tensor in our modules."""
    for pattern, replacement in RELEASED_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def read_released(path: str | Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Reads a released safetensors file under our names.

    Files written by an EMA wrapper hold the averaged weights under "ema_model." beside the raw ones; the averaged ones
    are taken.

    Args:
        path: the file.
        expected: the state dict that it must fill, for names and shapes.

    Returns:
        A state dict with exactly the names of `expected`.

    Raises:
        ValueError: for an unreadable file, or naming the first missing, unknown or misshapen tensor.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    averaged = {
        name.removeprefix("ema_model."): tensor for name, tensor in tensors.items() if name.startswith("ema_model.")
    }
    return check(path, {rename_released(name): tensor for name, tensor in (averaged or tensors).items()}, expected)


def read_training(path: str | Path, class_path: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads a tokenizer of a known class out of a training checkpoint.

    Args:
        path: a Lightning checkpoint written by `TokenizerModule`.
        class_path: the tokenizer class that is wanted.

    Returns:
        (constructor arguments, state dict of the tokenizer).

    Raises:
        ValueError: for an unreadable file or a checkpoint of something else.
    """
    found, config, weights = read_tokenizer(path)
    if found != class_path:
        raise ValueError(f"{path}: holds a {found}, expected a {class_path}")
    return config, weights


def read_tokenizer(path: str | Path) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Reads a tokenizer of any class out of a training checkpoint.

    Args:
        path: a Lightning checkpoint written by `TokenizerModule`.

    Returns:
        (class path, constructor arguments, state dict of the tokenizer: the average where the run kept one).

    Raises:
        ValueError: for an unreadable file or a checkpoint of something else.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's safe unpickler raises nearly anything on garbage
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: not a readable checkpoint ({reason})") from error
    described = checkpoint.get("tokenizer") if isinstance(checkpoint, dict) else None
    if not isinstance(described, dict) or "class_path" not in described or "state_dict" not in checkpoint:
        raise ValueError(f"{path}: not a tokenizer checkpoint of this project (no 'tokenizer' entry or no weights)")
    prefix = "tokenizer."
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(prefix)
    }
    return described["class_path"], described.get("init_args", {}), weights


def check(path: str | Path, weights: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns `weights` if names and shapes are those of `expected`.

    Raises:
        ValueError: naming the first difference.
    """
    for name, tensor in expected.items():
        if name not in weights:
            raise ValueError(f"{path}: tensor {name!r} is missing")
        if weights[name].shape != tensor.shape:
            raise ValueError(
                f"{path}: tensor {name!r} has shape {tuple(weights[name].shape)}, expected {tuple(tensor.shape)}"
            )
    for name in weights:
        if name not in expected:
            raise ValueError(f"{path}: unknown tensor {name!r}")
    return weights
