"""Pretrained networks for image metrics: LPIPS trunks and the FID Inception, from local files only."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lpips
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

HOW_TO_GET = (
    "run `python -m datamodules.prepare -o data/embedded` (it writes data/networks), or give torchvision's file"
)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Reads a safetensors or a torch file without executing anything in it.

    Raises:
        FileNotFoundError: if there is no such file; the message says how to get it.
        ValueError: if it is damaged, or holds anything but named tensors.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"network weights {path} not found: {HOW_TO_GET}")
    try:
        if Path(path).suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's safe unpickler raises nearly anything for damaged files
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"network weights {path}: not readable ({reason})") from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"network weights {path}: holds something other than named tensors")
    return weights


def load_lpips(network: str, path: str | Path) -> lpips.LPIPS:
    """Loads LPIPS v0.1 with its trunk from a local file; the heads come with the `lpips` package.

    Args:
        network: "alexnet" or "vgg16".
        path: the trunk under torchvision's names (features.N.weight, .bias): the safetensors that `datamodules.prepare`
            writes, or torchvision's own alexnet-owt-7be5be79.pth / vgg16-397923af.pth.

    Returns:
        The frozen distance in eval mode: two images float[B, 3, H, W] in [-1, 1] to float[B, 1, 1, 1].

    Raises:
        FileNotFoundError: if the file is missing; the message says how to get it.
        ValueError: for an unknown network or another kind of file.
    """
    if network not in ("alexnet", "vgg16"):
        raise ValueError(f"perceptual network: expected 'alexnet' or 'vgg16', got {network!r}")
    weights = read_weights(path)
    with _AsAllocated():
        distance = untrained_lpips(network, heads=True)
    with torch.no_grad():
        for name, parameter in distance.net.named_parameters():
            # "slice2.4.weight" of lpips is "features.4.weight" of torchvision
            source = "features." + name.split(".", 1)[1]
            if source not in weights or weights[source].shape != parameter.shape:
                raise ValueError(f"network weights {path}: tensor {source!r} is missing or not of {network}")
            parameter.copy_(weights[source])
    # Convolutions on a CPU are an eighth to a third faster in this layout.
    return distance.requires_grad_(False).eval().to(memory_format=torch.channels_last)


class _AsAllocated(TorchFunctionMode):
    """Skips random initialisation, which takes over a second for the 138 M weights of VGG16, all replaced later."""

    def __torch_function__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return function(*args, **kwargs)


def untrained_lpips(network: str, heads: bool = False) -> lpips.LPIPS:
    """LPIPS with a random trunk.

    Args:
        network: "alexnet" or "vgg16".
        heads: whether to use the heads of the `lpips` package.
    """
    trunk = {"alexnet": "alex", "vgg16": "vgg"}[network]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips calls torchvision in a way that torchvision deprecates
        return lpips.LPIPS(net=trunk, pretrained=heads, pnet_rand=True, verbose=False)


def load_inception(path: str | Path, features: list[str]) -> nn.Module:
    """Loads torch-fidelity's Inception, frozen and in eval mode: uint8[B, 3, H, W] to a tuple of `features`.

    Args:
        path: torch-fidelity's or pytorch-fid's inception-2015-12-05-6726825d.pth, or a safetensors copy.
        features: torch-fidelity's names of the features, such as "2048" (pool3) and "logits_unbiased".

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it holds another network.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # The extractor's reader executes what is in a file, so it gets a copy of the tensors only.
    copy = io.BytesIO()
    torch.save(read_weights(path), copy)
    copy.seek(0)
    try:
        return FeatureExtractorInceptionV3("inception-v3-compat", features, copy)
    except RuntimeError as error:
        raise ValueError(f"network weights {path}: not the FID Inception ({str(error).splitlines()[0]})") from error


class InceptionPool(nn.Module):
    """pool3 features of the FID Inception, differentiable in the image.

    torch-fidelity's extractor takes only uint8; this class runs its layers on floats, with its TensorFlow-1 resize.
    """

    def __init__(self, path: str | Path) -> None:
        """Loads the weights; arguments and errors of `load_inception`."""
        super().__init__()
        self.network = load_inception(path, ["2048"])

    def forward(self, image: Tensor) -> Tensor:
        """float[B, 3, H, W] in [-1, 1] to float[B, 2048]."""
        from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

        layers = self.network
        size = (layers.INPUT_IMAGE_SIZE, layers.INPUT_IMAGE_SIZE)
        x = interpolate_bilinear_2d_like_tensorflow1x(127.5 * (image + 1), size=size, align_corners=False)
        x = (x - 128) / 128
        for name, layer in layers.named_children():
            if name != "fc":
                x = layer(x)
        return x.flatten(1)
