"""ADM (Dhariwal and Nichol, arXiv 2105.05233): a discrete diffusion on pixels, guided by a classifier or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gpstoken.base import Generator, Tokenizer
from gpstoken.flow import SampleNoise
from gpstoken.generators.adm_classifier import ADMClassifier
from gpstoken.generators.adm_stage import PixelStage
from gpstoken.generators.adm_unet import UNET, ADMNetwork, start_at_zero, unet_arguments
from gpstoken.generators.ddpm import TIMES, Prediction, ddpm_loss, draw, sample, split
from gpstoken.limits import at_least, limits, number


@limits(steps=at_least(2, TIMES))
@dataclass(frozen=True)
class ADMSampling:
    """The options of the sampler.

    Attributes:
        steps: evaluations of the network, 2 to 1000.
    """

    steps: int = 250


@limits(steps=at_least(2, TIMES), guidance=number(0))
@dataclass(frozen=True)
class GuidedADMSampling(ADMSampling):
    """The options of the sampler with a classifier.

    Attributes:
        guidance: factor of the gradient of the classifier (published at 256 pixels: 1); 0 is no guidance.
    """

    guidance: float = 1.0


class ADM(PixelStage):
    """Generates pixels in [-1, 1]; the defaults are the published network at 256 pixels, 553.84 M parameters."""

    options = ADMSampling

    @limits(**UNET)
    def __init__(
        self,
        image_size: int = 256,
        block_out_channels: tuple[int, ...] = (256, 256, 512, 512, 1024, 1024),
        layers_per_block: int = 2,
        attention_levels: int = 3,
        head_channels: int = 64,
        norm_num_groups: int = 32,
        num_classes: int = 1000,
    ) -> None:
        """Makes an untrained generator.

        Args:
            image_size: side of the images in pixels.
            block_out_channels: channels of each level; the side is halved from each to the next.
            layers_per_block: residual blocks of a level, one more on the way up.
            attention_levels: how many of the last levels have attention.
            head_channels: channels of an attention head.
            norm_num_groups: groups of every group norm.
            num_classes: number of classes.

        Raises:
            ValueError: for sides or channels that are not divisible.
        """
        super().__init__({name: value for name, value in locals().items() if name not in ("self", "__class__")})
        self.network = start_at_zero(ADMNetwork(**unet_arguments(**self.unet), num_class_embeds=num_classes))

    def complete(self, tokenizer: Tokenizer, layout: Any = None) -> Generator:
        """This generator alone, or guided by an `ADMClassifier` in the place of an earlier stage.

        Raises:
            ValueError: for another kind of stage, or a classifier of other images or classes.
        """
        if layout is None:
            return self
        if not isinstance(layout, ADMClassifier):
            raise ValueError(f"generator: expected an ADMClassifier to guide ADM, got a {type(layout).__name__}")
        return GuidedADM(self, layout)

    def loss(self, batch: Mapping[str, Tensor], chance: torch.Generator) -> Tensor:
        """The loss of noise and variance at random times, float[B]."""
        data = batch["latent"]
        noise, t = draw(data, chance)
        return ddpm_loss(lambda x, t: self._predict(x, t, batch["label"]), data, noise, t)

    @torch.no_grad()
    def sample(
        self, labels: Tensor, indices: Sequence[int], seed: int, options: ADMSampling, gradient: Any = None
    ) -> dict[str, Tensor]:
        """{"latent": float[B, 3, H, W]}; for `gradient` see `gpstoken.generators.ddpm.sample`."""
        self.check_labels(labels, indices)
        noise = SampleNoise(seed, indices, self.shape, labels.device)
        return {"latent": sample(lambda x, t: self._predict(x, t, labels), noise, options.steps, True, gradient)}

    def preview(self, labels: Tensor, batch: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
        """Like `sample`, without a classifier."""
        return self.sample(labels, range(len(labels)), 0, ADMSampling(steps))

    def calls(self, options: ADMSampling) -> int:
        """One call per step."""
        return options.steps

    def inputs(self, batch: int) -> dict[str, Tensor]:
        """Noise at random times, for the first class."""
        return {**super().inputs(batch), "label": torch.zeros(batch, dtype=torch.long)}

    def blocks(self) -> Sequence[nn.Module]:
        """The levels on the way down and up, and the middle."""
        return [*self.network.down_blocks, self.network.mid_block, *self.network.up_blocks]

    def _predict(self, x: Tensor, t: Tensor, label: Tensor) -> Prediction:
        return split(self.network(x, t, label).float())


class GuidedADM(Generator):
    """ADM-G: ADM with the gradient of a classifier in every step.

    Attributes:
        classifier: the classifier of noised images, which is trained separately.
        adm: the diffusion.
    """

    options = GuidedADMSampling

    def __init__(self, adm: ADM, classifier: ADMClassifier) -> None:
        """Combines trained stages.

        Raises:
            ValueError: if they are of other sizes or classes.
        """
        super().__init__()
        for name in ("shape", "num_classes"):
            if getattr(adm, name) != getattr(classifier, name):
                raise ValueError(
                    f"generator: {name} of ADM is {getattr(adm, name)}, of its classifier {getattr(classifier, name)}"
                )
        self.adm, self.classifier, self.num_classes = adm, classifier, adm.num_classes
        self.config = {name: stage.config for name, stage in self.stages.items()}

    @property
    def network(self) -> nn.Module:
        """The UNet."""
        return self.adm.network

    @property
    def stages(self) -> dict[str, Generator]:
        """The classifier and the diffusion."""
        return {stage.name: stage for stage in (self.classifier, self.adm)}

    def loss(self, batch: Mapping[str, Tensor], chance: torch.Generator) -> Tensor:
        """The sum of the stages' losses, which are independent of each other."""
        return torch.stack([stage.loss(batch, chance) for stage in self.stages.values()]).sum(0)

    @torch.no_grad()
    def sample(
        self, labels: Tensor, indices: Sequence[int], seed: int, options: GuidedADMSampling
    ) -> dict[str, Tensor]:
        """{"latent": float[B, 3, H, W]}."""

        def gradient(x: Tensor, t: Tensor) -> Tensor:
            return options.guidance * self.classifier.gradient(x, t, labels)

        return self.adm.sample(labels, indices, seed, options, gradient if options.guidance else None)

    def preview(self, labels: Tensor, batch: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
        """Without the classifier."""
        return self.adm.preview(labels, batch, steps)

    def calls(self, options: GuidedADMSampling) -> int:
        """A call of both networks per step."""
        return options.steps * (2 if options.guidance else 1)

    def inputs(self, batch: int) -> dict[str, Tensor]:
        """The inputs of the UNet."""
        return self.adm.inputs(batch)
