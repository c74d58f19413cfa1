"""The generator of MaskBit (Weber et al. 2024), which reads bits, not embeddings of codes, and masks half codes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from gpstoken.generators.masked_codes import LIMITS, MaskedCodes
from gpstoken.generators.masked_names import maskbit_to_own
from gpstoken.generators.masked_sampling import GUIDED, GuidedMaskedSampling
from gpstoken.limits import at_least, between, limits

EPS = 1e-12  # of the layer norms, as in BERT
INITIAL = 0.02  # deviation of the initial weights


@limits(**GUIDED)
@dataclass(frozen=True)
class BitSampling(GuidedMaskedSampling):
    """The published options of MaskBit's generator of 14 bits; see `GuidedMaskedSampling`.

    With 256 steps, and other values of guidance and temperature, it has the best FID of the paper, 1.52.
    """

    steps: int = 64
    temperature: float = 7.8
    guidance: float = 7.1
    guidance_schedule: str = "cosine"
    noise: ClassVar[str] = "confidence"


class BitTransformer(nn.Module):
    """Post-norm blocks that read the bits of the codes, and last the class."""

    def __init__(
        self, bits: int, outputs: int, length: int, classes: int, width: int, depth: int, heads: int, dropout: float
    ) -> None:
        """Makes the network.

        Args:
            bits: bits of a code.
            outputs: logits of a code, of all its groups of bits together.
            length: number of codes of an image.
            classes: number of classes, with the hidden one.
            width: channels.
            depth: number of blocks.
            heads: attention heads.
            dropout: dropout rate in training.
        """
        super().__init__()
        self.from_bits = nn.Linear(bits, width)
        self.classes = nn.Embedding(classes, width)
        self.positions = nn.Parameter(torch.zeros(length + 1, width))
        self.norm, self.dropout = nn.LayerNorm(width, EPS), nn.Dropout(dropout)
        settings = {"activation": "gelu", "layer_norm_eps": EPS, "batch_first": True, "norm_first": False}
        self.blocks = nn.Sequential(
            *(nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, **settings) for _ in range(depth))
        )
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width, EPS))
        self.to_bits = nn.Linear(width, outputs)
        nn.init.normal_(self.positions, std=INITIAL)
        for part in (self.from_bits, self.classes, self.head[0], self.to_bits):
            nn.init.normal_(part.weight, std=INITIAL)

    def forward(self, bits: Tensor, labels: Tensor) -> Tensor:
        """Bits float[B, N, bits] of -1 and 1, 0 for masked ones, and classes long[B] to float[B, N, outputs]."""
        x = torch.cat([self.from_bits(bits), self.classes(labels)[:, None]], dim=1) + self.positions
        x = self.blocks(self.dropout(self.norm(x)))
        return self.to_bits(self.head(x[:, :-1]))


class BitGenerator(MaskedCodes):
    """Fills in the codes of MaskBit; the defaults are the published model of 14 bits, 304.93 M parameters.

    A code has groups of consecutive bits, the least significant first. A group is one of 2 ** (bits / groups) words,
    and is masked and predicted apart from the others; the network reads the bits themselves (MaskBit, section 4).

    Attributes:
        network: post-norm blocks, `BitTransformer`.
    """

    options = BitSampling

    @limits(
        **LIMITS,
        bits=at_least(1, 20),
        groups=at_least(1, 20),
        class_dropout=between(0, 1),
        dropout=between(0, 1),
    )
    def __init__(
        self,
        shape: tuple[int, ...] = (16, 16),
        bits: int = 14,
        groups: int = 2,
        num_classes: int = 1000,
        width: int = 1024,
        depth: int = 24,
        heads: int = 16,
        label_smoothing: float = 0.1,
        class_dropout: float = 0.1,
        dropout: float = 0.1,
    ) -> None:
        """Makes an untrained generator.

        Args:
            shape: shape of the codes of an image, (h, w) for a grid.
            bits: bits of a code; the codebook has 2 ** bits entries.
            groups: groups of a code; divides the bits.
            num_classes: number of classes.
            width: channels of the transformer; the feed-forward layers have four times as many.
            depth: number of blocks.
            heads: attention heads.
            label_smoothing: share of the target that is spread over all words of a group.
            class_dropout: share of samples whose class is hidden in training, for classifier-free guidance.
            dropout: dropout rate of activations and attention weights in training.

        Raises:
            ValueError: if the heads do not divide the width, or the groups the bits.
        """
        shape = tuple(shape)
        config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        if bits % groups:
            raise ValueError(f"bits: {bits} is not a multiple of groups {groups}")
        super().__init__(config, 2**bits, groups, class_dropout=class_dropout)
        self.mask = self.choices
        self.groups, self.group_bits = groups, bits // groups
        self.network = BitTransformer(
            bits, groups * self.choices, self.length, num_classes + 1, width, depth, heads, dropout
        )

    def words_of(self, codes: Tensor) -> Tensor:
        """Codes long[B, length] as groups of bits long[B, length * groups], those of a code beside each other."""
        shifts = self.group_bits * torch.arange(self.groups, device=codes.device)
        return ((codes[..., None] >> shifts) % self.choices).flatten(1)

    def codes_of(self, words: Tensor) -> Tensor:
        """The inverse of `words_of`."""
        shifts = self.group_bits * torch.arange(self.groups, device=words.device)
        return (words.unflatten(1, (self.length, self.groups)) << shifts).sum(-1)

    def bits_of(self, words: Tensor) -> Tensor:
        """Words long[B, length * groups] as bits float[B, length, bits] of -1 and 1; those of masked groups are 0."""
        bits = (words[..., None] >> torch.arange(self.group_bits, device=words.device)) % 2
        signs = torch.where(words[..., None] == self.mask, 0, 2 * bits - 1)
        return signs.reshape(len(words), self.length, -1).to(self.network.positions.dtype)

    def logits(self, words: Tensor, labels: Tensor) -> Tensor:
        """Logits of every word of a group, float[B, length * groups, choices]."""
        logits = self.network(self.bits_of(words), labels).float()
        return logits.reshape(len(words), self.places, self.choices)

    def inputs(self, batch: int) -> dict[str, Tensor]:
        """The first class, with all bits masked."""
        bits = torch.zeros(batch, self.length, self.config["bits"])
        return {"bits": bits, "labels": torch.zeros(batch, dtype=torch.long)}

    def blocks(self) -> Iterable[nn.Module]:
        """The blocks of the network."""
        return self.network.blocks

    def own_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict of the published weights."""
        return maskbit_to_own(tensors)
