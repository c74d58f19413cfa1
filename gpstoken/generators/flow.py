"""Flow matching (SiT, Ma et al. 2024) on the continuous tokens of any tokenizer: a field that maps noise to tokens."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from gpstoken.base import Generator
from gpstoken.flow import SampleNoise, flow_loss, guided, sample, training_interval
from gpstoken.flow.fields import PREDICTIONS
from gpstoken.flow.paths import PATHS
from gpstoken.generators.recipes import RECIPES, FlowSampling
from gpstoken.limits import between, each, limits, one_of, optional, text
from gpstoken.sit import SiT

STREAMS = 2  # streams of noise, so that the two stages of a sample have different noise
LINEAR = r"^x_embedder\.(?!proj\.)"  # the embedding in published networks for sequences, here a convolution of 1 x 1
DIRECTIONS = ("to_data", "to_noise")  # of the network's time


class Flow(Generator):
    """A flow on selected tensors of packed tokens, their channels concatenated and normalised to mean 0, deviation 1.

    With the parts geometry and features it is the paper's baseline without a layout; with the latent of a grid
    autoencoder it is the SiT baseline.

    Attributes:
        parts: names of the tensors, in order.
        mean: float[C], mean of the channels over the training set (release: `means` of its configuration).
        std: float[C], standard deviation of the channels.
        widths: long[parts], channels of each part.
        layout_channels: channels of the layout that conditions the network.
        own_parts: the fixed parts of a subclass.
    """

    own_parts: ClassVar[tuple[str, ...]] = ()
    layout_channels: ClassVar[int] = 0

    @limits(
        parts=optional(each(text())),
        class_dropout=between(0, 1),
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
        super().__init__()
        self.parts = self.own_parts if parts is None else tuple(parts)
        if not self.parts:
            raise ValueError("parts: expected a list of names of a token cache, such as [latent], got null")
        if network.layout_channels != self.layout_channels:
            kind = type(self).__name__
            raise ValueError(f"layout_channels: {kind} expects {self.layout_channels}, got {network.layout_channels}")
        self.network, self.num_classes = network, network.num_classes
        self.class_dropout, self.path, self.prediction = class_dropout, path, prediction
        self.time_direction, self.recipe = time_direction, recipe
        self.config = {
            "network": network.config,
            "parts": list(self.parts),
            "class_dropout": class_dropout,
            "path": path,
            "prediction": prediction,
            "time_direction": time_direction,
            "recipe": recipe,
        }
        # Buffers, because they must be on the device of the tokens, and be restored when a run resumes.
        self.register_buffer("mean", torch.zeros(network.channels))
        self.register_buffer("std", torch.ones(network.channels))
        self.register_buffer("widths", torch.zeros(len(self.parts), dtype=torch.long))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """An untrained generator with the arguments `config`."""
        return cls(**{**config, "network": SiT(**config["network"])})

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

    def prepare(self, record: Mapping[str, Any]) -> None:
        """Reads mean and standard deviation of the channels.

        Raises:
            ValueError: if the cache has other parts, channels or classes.
        """
        super().prepare(record)
        statistics, channels = record["statistics"], self.network.channels
        if missing := [part for part in self.parts if part not in statistics]:
            held = ", ".join(statistics) or "none"
            raise ValueError(f"generator: needs {', '.join(missing)}, but the cache holds {held}")
        widths = [len(statistics[part]["mean"]) for part in self.parts]
        if sum(widths) != channels:
            raise ValueError(f"network: {channels} channels, but {' and '.join(self.parts)} have {sum(widths)}")
        for name in ("mean", "std"):
            values = [value for part in self.parts for value in statistics[part][name]]
            getattr(self, name).copy_(torch.tensor(values))
        self.widths.copy_(torch.tensor(widths))

    def data(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The modelled tensors, in the units of the tokens: float[B, N, C], or for a grid float[B, C, h, w]."""
        return torch.cat([batch[part] for part in self.parts], dim=self._axis)

    def packed(self, data: Tensor, condition: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `data`: splits generated data into the parts by name, given the condition."""
        return dict(zip(self.parts, data.split(self.widths.tolist(), dim=self._axis), strict=True))

    def condition(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The conditions of the network besides the class, as its arguments by name."""
        return {}

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
        data = (self.data(batch) - self._broadcast(self.mean)) / self._broadcast(self.std)
        noise = torch.randn(data.shape, generator=chance, device=data.device)
        low, high = training_interval(self.path, self.prediction)
        t = low + (high - low) * torch.rand(len(data), generator=chance, device=data.device)
        drop = self.class_dropout if self.training else 0.0
        hidden = torch.rand(len(data), generator=chance, device=data.device) < drop
        label = torch.where(hidden, self.num_classes, batch["label"])
        return data, noise, t, {"label": label, **self.condition(batch)}

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
        if int(self.widths.sum()) != self.network.channels or not bool((self.std > 0).all()):
            raise ValueError("generator: untrained, or damaged: its channels have no mean or standard deviation")
        conditions = {"label": labels, **condition}
        null = {"label": torch.full_like(labels, self.num_classes)}
        field = guided(self.field, conditions, null, options.guidance, options.guidance_interval)
        noise = SampleNoise(STREAMS * seed + stream, indices, self.network.sample_shape, labels.device)
        latent = sample(field, noise, options, self.path, self.prediction)
        return self.packed(latent * self._broadcast(self.std) + self._broadcast(self.mean), condition)

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

    def blocks(self) -> Iterable[nn.Module]:
        """The transformer's blocks."""
        return self.network.blocks

    @property
    def _axis(self) -> int:
        """The axis of the channels: the last of a sequence, the second of a grid."""
        return -1 if len(self.network.shape) == 1 else 1

    def _broadcast(self, values: Tensor) -> Tensor:
        return values if self._axis == -1 else values[:, None, None]
