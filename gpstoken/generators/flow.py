"""Flow matching (SiT, Ma et al. 2024) on the continuous tokens of any tokenizer: a field that maps noise to tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gpstoken.flow import SampleNoise, Sampling, flow_loss, guided, sample, training_interval
from gpstoken.flow.fields import PREDICTIONS
from gpstoken.flow.paths import PATHS
from gpstoken.generators.channels import CHANNELS, ChannelGenerator
from gpstoken.limits import limits, one_of
from gpstoken.sit import SiT

STREAMS = 2  # streams of noise, so that the two stages of a sample have different noise


@dataclass(frozen=True)
class FlowSampling(Sampling):
    """The options of the sampler (see `Sampling`) and of classifier-free guidance.

    Attributes:
        guidance: scale of the guidance (release 1.5); 1 is no guidance.
        guidance_interval: times with guidance (release 0.2 to 1; 0 is noise, 1 data).
    """

    guidance: float = 1.5
    guidance_interval: tuple[float, float] = (0.2, 1.0)

    def __post_init__(self) -> None:
        """Checks every value.

        Raises:
            ValueError: naming the first invalid value.
        """
        super().__post_init__()
        low, high = self.guidance_interval
        if not 0 <= low <= high <= 1:
            raise ValueError(f"sampling: guidance_interval must be 0 <= LOW <= HIGH <= 1, got {low:g} {high:g}")


class Flow(ChannelGenerator):
    """A flow on selected tensors of packed tokens.

    With the parts geometry and features it is the paper's baseline without a layout; with the latent of a grid
    autoencoder it is the SiT baseline.
    """

    options = FlowSampling

    @limits(**CHANNELS, path=one_of(*PATHS), prediction=one_of(*PREDICTIONS))
    def __init__(
        self,
        network: SiT,
        parts: tuple[str, ...] | None = None,
        class_dropout: float = 0.1,
        path: str = "linear",
        prediction: str = "velocity",
    ) -> None:
        """Makes an untrained generator.

        Args:
            network: predicts the field, for a sequence or a grid, like the tokens.
            parts: names of the tensors of a token cache that it models; None: the class's own parts.
            class_dropout: share of samples whose class is hidden in training, for classifier-free guidance.
            path: "linear", "gvp" or "vp".
            prediction: what the network predicts, "velocity", "score" or "noise".

        Raises:
            ValueError: without parts, or if the network takes a layout and the class has none, or vice versa.
        """
        super().__init__(network, parts, class_dropout)
        self.path, self.prediction = path, prediction
        self.config |= {"path": path, "prediction": prediction}

    def loss(self, batch: Mapping[str, Tensor], chance: torch.Generator) -> Tensor:
        """The flow-matching loss, float[B]; in training some classes are hidden."""
        data = self.normalised(batch)
        noise = torch.randn(data.shape, generator=chance, device=data.device)
        low, high = training_interval(self.path, self.prediction)
        t = low + (high - low) * torch.rand(len(data), generator=chance, device=data.device)
        given = {"label": self.partly_hidden(batch["label"], chance), **self.condition(batch)}

        def predict(x: Tensor, t: Tensor) -> Tensor:
            return self.network(x, t, **given).float()

        return flow_loss(predict, data, noise, t, self.path, self.prediction)

    @torch.no_grad()
    def sample(
        self,
        labels: Tensor,
        indices: Sequence[int],
        seed: int,
        options: FlowSampling,
        stream: int = 0,
        **condition: Tensor,
    ) -> dict[str, Tensor]:
        """The parts by name; see `Generator.sample`.

        Args:
            labels: long[B].
            indices: number of each sample.
            seed: seed of the noise.
            options: the sampler and its guidance.
            stream: stream of the noise, 0 or 1; the two stages of a sample need different streams.
            **condition: the conditions of the network besides the class.
        """
        self.check_labels(labels, indices)
        self.check_trained()
        conditions = {"label": labels, **condition}
        null = {"label": torch.full_like(labels, self.num_classes)}
        field = guided(self.network, conditions, null, options.guidance, options.guidance_interval)
        noise = SampleNoise(STREAMS * seed + stream, indices, self.network.sample_shape, labels.device)
        latent = sample(field, noise, options, self.path, self.prediction)
        return self.packed(self.in_units(latent), condition)

    def preview(self, labels: Tensor, batch: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
        """Samples with the ODE, without guidance."""
        how = FlowSampling("ode", "euler", steps, guidance=1.0)
        given = {name: value.to(labels.device) for name, value in self.condition(batch).items()}
        return self.sample(labels, range(len(labels)), 0, how, **given)

    def calls(self, options: FlowSampling) -> int | None:
        """One call per step, two with "heun" and "midpoint"; the last step of an SDE takes one."""
        if options.method == "dopri5":
            return None
        last = options.sampler == "sde" and options.last_step != "none"
        return (options.steps - 1) * (1 if options.method == "euler" else 2) + last

    def inputs(self, batch: int) -> dict[str, Tensor]:
        """Noise at random times, for the first class."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            x, t = torch.randn(batch, *self.network.sample_shape), torch.rand(batch)
            given = {"x": x, "t": t, "label": torch.zeros(batch, dtype=torch.long)}
            if self.layout_channels:
                given["layout"] = torch.rand(batch, *self.network.shape, self.layout_channels)
            return given
