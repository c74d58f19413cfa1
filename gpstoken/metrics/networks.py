"""Feature networks for comparing distributions of images, with a common interface."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from gpstoken.metrics.efficientnet import EfficientNetLite0
from gpstoken.metrics.inception import Inception
from gpstoken.metrics.weights import find_weights
from gpstoken.perceptual import read_weights

SIDE = 224  # pixels, the training size of all networks but Inception
# Images at a time on a CPU, so few that the activations stay in the cache. In channels_last two cores reach 44 images/s
# with EfficientNet-Lite0 this way, and 13 in batches of 64.
TOGETHER = 4
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))  # mean and standard deviation of its levels


class Features(nn.Module):
    """A frozen trunk with its resizing and scaling of levels.

    Attributes:
        name: key of `FEATURES`.
        label: name in tables.
        dimension: width of "pool".
        path: file of the weights.
    """

    def __init__(self, name: str, trunk: nn.Module, dimension: int, path: Path) -> None:
        """Wraps `trunk`: float[B, 3, 224, 224] to float[B, dimension]."""
        super().__init__()
        self.name, self.label, self.dimension, self.path = name, FEATURES[name].label, dimension, path
        self.trunk = trunk.requires_grad_(False).to(memory_format=torch.channels_last)
        for part, values in zip(("mean", "deviation"), FEATURES[name].scaling, strict=True):
            self.register_buffer(part, torch.tensor(values)[:, None, None])
        self.eval()

    def train(self, mode: bool = True) -> "Features":
        """Stays in eval mode even within a training module: batch statistics would make it another network."""
        return super().train(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """uint8[B, 3, H, W] of any size to {"pool": float32[B, dimension]}.

        Images of any shape are resized to 224 x 224 by an antialiased bicubic filter; overshoot is clamped, and levels
        are not rounded.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"{self.name}: expected uint8[B, 3, H, W], got {images.dtype}{list(images.shape)}")
        together = TOGETHER if images.device.type == "cpu" else max(1, len(images))
        return {"pool": torch.cat([self._pool(part) for part in images.split(together)])}

    def _pool(self, images: Tensor) -> Tensor:
        x = images.float()
        if x.shape[-2:] != (SIDE, SIDE):
            x = F.interpolate(x, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 255)
        x = ((x - self.mean) / self.deviation).contiguous(memory_format=torch.channels_last)
        return self.trunk(x).float()


def _efficientnet_lite0(weights: dict[str, Tensor]) -> tuple[nn.Module, int]:
    return EfficientNetLite0(weights), 1280


def _vgg16(weights: dict[str, Tensor]) -> tuple[nn.Module, int]:
    """The convolutions up to relu5_3, averaged over the image."""
    with torch.device("meta"):  # random weights of its classifier alone would take a second
        trunk = torchvision.models.vgg16(weights=None).features[:30]
    kept = {name.removeprefix("features."): value for name, value in weights.items() if name.startswith("features.")}
    trunk.load_state_dict(kept, assign=True)
    return nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 512


def dinov2(weights: dict[str, Tensor], side: int = SIDE) -> tuple[nn.Module, int]:
    """ViT-S/14, B/14 or L/14 without registers, depending on the file: images to the class token after the last norm.

    Args:
        weights: as in Meta's file.
        side: side of the images in pixels, a multiple of 14.

    Returns:
        timm's network, and its width.

    Raises:
        KeyError, RuntimeError: for other weights.
        ValueError: without timm.
    """
    try:
        import timm
    except ModuleNotFoundError:
        raise ValueError("dinov2 needs the package timm: pip install timm") from None
    weights = {name: value for name, value in weights.items() if name != "mask_token"}
    dimension = weights["cls_token"].shape[-1]
    size = {384: "small", 768: "base", 1024: "large"}[dimension]
    # Position embeddings of 37 x 37 patches become 16 x 16 with the factor of Meta's own code, with which distances
    # were published: bicubic, not antialiased, with a tenth of a patch added against rounding.
    token, grid = weights["pos_embed"].float().split([1, weights["pos_embed"].shape[1] - 1], dim=1)
    trained, patches = round(grid.shape[1] ** 0.5), side // 14
    grid = grid.reshape(1, trained, trained, dimension).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, scale_factor=(patches + 0.1) / trained, mode="bicubic")
    weights["pos_embed"] = torch.cat([token, grid.flatten(2).mT], dim=1)
    network = timm.create_model(f"vit_{size}_patch14_dinov2", pretrained=False, num_classes=0, img_size=side)
    network.load_state_dict(weights)
    return network, dimension


class Entry(NamedTuple):
    """A network's name in tables, the scaling of its input (mean, deviation), and the function that builds it."""

    label: str
    scaling: tuple[tuple[float, float, float], tuple[float, float, float]] = IMAGENET
    build: Callable[[dict[str, Tensor]], tuple[nn.Module, int]] | None = None


FEATURES = {
    "inception": Entry("Inception"),
    "efficientnet_lite0": Entry("EffLite0", ((127.0,) * 3, (128.0,) * 3), _efficientnet_lite0),
    "vgg16": Entry("VGG16", build=_vgg16),
    "dinov2": Entry("DINOv2", build=dinov2),
}


def load_features(name: str, path: str | Path | None = None) -> nn.Module:
    """Loads a frozen network: uint8[B, 3, H, W] to {"pool": float32[B, dimension]}; Inception also "spatial", "logits".

    Args:
        name: a key of `FEATURES`.
        path: file of the weights; None: see `find_weights`.

    Returns:
        The network on the CPU, in eval mode, with the attributes `name`, `label`, `dimension` and `path`.

    Raises:
        FileNotFoundError: if there are no weights; the message says how to get them.
        ValueError: for an unknown name, a file of another network, or a missing package.
    """
    if name not in FEATURES:
        raise ValueError(f"feature network: expected one of {', '.join(FEATURES)}, got {name!r}")
    path = find_weights(name, path)
    build = FEATURES[name].build
    if build is None:
        return Inception(path)
    weights = read_weights(path)
    try:
        trunk, dimension = build(weights)
    except (RuntimeError, KeyError) as error:  # from load_state_dict, for other names or shapes
        raise ValueError(f"network weights {path}: not of {name} ({str(error).splitlines()[0]})") from error
    return Features(name, trunk, dimension, path)
