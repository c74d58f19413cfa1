"""D2iT (Jia et al. 2025): class -> grain map -> codes, each stage a diffusion in discrete steps, trained separately.

A reimplementation from the paper's description; no weights exist.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gpstoken.base import Generator, Tokenizer
from gpstoken.flow import SampleNoise
from gpstoken.generators.channels import ChannelGenerator
from gpstoken.generators.content_transformer import ContentTransformer
from gpstoken.generators.ddpm import Prediction, ddpm_loss, draw, guided, inputs_of, sample, split
from gpstoken.generators.flow import STREAMS
from gpstoken.generators.grain_map import DynamicGrainSampling, Grain, check_codes
from gpstoken.limits import between, limits


class Content(ChannelGenerator):
    """The second stage, D2iT's Dynamic Content Transformer: the codes of a class and a grain map.

    The loss is a mean over the codes, so that a coarse region, with its one code, counts a quarter of a fine one: what
    the description calls the loss of dynamic grain is read so.
    """

    name = "content"
    given = ("grain",)
    options = DynamicGrainSampling
    own_parts = ("tokens",)
    network_kind = ContentTransformer

    @limits(class_dropout=between(0, 1))
    def __init__(self, network: ContentTransformer, class_dropout: float = 0.1) -> None:
        """Makes an untrained stage.

        Args:
            network: predicts the noise in the codes, and the variance of a step.
            class_dropout: share of samples whose class is hidden in training, for classifier-free guidance.
        """
        super().__init__(network, None, class_dropout)
        self.config = {"network": network.config, "class_dropout": class_dropout}

    def prepare(self, record: Mapping[str, Any]) -> None:
        """Reads mean and standard deviation of the channels.

        Raises:
            ValueError: if the cache has other codes, or another number of classes.
        """
        super().prepare(record)
        check_codes(record, self.network.map_shape, self.network.fine)

    def complete(self, tokenizer: Tokenizer, layout: Any = None) -> "DynamicGrain":
        """Combines it with a `Grain`.

        Raises:
            ValueError: without one, with another kind of stage, or one of other maps.
        """
        if not isinstance(layout, Grain):
            found = "none" if layout is None else f"a {type(layout).__name__}"
            raise ValueError(f"generator: Content needs a Grain stage before it, got {found}")
        own = (self.network.map_shape, self.network.fine, self.num_classes)
        others = (layout.network.shape, layout.fine, layout.num_classes)
        if own != others:
            raise ValueError(f"generator: shape, fine regions and classes are {own}, those of its Grain {others}")
        return DynamicGrain(self, layout)

    def loss(self, batch: Mapping[str, Tensor], chance: torch.Generator) -> Tensor:
        """The loss of noise and variance at random times, float[B], a mean over the codes; see `ddpm_loss`."""
        data = self.normalised(batch)
        noise, t = draw(data, chance)
        label = self.partly_hidden(batch["label"], chance)
        return ddpm_loss(lambda x, t: self._predict(x, t, label, batch["grain"]), data, noise, t)

    @torch.no_grad()
    def sample(
        self, labels: Tensor, indices: Sequence[int], seed: int, options: DynamicGrainSampling, *, grain: Tensor
    ) -> dict[str, Tensor]:
        """{"tokens": float[B, N, C], "grain"}; see `Generator.sample`.

        Args:
            labels: long[B].
            indices: number of each sample.
            seed: seed of the noise.
            options: the sampler and its guidance.
            grain: float[B, h, w, 1], the map of each sample.

        Raises:
            ValueError: for labels out of range, or damaged statistics.
        """
        self.check_labels(labels, indices)
        self.check_trained()
        conditions, null = {"label": labels, "grain": grain}, {"label": torch.full_like(labels, self.num_classes)}
        noise = SampleNoise(STREAMS * seed, indices, self.network.sample_shape, labels.device)
        codes = sample(guided(self._predict, conditions, null, options.guidance), noise, options.steps)
        return {**self.packed(self.in_units(codes), {}), "grain": grain}

    def preview(self, labels: Tensor, batch: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
        """Codes on the grain maps of real images, without guidance."""
        how = DynamicGrainSampling(steps, guidance=1.0)
        return self.sample(labels, range(len(labels)), 0, how, grain=batch["grain"].to(labels.device))

    def calls(self, options: DynamicGrainSampling) -> int:
        """One call per step."""
        return options.steps

    def inputs(self, batch: int) -> dict[str, Tensor]:
        """Noise at random times, for the first class, with the last regions fine."""
        regions = math.prod(self.network.map_shape)
        grain = (torch.arange(regions) >= regions - self.network.fine).float().view(1, *self.network.map_shape, 1)
        given = {"label": torch.zeros(batch, dtype=torch.long), "grain": grain.repeat(batch, 1, 1, 1)}
        return inputs_of(self.network.sample_shape, batch) | given

    def blocks(self) -> Iterable[nn.Module]:
        """The blocks of both transformers."""
        return [*self.network.blocks, *self.network.refine.blocks]

    def _predict(self, x: Tensor, t: Tensor, label: Tensor, grain: Tensor) -> Prediction:
        return split(self.network(x, t, label, grain).float(), axis=-1)


class DynamicGrain(Generator):
    """Both stages.

    Attributes:
        grain: the first stage.
        content: the second stage.
    """

    options = DynamicGrainSampling

    def __init__(self, content: Content, grain: Grain) -> None:
        """Combines trained stages."""
        super().__init__()
        self.content, self.grain, self.num_classes = content, grain, content.num_classes
        self.config = {name: stage.config for name, stage in self.stages.items()}

    @property
    def network(self) -> nn.Module:
        """The network of the second stage."""
        return self.content.network

    @property
    def stages(self) -> dict[str, Generator]:
        """Both stages."""
        return {stage.name: stage for stage in (self.grain, self.content)}

    def loss(self, batch: Mapping[str, Tensor], chance: torch.Generator) -> Tensor:
        """The sum of the stages' losses, which are independent of each other."""
        return torch.stack([stage.loss(batch, chance) for stage in self.stages.values()]).sum(0)

    @torch.no_grad()
    def sample(
        self, labels: Tensor, indices: Sequence[int], seed: int, options: DynamicGrainSampling
    ) -> dict[str, Tensor]:
        """{"tokens", "grain"}; see `Generator.sample`."""
        return self.content.sample(labels, indices, seed, options, **self.grain.sample(labels, indices, seed, options))

    def preview(self, labels: Tensor, batch: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
        """Codes on grain maps of real images."""
        return self.content.preview(labels, batch, steps)

    def calls(self, options: DynamicGrainSampling) -> int:
        """The calls of both stages."""
        return sum(stage.calls(options) for stage in self.stages.values())

    def inputs(self, batch: int) -> dict[str, Tensor]:
        """The inputs of the second stage."""
        return self.content.inputs(batch)
