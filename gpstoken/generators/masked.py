"""MaskGIT (Chang et al. 2022): a bidirectional transformer fills in masked codes in few steps, surest first."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM

from gpstoken.generators.masked_codes import LIMITS, MaskedCodes
from gpstoken.generators.masked_names import maskgit_to_own
from gpstoken.limits import at_least, between, limits


class Transformer(BertForMaskedLM):
    """BERT, from words to the logits of every word at every position."""

    def forward(self, words: Tensor) -> Tensor:
        """long[B, N] to float[B, N, words]."""
        return super().forward(input_ids=words).logits


class MaskedGenerator(MaskedCodes):
    """Generates the codes of an image of a class, starting with all of them masked.

    The transformer reads the class and the codes of one image; its words are the codes, the classes and the mask, in
    that order. The defaults are the published ImageNet model: 172.46 M parameters.

    Attributes:
        network: BERT, with post-norm blocks.
    """

    @limits(**LIMITS, codebook_size=at_least(1), least_masked=between(0, 1), dropout=between(0, 1))
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
        shape = tuple(shape)
        config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__(config, codebook_size, least_masked=least_masked)
        self.mask = codebook_size + num_classes
        self.network = Transformer(
            bert_config(self.mask + 1, self.length, width, depth, heads, dropout, "gelu_pytorch_tanh")
        )

    def logits(self, words: Tensor, labels: Tensor) -> Tensor:
        """Logits of every word at the positions of the codes, float[B, length, words]; the class is the first word."""
        words = torch.cat([labels[:, None] + self.codebook_size, words], dim=1)
        return self.network(words)[:, 1:].float()

    def inputs(self, batch: int) -> dict[str, Tensor]:
        """All codes masked."""
        return {"words": torch.full((batch, 1 + self.length), self.mask)}

    def blocks(self) -> Iterable[nn.Module]:
        """BERT's layers."""
        return self.network.bert.encoder.layer

    def own_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict of the published JAX weights, read by `gpstoken.files.flax.read_flax`."""
        return maskgit_to_own(tensors)


def bert_config(
    words: int, length: int, width: int, depth: int, heads: int, dropout: float, activation: str
) -> BertConfig:
    """A BERT that reads a class and `length` codes."""
    return BertConfig(
        vocab_size=words,
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=length + 1,
        hidden_act=activation,
        layer_norm_eps=1e-12,
        pad_token_id=None,  # word 0 is a code like any other
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
