"""Reads published weights of the autoencoders that diffusers builds, from the files that their authors release."""

from pathlib import Path

import torch
from diffusers import ModelMixin
from torch import Tensor

from gpstoken.baselines.ldm_names import to_diffusers
from gpstoken.files.checkpoints import below, check, read_safetensors, read_state_dict
from gpstoken.files.plain_text import read_json

# Tensors that do not belong to the autoencoder: its losses, and VAVAE's alignment with DINOv2.
DROPPED = ("loss.", "foundation_model.", "linear_proj.")
FOLDER_FILES = ("config.json", "diffusion_pytorch_model.safetensors")


class _OldCallback:
    """Stands for the class that keys a callback's state in files of Lightning 1; the file holds only its name."""


OLD_CALLBACKS = [(_OldCallback, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint")]


def read_published(path: str | Path, autoencoder: ModelMixin) -> dict[str, Tensor]:
    """Reads published weights safely: nothing in a file is executed.

    Args:
        path: a diffusers folder (config.json and diffusion_pytorch_model.safetensors), a .safetensors file, or a .ckpt
            or .pt file of LDM, taming or LightningDiT with or without "state_dict".
        autoencoder: the network that the weights are for; it may be on the meta device.

    Returns:
        A state dict with exactly the names, shapes and types of `autoencoder`.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: for an unreadable file, another architecture, or a missing, unknown or misshapen tensor (the
            message names the first).
    """
    path = Path(path)
    if path.is_dir():
        for name in FOLDER_FILES:
            if not (path / name).is_file():
                raise FileNotFoundError(f"{path}: no {name}; a diffusers folder has {' and '.join(FOLDER_FILES)}")
        _check_architecture(path / FOLDER_FILES[0], autoencoder)
        path = path / FOLDER_FILES[1]
    elif not path.is_file():
        raise FileNotFoundError(f"{path}: no such file or diffusers folder; download the published weights first")
    tensors = {name: tensor for name, tensor in _tensors(path).items() if not name.startswith(DROPPED)}
    tensors = to_diffusers(below("first_stage_model.", tensors) or tensors)  # of a whole latent diffusion model
    expected = autoencoder.state_dict()
    return {name: tensor.to(expected[name].dtype) for name, tensor in check(path, tensors, expected).items()}


def _tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    with torch.serialization.safe_globals(OLD_CALLBACKS):
        return read_state_dict(path, "state_dict")


def _check_architecture(path: Path, autoencoder: ModelMixin) -> None:
    # Shapes do not reveal the activation functions: the layers of both are compared as torch prints them.
    kind = type(autoencoder)
    config = read_json(path)
    try:
        if config.get("_class_name", kind.__name__) != kind.__name__:
            raise ValueError(f"is for {config['_class_name']}, expected {kind.__name__}")
        with torch.device("meta"):
            theirs = repr(kind.from_config(config)).splitlines()
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
