"""The two interfaces of the suite: `Tokenizer` and `Generator`."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn


class Code(NamedTuple):
    """The rate of a tokenizer: number and size of the tokens of one image.

    Attributes:
        tokens: number of tokens.
        shape: their arrangement, as tables print it: (128,) or (32, 32).
        channels: numbers per token, an index being one of them: 1 where a token is an index alone.
        codebook_size: k where a token has an index of log2(k) bits; None where all its numbers are real. With a
            codebook and 6 channels, a token is 5 real numbers and an index.
    """

    tokens: int
    shape: tuple[int, ...]
    channels: int
    codebook_size: int | None


class Published(nn.Module, ABC):
    """What is rebuilt from `config`, the arguments of its constructor as plain data, and may read published weights."""

    config: dict[str, Any]

    def own_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published weights under the names of this class; needless ones are left out, unknown names are kept."""
        return dict(tensors)


class Tokenizer(Published):
    """The interface of every tokenizer of the suite, GPSToken and the baselines: images to tokens and back.

    Attributes:
        differences: name -> the names of two tensors of `pack` whose difference generators model too; a token cache
            stores the statistics of that difference.
        terms: what a class keeps of its last forward pass in training for `latent_terms`.
        needs_weights: whether its training must start from trained weights, of its own or of a teacher.
    """

    differences: ClassVar[dict[str, tuple[str, str]]] = {}
    terms: Mapping[str, tuple[Tensor, float]] = MappingProxyType({})
    needs_weights: bool = False

    @abstractmethod
    def encode(self, image: Tensor) -> Any:
        """float[B, 3, H, W] in [-1, 1] to tokens: indices long[B, ...] where `code` names a codebook.

        Tokens of real numbers and an index each are a NamedTuple of float[B, N, C] and `indices` long[B, N].
        """

    @abstractmethod
    def decode(self, tokens: Any) -> Tensor:
        """Tokens to float[B, 3, H, W], about [-1, 1]."""

    @abstractmethod
    def code(self, size: tuple[int, int], num_tokens: int | None = None) -> Code:
        """The tokens that `encode` makes of one image.

        Args:
            size: (H, W) of the image.
            num_tokens: the number of tokens, if it differs from the tokenizer's own.

        Raises:
            ValueError: for sides that do not fit, or if the number cannot be chosen.
        """

    def forward(self, image: Tensor) -> Tensor | None:
        """Reconstructs float[B, 3, H, W]; a class whose loss is `latent_terms` alone returns None in training."""
        return self.decode(self.encode(image))

    def pack(self, image: Tensor, num_tokens: int | None = None) -> dict[str, Tensor]:
        """Encodes float[B, 3, H, W] for a token cache: the tokens as tensors by name.

        Args:
            image: float[B, 3, H, W] in [-1, 1].
            num_tokens: number of tokens, for a tokenizer whose number can be chosen; None: its own.

        Returns:
            "codes" long[B, ...] for a tokenizer with a codebook, else "latent" float[B, C, h, w] of a grid or "tokens"
            float[B, N, C], unless a class overrides this. Indices beside real numbers are "codes" too.

        Raises:
            ValueError: like `code`.
        """
        self.code((image.shape[-2], image.shape[-1]), num_tokens)  # before a number is asked for that cannot be had
        tokens = self.encode(image) if num_tokens is None else self.encode(image, num_tokens)
        if not tokens.is_floating_point():
            return {"codes": tokens}
        return {"latent" if tokens.dim() == 4 else "tokens": tokens}

    def unpack(self, parts: Mapping[str, Tensor]) -> Any:
        """The inverse of `pack`: turns packed or generated tensors into the tokens that `decode` takes."""
        (tokens,) = parts.values()
        return tokens

    def latent_terms(self, image: Tensor) -> dict[str, tuple[Tensor, float]]:
        """Loss terms on the latent of the last forward pass in training: `terms`, unless a class overrides this.

        Args:
            image: float[B, 3, H, W], the input of that forward pass.

        Returns:
            {name: (value float[], weight)}: weight * value is added to the loss beside the mean squared error, and
            value is logged.
        """
        return dict(self.terms)

    def networks(self) -> Iterable[nn.Module]:
        """The modules that `forward` calls; torch.compile compiles them one by one."""
        return self.children()

    @property
    @abstractmethod
    def last_layer(self) -> Tensor:
        """The weight whose gradients balance the adversarial loss against the reconstruction (adaptive weight)."""


