"""The generators of TiTok (Yu et al. 2024) and One-D-Piece (Miwa et al. 2025), which fill in sequences of codes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertModel

from gpstoken.generators.masked import bert_config
from gpstoken.generators.masked_codes import LIMITS, MaskedCodes
from gpstoken.generators.masked_names import bert_to_own, uvit_to_own
from gpstoken.generators.masked_sampling import GUIDED, GuidedMaskedSampling
from gpstoken.generators.uvit import UViT
from gpstoken.limits import at_least, between, limits

CODES = LIMITS | {"codebook_size": at_least(1), "class_dropout": between(0, 1)}


@limits(**GUIDED)
@dataclass(frozen=True)
class UViTSampling(GuidedMaskedSampling):
    """The published options of TiTok-S128's generator; see `GuidedMaskedSampling`."""

    steps: int = 64
    temperature: float = 2.8
    guidance: float = 6.9
    guidance_schedule: str = "power-cosine"


@limits(**GUIDED)
@dataclass(frozen=True)
class OneDPieceSampling(GuidedMaskedSampling):
    """The published options of the generator of One-D-Piece-S-256; see `GuidedMaskedSampling`.

    For One-D-Piece-B-256 the guidance is 8.5, for L-256 it is 5.5. The temperature and the schedule are TiTok-B64's.
    """

    steps: int = 16
    guidance: float = 12.5


class CodeTransformer(nn.Module):
    """BERT without its head, and a linear layer in its place."""

    def __init__(self, words: int, codes: int, length: int, width: int, depth: int, heads: int, dropout: float) -> None:
        """Makes the network; `words` is what it reads, `codes` what it predicts."""
        super().__init__()
        config = bert_config(words, length, width, depth, heads, dropout, "gelu")
        self.bert = BertModel(config, add_pooling_layer=False)
        self.to_codes = nn.Linear(width, codes)
        nn.init.normal_(self.to_codes.weight, std=config.initializer_range)
        nn.init.zeros_(self.to_codes.bias)

    def forward(self, words: Tensor) -> Tensor:
        """A class and codes long[B, 1 + N] to logits float[B, N, codes]."""
        return self.to_codes(self.bert(input_ids=words).last_hidden_state[:, 1:])


class SequenceGenerator(MaskedCodes):
    """What both networks share: their words are the codes, the mask, the classes and the hidden class, in that order.

    The class is the first word.

    Attributes:
        words: number of different words that the network reads.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Reads the arguments of a subclass; see `MaskedCodes`."""
        super().__init__(config, config["codebook_size"], class_dropout=config["class_dropout"])
        self.mask = self.codebook_size
        self.words = self.codebook_size + 1 + self.num_classes + 1

    def logits(self, words: Tensor, labels: Tensor) -> Tensor:
        """Logits of every code, float[B, length, codebook_size]."""
        return self.network(torch.cat([labels[:, None] + self.mask + 1, words], dim=1)).float()

    def inputs(self, batch: int) -> dict[str, Tensor]:
        """The first class, with all codes masked."""
        first = torch.full((batch, 1), self.mask + 1)
        return {"words": torch.cat([first, torch.full((batch, self.length), self.mask)], dim=1)}


class TiTokGenerator(SequenceGenerator):
    """A BERT that fills in the codes of TiTok or One-D-Piece; the defaults are TiTok-B64's, 177.23 M parameters.

    Attributes:
        network: post-norm blocks, `CodeTransformer`.
    """

    options = GuidedMaskedSampling

    @limits(**CODES, dropout=between(0, 1))
    def __init__(
        self,
        shape: tuple[int, ...] = (64,),
        codebook_size: int = 4096,
        num_classes: int = 1000,
        width: int = 768,
        depth: int = 24,
        heads: int = 16,
        label_smoothing: float = 0.1,
        class_dropout: float = 0.1,
        dropout: float = 0.1,
    ) -> None:
        """Makes an untrained generator.

        Args:
            shape: shape of the codes of an image, (N,) for a sequence.
            codebook_size: number of different codes.
            num_classes: number of classes.
            width: channels of the transformer; the feed-forward layers have four times as many.
            depth: number of blocks.
            heads: attention heads.
            label_smoothing: share of the target that is spread over all codes.
            class_dropout: share of samples whose class is hidden in training, for classifier-free guidance.
            dropout: dropout rate of activations and attention weights in training.

        Raises:
            ValueError: if the heads do not divide the width.
        """
        shape = tuple(shape)
        config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__(config)
        self.network = CodeTransformer(self.words, codebook_size, self.length, width, depth, heads, dropout)

    def blocks(self) -> Iterable[nn.Module]:
        """BERT's layers."""
        return self.network.bert.encoder.layer

    def own_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict of the published weights."""
        return bert_to_own(tensors)


class OneDPieceGenerator(TiTokGenerator):
    """The generator of One-D-Piece: TiTok's, for 256 codes, with other defaults of the sampler."""

    options = OneDPieceSampling


class UViTGenerator(SequenceGenerator):
    """A U-ViT that fills in the codes of TiTok; the defaults are TiTok-S128's, 294.99 M parameters (paper: 287 M).

    Attributes:
        network: pre-norm blocks with skip connections, `gpstoken.generators.uvit.UViT`.
    """

    options = UViTSampling

    @limits(**CODES)
    def __init__(
        self,
        shape: tuple[int, ...] = (128,),
        codebook_size: int = 4096,
        num_classes: int = 1000,
        width: int = 1024,
        depth: int = 21,
        heads: int = 16,
        label_smoothing: float = 0.1,
        class_dropout: float = 0.1,
    ) -> None:
        """Makes an untrained generator.

        Args:
            shape: shape of the codes of an image, (N,) for a sequence.
            codebook_size: number of different codes.
            num_classes: number of classes.
            width: channels of the transformer; the feed-forward layers have four times as many.
            depth: number of blocks, odd: those before the middle one are joined with those after it.
            heads: attention heads.
            label_smoothing: share of the target that is spread over all codes.
            class_dropout: share of samples whose class is hidden in training, for classifier-free guidance.

        Raises:
            ValueError: if the heads do not divide the width, or the depth is even.
        """
        shape = tuple(shape)
        config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__(config)
        self.network = UViT(self.words, codebook_size, self.length, width, depth, heads)

    def blocks(self) -> Iterable[nn.Module]:
        """The blocks of the network."""
        return [*self.network.in_blocks, self.network.mid_block, *self.network.out_blocks]

    def own_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict of the published weights."""
        return uvit_to_own(tensors)
