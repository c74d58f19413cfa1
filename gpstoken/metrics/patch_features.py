"""Features of the places of an image from a frozen network, with which a generator's hidden states are aligned."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpstoken.metrics.efficientnet import EfficientNetLite0
from gpstoken.metrics.networks import FEATURES, dinov2
from gpstoken.metrics.weights import find_weights
from gpstoken.perceptual import read_weights

STRIDES = {"efficientnet_lite0": 16, "dinov2": 14}  # pixels along a side of a place
STAGES = 5  # of EfficientNet-Lite0's seven: the last with a stride of 16, of 112 channels


class PatchFeatures(nn.Module):
    """Images to a grid of features, of DINOv2's last layer or of the fifth stage of EfficientNet-Lite0.

    Attributes:
        side: places along a side of the grid.
        path: file of the weights.
    """

    def __init__(self, name: str, side: int) -> None:
        """Loads a network, in evaluation mode.

        Args:
            name: a key of `STRIDES`.
            side: places along a side of the grid.

        Raises:
            FileNotFoundError: if there are no weights; the message says how to get them.
            ValueError: for another name, or a file of another network.
        """
        super().__init__()
        if name not in STRIDES:
            raise ValueError(f"feature network: expected one of {', '.join(STRIDES)}, got {name!r}")
        self.name, self.side, self.path = name, side, find_weights(name)
        weights = read_weights(self.path)
        try:
            self.trunk = dinov2(weights, 14 * side)[0] if name == "dinov2" else EfficientNetLite0(weights).network
        except (RuntimeError, KeyError) as error:  # from load_state_dict, for other names or shapes
            raise ValueError(f"network weights {self.path}: not of {name} ({str(error).splitlines()[0]})") from error
        for part, values in zip(("mean", "deviation"), FEATURES[name].scaling, strict=True):
            self.register_buffer(part, torch.tensor(values)[:, None, None])
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """float[B, 3, H, W] in [-1, 1] to float32[B, side^2, C], row by row.

        The image is resized by an antialiased bicubic filter so that a place has as many pixels as the network's
        stride; overshoot is clamped.
        """
        levels, pixels = (image.float() + 1) * 127.5, self.side * STRIDES[self.name]
        if levels.shape[-2:] != (pixels, pixels):
            levels = F.interpolate(levels, (pixels, pixels), mode="bicubic", antialias=True)
        x = (levels.clamp(0, 255) - self.mean) / self.deviation
        if self.name == "dinov2":
            return self.trunk.forward_features(x)[:, self.trunk.num_prefix_tokens :]
        x = self.trunk.bn1(self.trunk.conv_stem(x))
        for stage in self.trunk.blocks[:STAGES]:
            x = stage(x)
        return x.flatten(2).mT
