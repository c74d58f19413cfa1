"""Flow matching (SiT, Ma et al. 2024) on the continuous tokens of any tokenizer: a field that maps noise to tokens."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gpstoken.flow import SampleNoise, flow_loss, guided, sample, training_interval
from gpstoken.flow.fields import PREDICTIONS
from gpstoken.flow.paths import PATHS
from gpstoken.generators.channels import CHANNELS, ChannelGenerator
from gpstoken.generators.recipes import RECIPES, FlowSampling
from gpstoken.limits import limits, one_of
from gpstoken.sit import SiT

STREAMS = 2  # streams of noise, so that the two stages of a sample have different noise
LINEAR = r"^x_embedder\.(?!proj\.)"  # the embedding in published networks for sequences, here a convolution of 1 x 1
DIRECTIONS = ("to_data", "to_noise")  # of the network's time


class Flow(ChannelGenerator):
    """A flow on selected tensors of packed tokens.

    With the parts geometry and features it is the paper's baseline without a layout; with the latent of a grid
    autoencoder it is the SiT baseline.
    """

    @limits(
        **CHANNELS,
        path=one_of(*PATHS),
        prediction=one_of(*PREDICTIONS),
        time_direction=one_of(*DIRECTIONS),
        recipe=one_of(*RECIPES),
    )
    def __init__(
        self,
        network: SiT,
        parts: tuple[str, ...] | None = None,
        class_dropout: float = 0.1,
        path: str = "linear",
        prediction: str = "velocity",
        time_direction: str = "to_data",
        recipe: str = "gpstoken",
    ) -> None:
        """Makes an untrained generator.

        Args:
            network: predicts the field, for a sequence or a grid, like the tokens.
            parts: names of the tensors of a token cache that it models; None: the class's own parts.
            class_dropout: share of samples whose class is hidden in training, for classifier-free guidance.
            path: "linear", "gvp" or "vp".
            prediction: what the network predicts, "velocity", "score" or "noise".
            time_direction: where the network's own time runs from 0 to 1: "to_data" from noise to data (SiT, GPSToken),
                "to_noise" from data to noise (REPA, SoftVQ-VAE, MAETok), and so does the velocity that it predicts.
            recipe: how it is sampled by default, see `RECIPES`.

        Raises:
            ValueError: without parts, or if the network takes a layout and the class has none, or vice versa.
        """
        super().__init__(network, parts, class_dropout)
        self.path, self.prediction, self.time_direction, self.recipe = path, prediction, time_direction, recipe
        self.config |= {"path": path, "prediction": prediction, "time_direction": time_direction, "recipe": recipe}

    @property
    def options(self) -> type[FlowSampling]:
        """The options of its recipe."""
        return RECIPES[self.recipe]

    def own_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The published network's tensors under the names of `state_dict`; the statistics are left to `prepare`."""
        own = {f"network.{re.sub(LINEAR, 'x_embedder.proj.', name)}": tensor for name, tensor in tensors.items()}
        embedding = own.get("network.x_embedder.proj.weight")
        if embedding is not None and embedding.dim() == 2:
            own["network.x_embedder.proj.weight"] = embedding[..., None, None]
        channels = self.network.channels
        untrained = {"mean": torch.zeros(channels), "std": torch.ones(channels)}
        return own | untrained | {"widths": torch.zeros(len(self.parts), dtype=torch.long)}

    def field(self, x: Tensor, t: Tensor, **given: Any) -> Any:
        """The network's prediction in this project's direction of time, 0 noise and 1 data; see `SiT.forward`."""
        if self.time_direction == "to_data":
            return self.network(x, t, **given)
        output = self.network(x, 1 - t, **given)
        # Velocities change their sign with the direction; scores and noise have none.
        sign = -1 if self.prediction == "velocity" else 1
        return (sign * output[0], output[1]) if "tap" in given else sign * output

    def draw(
        self, batch: Mapping[str, Tensor], chance: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """What one step of training needs.

        Returns:
            Normalised data and noise of its shape, times float[B], and the conditions of the network, among which some
            classes are hidden in training.
        """
        data = self.normalised(batch)
        noise = torch.randn(data.shape, generator=chance, device=data.device)
        low, high = training_interval(self.path, self.prediction)
        t = low + (high - low) * torch.rand(len(data), generator=chance, device=data.device)
        return data, noise, t, {"label": self.partly_hidden(batch["label"], chance), **self.condition(batch)}

    def loss(self, batch: Mapping[str, Tensor], chance: torch.Generator) -> Tensor:
        """The flow-matching loss, float[B]; in training some classes are hidden."""
        data, noise, t, given = self.draw(batch, chance)

        def predict(x: Tensor, t: Tensor) -> Tensor:
            return self.field(x, t, **given).float()

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
        field = guided(self.field, conditions, null, options.guidance, options.guidance_interval)
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
