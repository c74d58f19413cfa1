"""What all masked generators share: which codes are masked in training, and how an image's codes are filled in."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from gpstoken.flow import SampleNoise
from gpstoken.generators.hidden_classes import HiddenClasses
from gpstoken.generators.masked_sampling import MaskedSampling, fill_in
from gpstoken.limits import Limit, at_least, between, each

LIMITS: dict[str, Limit] = {
    "shape": each(at_least(1)),
    "num_classes": at_least(1),
    "width": at_least(1),
    "depth": at_least(1, 1000),
    "heads": at_least(1),
    "label_smoothing": between(0, 1),
}


class MaskedCodes(HiddenClasses):
    """Generates the codes of an image of a class, starting with all of them masked.

    A network reads words: the codes of an image, with a special word for a masked one. A subclass makes the network,
    and may divide a code into groups of bits that are masked one by one.

    Attributes:
        shape: shape of the codes of an image.
        length: number of codes of an image.
        codebook_size: number of different codes.
        places: number of words of an image.
        choices: number of different words of a place, besides the one for a masked place.
        mask: the word for a masked place.
    """

    options: ClassVar[type] = MaskedSampling
    mask: int

    def __init__(
        self,
        config: Mapping[str, Any],
        codebook_size: int,
        groups: int = 1,
        least_masked: float = 0.0,
        class_dropout: float = 0.0,
    ) -> None:
        """Reads what the arguments of a subclass have in common.

        Args:
            config: the arguments of the subclass, among them shape, num_classes, width, heads and label_smoothing, the
                share of the target that is spread over all words.
            codebook_size: number of different codes.
            groups: words of a code.
            least_masked: smallest share of words that training masks.
            class_dropout: share of samples whose class is hidden in training, for classifier-free guidance.

        Raises:
            ValueError: if the heads do not divide the width.
        """
        super().__init__()
        self.config = dict(config)
        if config["width"] % config["heads"]:
            raise ValueError(f"width: {config['width']} is not a multiple of heads {config['heads']}")
        self.shape, self.num_classes, self.codebook_size = config["shape"], config["num_classes"], codebook_size
        self.length = math.prod(self.shape)
        self.places, self.choices = self.length * groups, round(codebook_size ** (1 / groups))
        self.label_smoothing, self.least_masked = config["label_smoothing"], least_masked
        self.class_dropout = class_dropout

    def prepare(self, record: Mapping[str, Any]) -> None:
        """Checks that the cache has codes of this codebook and shape, and nothing beside them.

        Raises:
            ValueError: if the codes differ, or the number of classes.
        """
        super().prepare(record)
        code = record["code"]
        if (code["codebook_size"], tuple(code["shape"])) != (self.codebook_size, self.shape):
            raise ValueError(
                f"generator: makes {list(self.shape)} codes of a codebook of {self.codebook_size}, but the cache has "
                f"{code['shape']} tokens, {code['codebook_size'] or 'no'} codes"
            )
        if code["channels"] != 1:
            raise ValueError(f"generator: makes codes alone, but a token has {code['channels'] - 1} numbers beside one")

    @abstractmethod
    def logits(self, words: Tensor, labels: Tensor) -> Tensor:
        """The network's prediction.

        Args:
            words: long[B, places].
            labels: long[B]; `num_classes` for a hidden class, where there is guidance.

        Returns:
            float32[B, places, at least choices], the words of a place first.
        """

    def words_of(self, codes: Tensor) -> Tensor:
        """Codes long[B, length] as words long[B, places]."""
        return codes

    def codes_of(self, words: Tensor) -> Tensor:
        """The inverse of `words_of`."""
        return words

    def loss(self, batch: Mapping[str, Tensor], chance: torch.Generator) -> Tensor:
        """Cross-entropy of the masked words, float[B]: the mean over the masked words of a sample.

        The share of masked words is the sampler's schedule at a uniform random number, and at least `least_masked`.

        Args:
            batch: {"codes": long[B, *shape], "label": long[B]}.
            chance: source of the random numbers that select the masked words.
        """
        words, labels = self.words_of(batch["codes"].flatten(1)), batch["label"]
        draws = torch.rand((len(words), 1 + self.places), generator=chance, device=words.device)
        angle = math.pi / 2
        cosine = self.options.mask_schedule == "cosine"
        share = torch.cos(angle * draws[:, :1]) if cosine else draws[:, :1].acos() / angle
        # The places of the smallest draws are masked: at least one.
        count = (share.clamp(min=self.least_masked) * self.places).ceil().clamp(min=1)
        hidden = draws[:, 1:].argsort(1).argsort(1) < count
        labels = self.partly_hidden(labels, chance)
        logits = self.logits(torch.where(hidden, self.mask, words), labels)
        losses = F.cross_entropy(logits.movedim(-1, 1), words, reduction="none", label_smoothing=self.label_smoothing)
        return (losses * hidden).sum(1) / hidden.sum(1)

    @torch.no_grad()
    def sample(self, labels: Tensor, indices: Sequence[int], seed: int, options: MaskedSampling) -> dict[str, Tensor]:
        """{"codes": long[B, *shape]}; see `fill_in`."""
        self.check_labels(labels, indices)
        null = torch.full_like(labels, self.num_classes)

        def predict(words: Tensor, guidance: float) -> Tensor:
            if guidance == 0:
                return self.logits(words, labels)[..., : self.choices]
            both = self.logits(torch.cat([words, words]), torch.cat([labels, null]))[..., : self.choices].double()
            conditional, unconditional = both.chunk(2)
            return conditional + guidance * (conditional - unconditional)

        noise = SampleNoise(seed, indices, (2, self.places), labels.device)
        words = torch.full((len(labels), self.places), self.mask, device=labels.device)
        words = fill_in(predict, words, self.mask, noise, options)
        return {"codes": self.codes_of(words).unflatten(1, self.shape)}

    def calls(self, options: MaskedSampling) -> int:
        """One call per step; where there is guidance, for twice as many rows."""
        return options.steps

    def preview(self, labels: Tensor, batch: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
        """Like `sample`, with at most the published number of steps."""
        how = self.options(steps=min(steps, self.options.steps))
        return self.sample(labels, range(len(labels)), 0, how)
