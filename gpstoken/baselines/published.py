"""Reads published weights of a tokenizer or generator from what people have on disk; no file is executed."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import ModelMixin
from torch import Tensor, nn

from gpstoken.base import Published
from gpstoken.files.checkpoints import below, check, read_plain, read_safetensors
from gpstoken.files.flax import is_flax, read_flax
from gpstoken.files.hub import from_hub, is_on_hub
from gpstoken.files.latent_statistics import CONFIG, SIDECAR
from gpstoken.files.plain_text import parse_json

# Names of the weights in a folder: of diffusers, and of transformers and PyTorchModelHubMixin.
IN_FOLDERS = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
)
MAX_CONFIG = 2**25  # bytes; RAE's config.json repeats the statistics of its latents, some 400 000 numbers
NESTED = ("ema", "state_dict", "model")  # where a training keeps its weights; the average before the raw ones
PARALLEL, COMPILED = "module.", "_orig_mod."  # in names, of data-parallel training and of torch.compile
PARTS = ("ema_model.", "first_stage_model.")  # an average beside the raw weights; the tokenizer in a diffusion model


class _OldCallback:
    """Stands for the class that keys a callback's state in files of Lightning 1; the file holds only its name."""


# What may lie beside weights, of plain data: such a callback's state, and arguments of a training's command line.
HARMLESS = [(_OldCallback, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"), argparse.Namespace]


def read_published(path: str | Path, network: Published) -> dict[str, Tensor]:
    """Reads published weights.

    Args:
        path: a folder with config.json and weights, as of diffusers or of the Hugging Face hub, or hf://OWNER/NAME for
            one on the hub; a .safetensors file, with a header of any content; a msgpack file of JAX's flax; or
            a .bin, .pt, .pth or .ckpt file, whose weights may lie under "ema", "state_dict" or "model" and have the
            prefixes of data-parallel training and of torch.compile.
        network: the tokenizer or generator that the weights are for; it may be on the meta device.

    Returns:
        A state dict with exactly the names, shapes and types of `network`.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: for an unreadable file, another architecture, or a missing, unknown or misshapen tensor (the
            message names the first).
    """
    path = at_hand(path)
    if path.is_dir():
        folder, path = path, weights_in(path)
        if isinstance(autoencoder := getattr(network, "autoencoder", None), ModelMixin):
            _check_architecture(folder / CONFIG, autoencoder)
    elif not path.is_file():
        raise FileNotFoundError(f"{path}: no such file or folder of weights; download the published ones first")
    tensors = network.own_names(unwrapped(path, _content(path)))
    expected = network.state_dict()
    return {name: tensor.to(expected[name].dtype) for name, tensor in check(path, tensors, expected).items()}


def at_hand(path: str | Path) -> Path:
    """The path itself, or for a repository of the Hugging Face hub, hf://OWNER/NAME, the folder of its files.

    Raises:
        FileNotFoundError: if it cannot be fetched.
    """
    return from_hub(path, (CONFIG, SIDECAR, *IN_FOLDERS)) if is_on_hub(path) else Path(path)


def licence_of(kind: type[Published], row: str = "") -> dict[str, str]:
    """{"licence", and "restriction" if there is one} of the published weights of a class or else a row, if known."""
    listed = yaml.safe_load(Path(__file__).with_name("licences.yaml").read_text(encoding="utf-8"))
    return listed.get(kind.__name__) or listed.get(row, {})


def tell_licence(weights: Path, kind: type[Published], row: str = "") -> dict[str, str]:
    """Prints what the licence of published weights restricts; {"licence"} for their record, if known."""
    licence = licence_of(kind, row)
    if "restriction" in licence:
        print(f"{weights}: published weights of {row or kind.__name__}: {licence['restriction']}")
    return {name: text for name, text in licence.items() if name == "licence"}


def weights_in(folder: Path) -> Path:
    """The file of weights in a folder.

    Raises:
        FileNotFoundError: if it has none, or no config.json beside them.
    """
    found = [folder / name for name in IN_FOLDERS if (folder / name).is_file()]
    if not found or not (folder / CONFIG).is_file():
        what = CONFIG if found else "weights"
        raise FileNotFoundError(
            f"{folder}: no {what}; a folder of weights has {CONFIG} and one of {', '.join(IN_FOLDERS)}"
        )
    return found[0]


def unwrapped(path: Path, content: Any) -> dict[str, Tensor]:
    """The tensors of a file by name, out of what training frameworks put around them.

    Raises:
        ValueError: if there are none.
    """
    while isinstance(content, Mapping) and (key := next((key for key in NESTED if _is_nested(content, key)), None)):
        content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{path}: neither a state dict nor a checkpoint with one under {' or '.join(NESTED)}")
    tensors = dict(content)
    # Parts may have been compiled one by one, so that word may stand anywhere.
    tensors = {name.replace(COMPILED, "").removeprefix(PARALLEL): tensor for name, tensor in tensors.items()}
    for part in PARTS:
        tensors = below(part, tensors) or tensors
    return tensors


def _is_nested(content: Mapping[str, Any], key: str) -> bool:
    return isinstance(content.get(key), Mapping) and bool(content[key])


def _content(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    if is_flax(path):
        return read_flax(path)
    with torch.serialization.safe_globals(HARMLESS):
        return read_plain(path)


def _read_config(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_CONFIG:
        raise ValueError(f"{path}: {path.stat().st_size:,} bytes, but {MAX_CONFIG:,} are allowed")
    return parse_json(path, path.read_text(encoding="utf-8", errors="replace"))


def _check_architecture(path: Path, autoencoder: ModelMixin) -> None:
    # Shapes do not reveal the activation functions: the layers of both are compared as torch prints them.
    kind = type(autoencoder)
    config = _read_config(path)
    try:
        if config.get("_class_name", kind.__name__) != kind.__name__:
            raise ValueError(f"is for {config['_class_name']}, expected {kind.__name__}")
        with torch.device("meta"):
            network = kind.from_config(config)
        if isinstance(getattr(autoencoder, "quantize", None), nn.Identity):
            network.quantize = nn.Identity()  # the suite has a codebook of its own, whose size the tensors tell
        theirs = repr(network).splitlines()
    except Exception as error:  # the library raises nearly anything on a strange config
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: {reason}") from error
    ours = repr(autoencoder).splitlines()
    if theirs != ours:
        pairs = [pair for pair in zip(theirs, ours, strict=False) if pair[0] != pair[1]]
        first_difference, expected = pairs[0] if pairs else (f"{len(theirs)} layers", f"{len(ours)}")
        raise ValueError(
            f"{path}: another architecture, has {first_difference.strip()} where the row has {expected.strip()}"
        )
