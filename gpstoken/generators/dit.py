"""DiT (Peebles and Xie, arXiv 2212.09748): the network of SiT as a discrete diffusion with a learned variance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gpstoken.flow import SampleNoise
from gpstoken.generators.channels import CHANNELS, ChannelGenerator
from gpstoken.generators.ddpm import TIMES, Prediction, ddpm_loss, draw, guided, inputs_of, sample, split
from gpstoken.limits import at_least, limits, number, optional
from gpstoken.sit import SiT

PUBLISHED_SCALE = 0.18215  # by which the published weights multiply the latents of the VAE sd-vae-ft


@limits(steps=at_least(2, TIMES), guidance=number(0), guided_channels=optional(at_least(1)))
@dataclass(frozen=True)
class DiTSampling:
    """The options of the sampler.

    Attributes:
        steps: evaluations of the network, 2 to 1000.
        guidance: scale of classifier-free guidance; 1 is no guidance.
        guided_channels: how many of the first channels are guided; null for all. The published sampler guides 3 of 4.
    """

    steps: int = 250
    guidance: float = 1.5
    guided_channels: int | None = 3


class DiTNetwork(SiT):
    """SiT that gives all its channels: the noise, and where the variance lies in its range."""

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        """float[B, C, h, w], times 0 to 999 and labels long[B] to float[B, 2 C, h, w]."""
        return self.all_channels(x, t, label)[0]


class DiT(ChannelGenerator):
    """A discrete diffusion on the latents of a grid autoencoder."""

    options = DiTSampling
    network_kind = DiTNetwork

    @limits(**CHANNELS)
    def __init__(
        self, network: DiTNetwork, parts: tuple[str, ...] | None = ("latent",), class_dropout: float = 0.1
    ) -> None:
        """Makes an untrained generator.

        Args:
            network: predicts noise and variance on a grid like the tokens.
            parts: names of the tensors of a token cache that it models.
            class_dropout: share of samples whose class is hidden in training, for classifier-free guidance.

        Raises:
            ValueError: without parts, or for a network of a sequence, without learn_sigma or with a layout.
        """
        super().__init__(network, parts, class_dropout)
        if len(network.shape) != 2:
            raise ValueError(f"shape: DiT expects a grid (h, w), got {network.shape}")
        if not network.config["learn_sigma"]:
            raise ValueError("learn_sigma: DiT expects true, for the variance, got false")

    def loss(self, batch: Mapping[str, Tensor], chance: torch.Generator) -> Tensor:
        """The loss of noise and variance at random times, float[B]; in training some classes are hidden."""
        data = self.normalised(batch)
        noise, t = draw(data, chance)
        label = self.partly_hidden(batch["label"], chance)
        return ddpm_loss(lambda x, t: self._predict(x, t, label), data, noise, t)

    @torch.no_grad()
    def sample(self, labels: Tensor, indices: Sequence[int], seed: int, options: DiTSampling) -> dict[str, Tensor]:
        """The parts by name; see `Generator.sample`."""
        self.check_labels(labels, indices)
        self.check_trained()
        null = {"label": torch.full_like(labels, self.num_classes)}
        predict = guided(self._predict, {"label": labels}, null, options.guidance, options.guided_channels)
        noise = SampleNoise(seed, indices, self.network.sample_shape, labels.device)
        return self.packed(self.in_units(sample(predict, noise, options.steps)), {})

    def preview(self, labels: Tensor, batch: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
        """Samples without guidance."""
        return self.sample(labels, range(len(labels)), 0, DiTSampling(steps, guidance=1.0))

    def calls(self, options: DiTSampling) -> int:
        """One call per step."""
        return options.steps

    def inputs(self, batch: int) -> dict[str, Tensor]:
        """Noise at random times, for the first class."""
        return {**inputs_of(self.network.sample_shape, batch), "label": torch.zeros(batch, dtype=torch.long)}

    def own_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict of published weights, whose names are those of `SiT`, with the published scale of latents."""
        channels = self.network.channels
        scale = {"mean": torch.zeros(channels), "std": torch.full((channels,), 1 / PUBLISHED_SCALE)}
        own = {f"network.{name}": tensor for name, tensor in tensors.items()}
        return own | scale | {"widths": torch.tensor([channels])}

    def _predict(self, x: Tensor, t: Tensor, label: Tensor) -> Prediction:
        return split(self.network(x, t, label).float())
