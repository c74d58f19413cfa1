"""EfficientNet-Lite0 (Tan and Le 2019; the Lite models of tensorflow/tpu, 2020) of timm, with TensorFlow's weights.

The file data/networks/efficientnet_lite0.safetensors has the layer names of the EfficientNet-PyTorch project; timm has
other names for the same layers.
"""

import re

import torch
from torch import Tensor, nn

# Layer names of the first block, which does not widen its input, and of the other blocks.
NARROW = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
WIDE = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
}
WIDE |= {"_bn2": "bn3"}
AROUND = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
REPEATS = (1, 2, 2, 3, 3, 4, 1)  # blocks of each stage


class EfficientNetLite0(nn.Module):
    """Images with values (level - 127) / 128 to 1,280 pooled features."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        """Makes the network.

        Args:
            weights: weights of every layer, under the names of EfficientNet-PyTorch.

        Raises:
            KeyError: for an unknown name.
            RuntimeError: if a layer is missing or of another shape.
        """
        super().__init__()
        import timm  # takes seconds, and not every command needs it

        with torch.device("meta"):  # skips random weights that would be replaced
            self.network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        self.network.load_state_dict({timm_name(name): value for name, value in weights.items()}, assign=True)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, 3, H, W] to float[B, 1280]."""
        return self.network.forward_features(x).mean(dim=(2, 3))

    def classify(self, features: Tensor) -> Tensor:
        """float[B, 1280] to the logits of the 1,000 classes of ImageNet."""
        return self.network.classifier(features)


def timm_name(name: str) -> str:
    """Converts a name of EfficientNet-PyTorch to timm's: "_blocks.1._bn0.weight" is "blocks.1.0.bn1.weight".

    Raises:
        KeyError: naming the unknown name.
    """
    try:
        return _timm_name(name)
    except KeyError:
        raise KeyError(name) from None


def _timm_name(name: str) -> str:
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if block is None:
        layer, _, tensor = name.rpartition(".")
        return f"{AROUND[layer]}.{tensor}"
    number, layer, tensor = int(block[1]), block[2], block[3]
    for stage, repeats in enumerate(REPEATS):
        if number < repeats:
            return f"blocks.{stage}.{number}.{(WIDE if stage else NARROW)[layer]}.{tensor}"
        number -= repeats
    raise KeyError(name)
