"""The two faces of the suite: what every tokenizer is, and what every generator is."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn


class Code(NamedTuple):
    """The rate of a tokenizer: what the tokens of one image are.

    Attributes:
        tokens: how many.
        shape: how they lie, as tables print it: (128,) or (32, 32).
        channels: numbers a token; 1 where a token is an index.
        codebook_size: k where a token is an index of log2(k) bits; None where it is real numbers.
    """

    tokens: int
    shape: tuple[int, ...]
    channels: int
    codebook_size: int | None


class Tokenizer(nn.Module, ABC):
    """What every tokenizer of the suite offers, ours and the others': images to tokens and back.

    Attributes:
        config: the constructor's arguments as plain data; a checkpoint carries them to rebuild the tokenizer.
        differences: name -> two of the names of `pack`, whose difference generators model too; a token cache has its
            statistics.
    """

    config: dict[str, Any]
    differences: ClassVar[dict[str, tuple[str, str]]] = {}

    @abstractmethod
    def encode(self, image: Tensor) -> Any:
        """float[B, 3, H, W] in [-1, 1] to tokens; indices long[B, ...] where `code` names a codebook."""

    @abstractmethod
    def decode(self, tokens: Any) -> Tensor:
        """Tokens to float[B, 3, H, W], about [-1, 1]."""

    @abstractmethod
    def code(self, size: tuple[int, int], num_tokens: int | None = None) -> Code:
        """The tokens that `encode` makes of one image.

        Args:
            size: (H, W) of the image.
            num_tokens: asked for instead of the tokenizer's own number.

        Raises:
            ValueError: for sides that do not fit, or a number that cannot be chosen.
        """

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructs float[B, 3, H, W]."""
        return self.decode(self.encode(image))

    def pack(self, image: Tensor) -> dict[str, Tensor]:
        """What a token cache keeps of float[B, 3, H, W]: its tokens as tensors by name.

        Returns:
            "codes" long[B, ...] of a tokenizer with a codebook, else "latent" float[B, C, h, w], unless a class says
            otherwise; each tensor has one row an image.
        """
        tokens = self.encode(image)
        return {"latent" if tokens.is_floating_point() else "codes": tokens}

    def unpack(self, parts: Mapping[str, Tensor]) -> Any:
        """The tokens that `decode` takes, of what `pack` gave or a generator made."""
        (tokens,) = parts.values()
        return tokens

    def latent_terms(self, image: Tensor) -> dict[str, tuple[Tensor, float]]:
        """What the latent of the last forward in training adds to the loss; nothing, unless a class says more.

        Args:
            image: float[B, 3, H, W] of that forward.

        Returns:
            {name: (value float[], weight)}: the loss gets weight * value beside the mean squared error, the log the
            value.
        """
        return {}

    def networks(self) -> Iterable[nn.Module]:
        """The modules that `forward` calls, which torch.compile compiles one by one."""
        return self.children()

    @property
    @abstractmethod
    def last_layer(self) -> Tensor:
        """The weight at which the adversarial loss is balanced against the reconstruction (adaptive weight)."""


class Generator(nn.Module, ABC):
    """What every generator of the suite offers: new tokens of a class, packed as `Tokenizer.pack` packs them.

    Attributes:
        config: the constructor's arguments as plain data; a checkpoint carries them to rebuild the generator.
        network: what is trained, and called once or many times a sample.
        num_classes: number of classes; labels are 0 to num_classes - 1.
        name: of the stage that it is, where a generator is made of several.
        given: names of the packed parts that an earlier stage makes for it.
        options: the options of `sample`, a frozen dataclass of the family's own; its defaults are the published ones.
    """

    config: dict[str, Any]
    network: nn.Module
    num_classes: int
    name: ClassVar[str] = "generator"
    given: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[type]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A generator without training, of `config`."""
        return cls(**config)

    @property
    def stages(self) -> dict[str, "Generator"]:
        """The generators that are trained apart, in the order in which they sample, by name."""
        return {self.name: self}

    def complete(self, tokenizer: Tokenizer, layout: Any = None) -> "Generator":
        """The generator of images that this one is, or is the last stage of.

        Args:
            tokenizer: of whose tokens it is.
            layout: what a stage before it makes, for a family that has one.

        Raises:
            ValueError: if it lacks such a stage, or has none.
        """
        if layout is not None:
            raise ValueError(f"generator: {type(self).__name__} takes no layout")
        return self

    def prepare(self, record: Mapping[str, Any]) -> None:
        """Takes from the description of a token cache what the tokens need, such as the statistics of channels.

        Args:
            record: cache.json of `gpstoken cache`.

        Raises:
            ValueError: for another number of classes, or tokens that are not of the kind it makes.
        """
        if record["num_classes"] != self.num_classes:  # more would be drawn though never trained
            raise ValueError(f"generator: {self.num_classes} classes, but the cache has {record['num_classes']}")

    @abstractmethod
    def loss(self, batch: Mapping[str, Tensor], chance: torch.Generator) -> Tensor:
        """The training loss of each sample, float[B]; in evaluation mode without what training alone leaves to chance.

        Args:
            batch: samples of a token cache: packed tokens by name, "label" long[B].
            chance: all that is random, on the device of the batch.
        """

    @abstractmethod
    def sample(self, labels: Tensor, indices: Sequence[int], seed: int, options: Any) -> dict[str, Tensor]:
        """Draws the packed tokens of one image a label.

        Args:
            labels: long[B], on the generator's device.
            indices: number of each sample. What is random in a sample depends on its number and the seed alone, never
                on the batch.
            seed: of all that is random.
            options: of the class `options`.

        Raises:
            ValueError: for labels out of range.
        """

    @abstractmethod
    def preview(self, labels: Tensor, batch: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
        """What it makes during its training, in few steps.

        Args:
            labels: long[B].
            batch: the parts `given`, of real samples of these classes.
            steps: of the sampler, at most.
        """

    @abstractmethod
    def calls(self, options: Any) -> int | None:
        """Evaluations of the networks that a batch of samples takes; None where the sampler decides on the way."""

    @abstractmethod
    def inputs(self, batch: int) -> dict[str, Tensor]:
        """Arguments of one evaluation of `network` by name, for counting and timing."""

    def blocks(self) -> Iterable[nn.Module]:
        """The parts that the network repeats, which a training on many devices shares one by one."""
        return ()

    def check_labels(self, labels: Tensor, indices: Sequence[int]) -> None:
        """Refuses labels that are no class, and another number of them than of indices.

        Raises:
            ValueError: that says which.
        """
        if labels.dim() != 1 or bool(((labels < 0) | (labels >= self.num_classes)).any()):
            raise ValueError(f"labels: expected long[B] of 0 to {self.num_classes - 1}, got {labels.tolist()}")
        if len(indices) != len(labels):
            raise ValueError(f"indices: expected one a label, got {len(indices)} for {len(labels)} labels")
