"""The classifier that guides ADM (Dhariwal and Nichol, arXiv 2105.05233, section 4): it classifies noised images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpstoken.base import Tokenizer
from gpstoken.generators.adm_stage import PixelStage
from gpstoken.generators.adm_unet import UNET, ClassifierNetwork, start_at_zero
from gpstoken.generators.ddpm import draw, noised
from gpstoken.limits import limits

ALONE = "generator: a classifier makes no images; give it as the layout of an ADM, which it guides"
SHOWN = 250  # time of the images that pictures of a training show; the classes of most can still be seen


@dataclass(frozen=True)
class NoSampling:
    """A classifier has no options of sampling."""


class ADMClassifier(PixelStage):
    """A stage before ADM; the defaults are the published network at 256 pixels, 54.10 M parameters."""

    options = NoSampling
    name = "classifier"
    given = ("latent",)

    @limits(**UNET)
    def __init__(
        self,
        image_size: int = 256,
        block_out_channels: tuple[int, ...] = (128, 128, 256, 256, 512, 512),
        layers_per_block: int = 2,
        attention_levels: int = 3,
        head_channels: int = 64,
        norm_num_groups: int = 32,
        num_classes: int = 1000,
    ) -> None:
        """Makes an untrained classifier.

        Args:
            image_size: side of the images in pixels.
            block_out_channels: channels of each level; the side is halved from each to the next.
            layers_per_block: residual blocks of a level.
            attention_levels: how many of the last levels have attention.
            head_channels: channels of an attention head.
            norm_num_groups: groups of every group norm.
            num_classes: number of classes.

        Raises:
            ValueError: for sides or channels that are not divisible.
        """
        super().__init__({name: value for name, value in locals().items() if name not in ("self", "__class__")})
        self.network = start_at_zero(ClassifierNetwork(num_classes, self.unet))

    def complete(self, tokenizer: Tokenizer, layout: Any = None) -> NoReturn:
        """Raises an error, because a classifier makes no images.

        Raises:
            ValueError: always.
        """
        raise ValueError(ALONE)

    def loss(self, batch: Mapping[str, Tensor], chance: torch.Generator) -> Tensor:
        """Cross-entropy of the class of images at random times of the diffusion, float[B]."""
        image = batch["latent"]
        noise, t = draw(image, chance)
        return F.cross_entropy(self.network(noised(image, noise, t), t).float(), batch["label"], reduction="none")

    def gradient(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """The gradient of log p(label | x_t) by x_t.

        Args:
            x: float[B, 3, H, W], images at time t.
            t: long[B], times 0 to 999.
            labels: long[B].

        Returns:
            float[B, 3, H, W].
        """
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            # A view, because torch's counter of FLOPs cannot follow a leaf.
            chosen = self.network(x.view_as(x), t).float().log_softmax(1).gather(1, labels[:, None])
            return torch.autograd.grad(chosen.sum(), x)[0]

    def sample(self, labels: Tensor, indices: Sequence[int], seed: int, options: Any) -> NoReturn:
        """Raises an error, because a classifier makes no images.

        Raises:
            ValueError: always.
        """
        raise ValueError(ALONE)

    def preview(self, labels: Tensor, batch: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
        """Real images with the noise that a classifier learns with, at one time."""
        image = batch["latent"].to(labels.device)
        noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)).to(image)
        return {"latent": noised(image, noise, torch.full_like(labels, SHOWN))}

    def calls(self, options: Any) -> int:
        """None of its own."""
        return 0

    def blocks(self) -> Sequence[nn.Module]:
        """The levels and the middle."""
        return [*self.network.down_blocks, self.network.mid_block]