class Generator(Published):
    """The interface of every generator of the suite: new tokens of a class, packed as `Tokenizer.pack` packs them.

    Attributes:
        network: the trained module, called once or many times per sample.
        num_classes: number of classes; labels are 0 to num_classes - 1.
        name: name of this stage, for a generator of several stages.
        given: names of the packed tensors that an earlier stage generates.
        options: class of the options of `sample`, a frozen dataclass whose defaults are the published ones.
    """

    network: nn.Module
    num_classes: int
    name: ClassVar[str] = "generator"
    given: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[type]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """An untrained generator with the arguments `config`."""
        return cls(**config)

    @classmethod
    def from_pretrained(cls, name: str | Path = "small") -> "Generator":
        """Loads "small", which is in the package, or a complete generator in a file of `gpstoken export`.

        `gpstoken.load_generator` returns the tokenizer of its tokens too.

        Raises:
            ValueError, FileNotFoundError: like `gpstoken.load_generator`.
        """
        # The readers of files know this interface, so they are found when they are needed.
        return importlib.import_module("gpstoken.generators.loading").load_generator(name).generator

    @property
    def stages(self) -> dict[str, "Generator"]:
        """The generators that are trained separately, by name, in the order in which they sample."""
        return {self.name: self}

    def complete(self, tokenizer: Tokenizer, layout: Any = None) -> "Generator":
        """The complete generator of images: this one, or the one whose last stage this is.

        Args:
            tokenizer: the tokenizer whose tokens it generates.
            layout: the earlier stage, for a family that has one.

        Raises:
            ValueError: if the earlier stage is missing, or the family has none.
        """
        if layout is not None:
            raise ValueError(f"generator: {type(self).__name__} takes no layout")
        return self

    def prepare(self, record: Mapping[str, Any]) -> None:
        """Reads what the generator needs from the description of a token cache, such as the channels' statistics.

        Args:
            record: cache.json of `gpstoken cache`.

        Raises:
            ValueError: if the number of classes or the kind of tokens differs from the generator's.
        """
        if record["num_classes"] != self.num_classes:  # with more classes, some would be sampled but never trained
            raise ValueError(f"generator: {self.num_classes} classes, but the cache has {record['num_classes']}")

    @abstractmethod
    def loss(self, batch: Mapping[str, Tensor], chance: torch.Generator) -> Tensor:
        """The training loss of each sample, float[B]; evaluation mode leaves out the randomness of training alone.

        Args:
            batch: samples of a token cache: packed tokens by name, "label" long[B].
            chance: the source of all random numbers, on the device of the batch.
        """

    @abstractmethod
    def sample(self, labels: Tensor, indices: Sequence[int], seed: int, options: Any) -> dict[str, Tensor]:
        """Draws the packed tokens of one image per label.

        Args:
            labels: long[B], on the generator's device.
            indices: the number of each sample. The random numbers of a sample depend on its number and the seed alone,
                never on the batch.
            seed: seed of all random numbers.
            options: an instance of the class `options`.

        Raises:
            ValueError: for labels out of range.
        """

    @abstractmethod
    def preview(self, labels: Tensor, batch: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
        """Draws samples during training, in few steps.

        Args:
            labels: long[B].
            batch: the tensors named in `given`, of real samples of these classes.
            steps: the most steps that the sampler may take.
        """

    @abstractmethod
    def calls(self, options: Any) -> int | None:
        """Network evaluations for a batch of samples; None where the sampler chooses their number as it runs."""

    @abstractmethod
    def inputs(self, batch: int) -> dict[str, Tensor]:
        """The arguments of one evaluation of `network`, by name, for counting and timing."""

    def blocks(self) -> Iterable[nn.Module]:
        """The repeated blocks of the network, which training on many devices shards one by one."""
        return ()

    def check_labels(self, labels: Tensor, indices: Sequence[int]) -> None:
        """Checks that every label is a class and that there is one index per label.

        Raises:
            ValueError: if not.
        """
        if labels.dim() != 1 or bool(((labels < 0) | (labels >= self.num_classes)).any()):
            raise ValueError(f"labels: expected long[B] of 0 to {self.num_classes - 1}, got {labels.tolist()}")
        if len(indices) != len(labels):
            raise ValueError(f"indices: expected one per label, got {len(indices)} for {len(labels)} labels")
