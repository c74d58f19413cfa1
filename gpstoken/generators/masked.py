"""MaskGIT (Chang et al. 2022): a bidirectional transformer fills in masked codes in few steps, surest first."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM

from gpstoken.base import Generator
from gpstoken.flow import SampleNoise
from gpstoken.limits import at_least, between, each, limits, number


@limits(steps=at_least(1), temperature=number(0))
@dataclass(frozen=True)
class MaskedSampling:
    """The options of filling in codes.

    Attributes:
        steps: evaluations of the network (published: 8 to 16).
        temperature: scale of the noise on the confidence that selects the codes to keep; it decreases to 0 at the last
            step.
    """

    steps: int = 12
    temperature: float = 4.5


class Transformer(BertForMaskedLM):
    """BERT, from words to the logits of every word at every position."""

    def forward(self, words: Tensor) -> Tensor:
        """long[B, N] to float[B, N, words]."""
        return super().forward(input_ids=words).logits


class MaskedGenerator(Generator):
    """Generates the codes of an image of a class, starting with all of them masked.

    The transformer reads the class and the codes of one image; its words are the codes, the classes and the mask, in
    that order. The defaults are the published ImageNet model: 172.46 M parameters.

    Attributes:
        network: BERT, with post-norm blocks.
        length: number of codes of an image.
        mask: the word for a masked code.
    """

    options = MaskedSampling

    @limits(
        shape=each(at_least(1)),
        codebook_size=at_least(1),
        num_classes=at_least(1),
        width=at_least(1),
        depth=at_least(1, 1000),
        heads=at_least(1),
        label_smoothing=between(0, 1),
        least_masked=between(0, 1),
        dropout=between(0, 1),
    )
    def __init__(
        self,
        shape: tuple[int, ...] = (16, 16),
        codebook_size: int = 1024,
        num_classes: int = 1000,
        width: int = 768,
        depth: int = 24,
        heads: int = 16,
        label_smoothing: float = 0.1,
        least_masked: float = 0.5,
        dropout: float = 0.1,
    ) -> None:
        """Makes an untrained generator.

        Args:
            shape: shape of the codes of an image, (h, w) for a grid.
            codebook_size: number of different codes.
            num_classes: number of classes.
            width: channels of the transformer; the feed-forward layers have four times as many.
            depth: number of blocks.
            heads: attention heads.
            label_smoothing: share of the target that is spread over all words.
            least_masked: smallest share of codes that training masks.
            dropout: dropout rate of activations and attention weights in training.

        Raises:
            ValueError: if the heads do not divide the width.
        """
        super().__init__()
        shape = tuple(shape)
        self.config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        if width % heads:
            raise ValueError(f"width: {width} is not a multiple of heads {heads}")
        self.shape, self.length, self.codebook_size, self.num_classes = (
            shape,
            math.prod(shape),
            codebook_size,
            num_classes,
        )
        self.label_smoothing, self.least_masked = label_smoothing, least_masked
        self.mask = codebook_size + num_classes
        self.network = Transformer(
            BertConfig(
                vocab_size=self.mask + 1,
                hidden_size=width,
                num_hidden_layers=depth,
                num_attention_heads=heads,
                intermediate_size=4 * width,
                max_position_embeddings=self.length + 1,
                hidden_act="gelu_pytorch_tanh",
                layer_norm_eps=1e-12,
                pad_token_id=None,  # word 0 is a code like any other
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=dropout,
            )
        )

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

    def loss(self, batch: Mapping[str, Tensor], chance: torch.Generator) -> Tensor:
        """Cross-entropy of the masked codes, float[B]: the mean over the masked codes of a sample.

        The share of masked codes is cos(pi u / 2) for u uniform in [0, 1), and at least `least_masked`.

        Args:
            batch: {"codes": long[B, *shape], "label": long[B]}.
            chance: source of the random numbers that select the masked codes.
        """
        codes = batch["codes"].flatten(1)
        draws = torch.rand((len(codes), 1 + self.length), generator=chance, device=codes.device)
        share = torch.cos(math.pi / 2 * draws[:, :1]).clamp(min=self.least_masked)
        # The positions of the smallest draws are masked: at least one, because the share is above 0.
        hidden = draws[:, 1:].argsort(1).argsort(1) < (share * self.length).ceil().clamp(min=1)
        logits = self._logits(torch.where(hidden, self.mask, codes), batch["label"])
        losses = F.cross_entropy(logits.movedim(-1, 1), codes, reduction="none", label_smoothing=self.label_smoothing)
        return (losses * hidden).sum(1) / hidden.sum(1)

    @torch.no_grad()
    def sample(self, labels: Tensor, indices: Sequence[int], seed: int, options: MaskedSampling) -> dict[str, Tensor]:
        """{"codes": long[B, *shape]}.

        In each step every masked code is drawn from the network's prediction. Then the codes with the lowest
        probability, including noise, are masked again: as many as the cosine schedule says, and at least one before the
        last step.
        """
        self.check_labels(labels, indices)
        noise = SampleNoise(seed, indices, (2, self.length), labels.device)
        words = torch.full((len(labels), self.length), self.mask, device=labels.device)
        for step in range(options.steps):
            logits = self._logits(words, labels)[..., : self.codebook_size].double()
            uniform = torch.special.ndtr(noise(step).double())
            cumulative = logits.softmax(-1).cumsum(-1)
            drawn = (
                (cumulative < uniform[:, 0, :, None] * cumulative[..., -1:]).sum(-1).clamp(max=self.codebook_size - 1)
            )
            masked = words == self.mask
            words = torch.where(masked, drawn, words)
            progress = (step + 1) / options.steps
            if step + 1 == options.steps:
                break
            surety = logits.log_softmax(-1).gather(-1, words[..., None])[..., 0]
            surety -= options.temperature * (1 - progress) * (-uniform[:, 1].log()).log()  # Gumbel noise
            surety[~masked] = math.inf
            again = math.floor(self.length * math.cos(math.pi / 2 * progress))
            count = torch.full((len(labels), 1), again, device=labels.device)
            count = count.minimum(masked.sum(1, keepdim=True) - 1).clamp(min=1)
            words = torch.where(surety.argsort(1).argsort(1) < count, self.mask, words)
        return {"codes": words.unflatten(1, self.shape)}

    def calls(self, options: MaskedSampling) -> int:
        """One call per step."""
        return options.steps

    def preview(self, labels: Tensor, batch: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
        """Like `sample`, with at most the published number of steps."""
        how = MaskedSampling(steps=min(steps, MaskedSampling.steps))
        return self.sample(labels, range(len(labels)), 0, how)

    def inputs(self, batch: int) -> dict[str, Tensor]:
        """All codes masked."""
        return {"words": torch.full((batch, 1 + self.length), self.mask)}

    def blocks(self) -> Iterable[nn.Module]:
        """BERT's layers."""
        return self.network.bert.encoder.layer

    def _logits(self, words: Tensor, labels: Tensor) -> Tensor:
        """Logits of every word at the positions of the codes, float[B, length, words]; the class is the first word."""
        words = torch.cat([labels[:, None] + self.codebook_size, words], dim=1)
        return self.network(words)[:, 1:].float()
