"""The common base of generators of real-valued tokens whose network is a SiT: what they model, and in which units."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from gpstoken.generators.hidden_classes import HiddenClasses
from gpstoken.limits import Limit, between, each, optional, text
from gpstoken.sit import SiT

# Limits of the arguments that the constructors of these generators share.
CHANNELS: dict[str, Limit] = {"parts": optional(each(text())), "class_dropout": between(0, 1)}


class ChannelGenerator(HiddenClasses):
    """Selected tensors of packed tokens, their channels concatenated and normalised to mean 0, deviation 1.

    Attributes:
        parts: names of the tensors, in order.
        mean: float[C], mean of the channels over the training set (release: `means` of its configuration).
        std: float[C], standard deviation of the channels.
        widths: long[parts], channels of each part.
        layout_channels: channels of the layout that conditions the network.
        own_parts: the fixed parts of a subclass.
        network_kind: class of the network.
    """

    own_parts: ClassVar[tuple[str, ...]] = ()
    layout_channels: ClassVar[int] = 0
    network_kind: ClassVar[type[SiT]] = SiT

    def __init__(self, network: SiT, parts: tuple[str, ...] | None, class_dropout: float) -> None:
        """Makes an untrained generator.

        Args:
            network: for a sequence or a grid, like the tokens.
            parts: names of the tensors of a token cache that it models; None: the class's own parts.
            class_dropout: share of samples whose class is hidden in training, for classifier-free guidance.

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
        self.network, self.num_classes, self.class_dropout = network, network.num_classes, class_dropout
        self.config = {"network": network.config, "parts": list(self.parts), "class_dropout": class_dropout}
        # Buffers, because they must be on the device of the tokens, and be restored when a run resumes.
        self.register_buffer("mean", torch.zeros(network.channels))
        self.register_buffer("std", torch.ones(network.channels))
        self.register_buffer("widths", torch.zeros(len(self.parts), dtype=torch.long))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """An untrained generator with the arguments `config`."""
        return cls(**{**config, "network": cls.network_kind(**config["network"])})

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

    def normalised(self, batch: Mapping[str, Tensor]) -> Tensor:
        """`data` with mean 0 and deviation 1."""
        return (self.data(batch) - self._broadcast(self.mean)) / self._broadcast(self.std)

    def in_units(self, latent: Tensor) -> Tensor:
        """The inverse of the normalisation: generated data in the units of the tokens."""
        return latent * self._broadcast(self.std) + self._broadcast(self.mean)

    def check_trained(self) -> None:
        """Checks that the channels have a mean and a deviation.

        Raises:
            ValueError: if not.
        """
        if int(self.widths.sum()) != self.network.channels or not bool((self.std > 0).all()):
            raise ValueError("generator: untrained, or damaged: its channels have no mean or standard deviation")

    def blocks(self) -> Iterable[nn.Module]:
        """The transformer's blocks."""
        return self.network.blocks

    @property
    def _axis(self) -> int:
        """The axis of the channels: the last of a sequence, the second of a grid."""
        return -1 if len(self.network.shape) == 1 else 1

    def _broadcast(self, values: Tensor) -> Tensor:
        return values if self._axis == -1 else values[:, None, None]
