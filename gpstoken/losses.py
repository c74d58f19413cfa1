"""Reconstruction, perceptual and adversarial losses of the tokenizers (paper section 3; release for the constants)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """pix2pix PatchGAN: strided 4x4 convolutions with batch norm, one logit per patch."""

    def __init__(self, channels: int = 64, levels: int = 3) -> None:
        """Makes the discriminator with N(0, 0.02) weights.

        Args:
            channels: width of the first layer; it doubles at each level, up to eight times.
            levels: number of strided levels.
        """
        super().__init__()
        self.channels, self.levels = channels, levels
        widths = [channels * min(2**level, 8) for level in range(levels + 1)]
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for level in range(1, levels + 1):
            stride = 2 if level < levels else 1
            layers += [
                nn.Conv2d(widths[level - 1], widths[level], 4, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(widths[level]),
                nn.LeakyReLU(0.2),
            ]
        self.main = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, padding=1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, image: Tensor) -> Tensor:
        """float[B, 3, H, W] to logits float[B, 1, h, w]."""
        return self.main(image)


def hinge_discriminator_loss(logits_real: Tensor, logits_fake: Tensor) -> Tensor:
    """Hinge loss of the discriminator: (mean relu(1 - D(x)) + mean relu(1 + D(y))) / 2."""
    return 0.5 * (F.relu(1 - logits_real).mean() + F.relu(1 + logits_fake).mean())


def generator_loss(logits_fake: Tensor) -> Tensor:
    """Adversarial loss of the autoencoder: -mean D(y)."""
    return -logits_fake.mean()


def adaptive_weight(
    reconstruction: Tensor,
    adversarial: Tensor,
    last_layer: Tensor,
    scale: float = 0.3,
    mean: Callable[[Tensor], Tensor] = lambda gradient: gradient,
) -> Tensor:
    """The weight that makes the adversarial gradient at the last layer `scale` times the reconstruction's gradient.

    Args:
        reconstruction: scalar loss.
        adversarial: scalar loss.
        last_layer: the weight at which the gradients are compared.
        scale: factor on the ratio (release 0.3).
        mean: averages a gradient over the processes that share a batch, so that the norms are those of the whole batch.

    Returns:
        A detached scalar, scale * clamp(|d reconstruction| / (|d adversarial| + 1e-4), 0, 1e4).
    """
    first = mean(torch.autograd.grad(reconstruction, last_layer, retain_graph=True)[0]).norm()
    second = mean(torch.autograd.grad(adversarial, last_layer, retain_graph=True)[0]).norm()
    return (scale * (first / (second + 1e-4)).clamp(0.0, 1e4)).detach()


def inception_loss(network: nn.Module, reconstruction: Tensor, image: Tensor) -> Tensor:
    """Mean squared difference of FID-Inception pool3 features, which the release adds to its loss.

    FID is computed from the same features, so a model trained with this loss optimises part of its own rFID, which
    cannot be compared with the rFID of a model trained without it. The paper does not mention this loss. The release
    feeds the network values in [0, 510] instead of [0, 255]; here they are in [0, 255].
    """
    return F.mse_loss(network(reconstruction), network(image).detach())
