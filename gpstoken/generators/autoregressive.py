"""FlexTok's autoregressive generator (Bachmann et al. 2025, arXiv 2502.13967): codes one after the other, by Llama."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Cache, DynamicCache, LlamaConfig, LlamaForCausalLM

from gpstoken.flow import SampleNoise
from gpstoken.generators.code_draws import draw_codes
from gpstoken.generators.hidden_classes import HiddenClasses
from gpstoken.limits import above, at_least, between, limits, number, optional


@limits(num_tokens=optional(at_least(1)), temperature=above(0), guidance=number(0))
@dataclass(frozen=True)
class AutoregressiveSampling:
    """The options of sampling codes; the published ones are not known.

    Attributes:
        num_tokens: the codes that are sampled, the first ones of an image (FID below 2 for 8 to 128 of 256); None: all.
        temperature: divides the logits.
        guidance: scale of classifier-free guidance on the logits; 1 is no guidance.
    """

    num_tokens: int | None = None
    temperature: float = 1.0
    guidance: float = 1.5


class Decoder(LlamaForCausalLM):
    """Llama, from words to the logits of the word after each."""

    def forward(self, words: Tensor, cache: Cache | None = None) -> Tensor:
        """long[B, N] to float[B, N, words].

        Args:
            words: long[B, N].
            cache: keys and values of the words before these, to which those of these are added.
        """
        return super().forward(input_ids=words, cache=cache, use_cache=cache is not None).logits


class AutoregressiveGenerator(HiddenClasses):
    """Generates the codes of an image in their order, each given the class and the codes before it.

    Any first part of the codes is an image to a tokenizer whose codes go from coarse to fine, so that sampling may stop
    early. The words are the codes, the classes and "no class", in that order.

    Weights and code are not published, and the paper says 1.33 B. The defaults are inferred from that: 1305.6 M
    parameters in 28 layers of width 1792, with an MLP of 8/3 of it, rounded down to a multiple of 128. So are the share
    of hidden classes and the options of sampling.

    Attributes:
        network: Llama; only the logits of codes are used.
        num_tokens: number of codes of an image.
        codebook_size: number of different codes.
    """

    options = AutoregressiveSampling

    @limits(
        num_tokens=at_least(1),
        codebook_size=at_least(1),
        num_classes=at_least(1),
        width=at_least(1),
        depth=at_least(1, 1000),
        heads=at_least(1),
        hidden_width=at_least(1),
        class_dropout=between(0, 1),
    )
    def __init__(
        self,
        num_tokens: int = 256,
        codebook_size: int = 64000,
        num_classes: int = 1000,
        width: int = 1792,
        depth: int = 28,
        heads: int = 28,
        hidden_width: int = 4736,
        class_dropout: float = 0.1,
    ) -> None:
        """Makes an untrained generator.

        Args:
            num_tokens: N, number of codes of an image.
            codebook_size: number of different codes.
            num_classes: number of classes.
            width: channels of the transformer, an even number for each head.
            depth: number of layers.
            heads: attention heads.
            hidden_width: width of the MLPs (SwiGLU, three matrices).
            class_dropout: share of samples whose class is hidden in training, for classifier-free guidance.

        Raises:
            ValueError: if the width does not fit the heads.
        """
        super().__init__()
        self.config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        if width % (2 * heads):
            raise ValueError(f"width: {width} is not a multiple of twice heads {heads}")
        self.num_tokens, self.codebook_size, self.num_classes = num_tokens, codebook_size, num_classes
        self.class_dropout = class_dropout
        self.network = Decoder(
            LlamaConfig(
                vocab_size=codebook_size + num_classes + 1,
                hidden_size=width,
                intermediate_size=hidden_width,
                num_hidden_layers=depth,
                num_attention_heads=heads,
                max_position_embeddings=num_tokens,
                bos_token_id=None,  # no word has a meaning of its own
                eos_token_id=None,
            )
        )

    def prepare(self, record: Mapping[str, Any]) -> None:
        """Checks that the cache has codes of this codebook and number, and nothing beside them.

        Raises:
            ValueError: if the codes differ, or the number of classes.
        """
        super().prepare(record)
        code = record["code"]
        if (code["codebook_size"], tuple(code["shape"]), code["channels"]) != (
            self.codebook_size,
            (self.num_tokens,),
            1,
        ):
            raise ValueError(
                f"generator: makes [{self.num_tokens}] codes of a codebook of {self.codebook_size}, but the cache has "
                f"{list(code['shape'])} tokens of {code['channels']} numbers, {code['codebook_size'] or 'no'} codes"
            )

    def loss(self, batch: Mapping[str, Tensor], chance: torch.Generator) -> Tensor:
        """Cross-entropy of every code given the true codes before it, float[B]: the mean over the codes of a sample.

        Args:
            batch: {"codes": long[B, N], "label": long[B]}.
            chance: source of the random numbers that hide classes in training.
        """
        codes = batch["codes"]
        first = self._words(self.partly_hidden(batch["label"], chance))
        logits = self._logits(torch.cat([first, codes[:, :-1]], dim=1))
        return F.cross_entropy(logits.movedim(-1, 1), codes, reduction="none").mean(1)

    @torch.no_grad()
    def sample(
        self, labels: Tensor, indices: Sequence[int], seed: int, options: AutoregressiveSampling
    ) -> dict[str, Tensor]:
        """{"codes": long[B, K]}, the first codes of what the same noise makes of all.

        Raises:
            ValueError: for labels out of range, or more codes than an image has.
        """
        self.check_labels(labels, indices)
        count = options.num_tokens or self.num_tokens
        if count > self.num_tokens:
            raise ValueError(f"num_tokens: an image has {self.num_tokens} codes, asked for {count}")
        uniform = torch.special.ndtr(SampleNoise(seed, indices, (self.num_tokens,), labels.device)(0).double())
        guided = options.guidance != 1
        words = self._words(torch.cat([labels, torch.full_like(labels, self.num_classes)]) if guided else labels)
        cache, codes = DynamicCache(config=self.network.config), []
        for place in range(count):
            logits = self._logits(words, cache)[:, -1].double()
            if guided:
                conditional, unconditional = logits.chunk(2)
                logits = unconditional + options.guidance * (conditional - unconditional)
            codes.append(draw_codes(logits, uniform[:, place], options.temperature))
            words = codes[-1].repeat(2 if guided else 1)[:, None]
        return {"codes": torch.stack(codes, dim=1)}

    def calls(self, options: AutoregressiveSampling) -> int:
        """One call a code; all calls together take as many multiply-adds as `inputs`, with guidance twice as many."""
        return options.num_tokens or self.num_tokens

    def preview(self, labels: Tensor, batch: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
        """Samples as many of the first codes as there are steps, without guidance."""
        how = AutoregressiveSampling(num_tokens=min(steps, self.num_tokens), guidance=1.0)
        return self.sample(labels, range(len(labels)), 0, how)

    def inputs(self, batch: int) -> dict[str, Tensor]:
        """The first class and all codes but the last, as in training."""
        words = torch.zeros((batch, self.num_tokens), dtype=torch.long)
        words[:, 0] = self.codebook_size
        return {"words": words}

    def blocks(self) -> Iterable[nn.Module]:
        """Llama's layers."""
        return self.network.model.layers

    def _words(self, labels: Tensor) -> Tensor:
        return labels[:, None] + self.codebook_size

    def _logits(self, words: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits of the code after each word, float[B, N, codebook_size]."""
        return self.network(words, cache)[..., : self.codebook_size].float()
