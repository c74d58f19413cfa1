"""EfficientNet-Lite0 (Tan and Le 2019; the Lite models of tensorflow/tpu, 2020), as its ImageNet weights want it.

torchvision has no Lite model. Modules are named as in data/networks/efficientnet_lite0.safetensors.
"""

import torch.nn.functional as F
from torch import Tensor, nn

# (repeats, kernel, stride, expansion, output channels): of B0, but without squeeze and excitation, ReLU6 for swish
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SameConvolution(nn.Conv2d):
    """Convolution without bias whose output has ceil(input / stride) pixels a side.

    TensorFlow pads the odd pixel at the right and bottom, torch's symmetric padding would shift every strided layer.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        """Makes the layer."""
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, ceil(H / stride), ceil(W / stride)]."""
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        excess = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in (x.shape[-1], x.shape[-2])]
        return super().forward(F.pad(x, [part for total in excess for part in (total // 2, total - total // 2)]))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class InvertedBottleneck(nn.Module):
    """Widen by 1x1, filter each channel, narrow by 1x1; the input is added where its shape allows."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        """Makes the block."""
        super().__init__()
        width = inputs * expansion
        if expansion != 1:
            self._expand_conv, self._bn0 = SameConvolution(inputs, width, 1), _norm(width)
        self._depthwise_conv, self._bn1 = SameConvolution(width, width, kernel, stride, groups=width), _norm(width)
        self._project_conv, self._bn2 = SameConvolution(width, outputs, 1), _norm(outputs)
        self.widens, self.adds = expansion != 1, stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, ceil(H / stride), ceil(W / stride)]."""
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.widens else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """Images of (level - 127) / 128 to 1,280 pooled features; `_fc` maps those to the 1,000 ImageNet classes."""

    def __init__(self) -> None:
        """Makes the network with random weights."""
        super().__init__()
        self._conv_stem, self._bn0 = SameConvolution(3, 32, 3, stride=2), _norm(32)
        blocks, inputs = [], 32
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for repeat in range(repeats):
                blocks.append(InvertedBottleneck(inputs, outputs, kernel, 1 if repeat else stride, expansion))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = SameConvolution(inputs, 1280, 1), _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """float[B, 3, H, W] to float[B, 1280]."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))
