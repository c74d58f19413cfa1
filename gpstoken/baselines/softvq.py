"""SoftVQ-VAE (Chen et al. 2025): learned queries as weighted sums of codebook entries."""

from functools import partial

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from gpstoken.baselines.latent_queries import (
    NORM,
    SIZES,
    QueryDecoder,
    QueryEncoder,
    QueryTokenizer,
    check_heads,
    renamed,
    vision_transformer,
)
from gpstoken.limits import above, at_least, limits

TEMPERATURE = 0.07  # tau of the softmax over the entries
ENTROPY = 0.01  # weight of the entropy loss


class SoftCodes(nn.Module):
    """Vectors as weighted sums of the entries of codebooks.

    The vectors of an image are split into as many groups as there are codebooks, one after the other; group k uses
    codebook k. Vectors and entries have length 1, and the weights are the softmax of their cosines over a temperature.
    The entries learn from the sums alone, not through the weights.
    """

    def __init__(self, codebooks: int, size: int, channels: int) -> None:
        """Makes random codebooks.

        Args:
            codebooks: number of codebooks.
            size: entries of each.
            channels: C, channels of an entry.
        """
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(codebooks, size, channels))

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Quantises float[B, N, C], in float32 under any autocast precision.

        Returns:
            (sums float[B, N, C]; the entropy loss float[]: the entropy of a vector's weights less that of the mean
            weights of the batch in each codebook, so that vectors are decided and entries used alike).
        """
        with torch.autocast(vectors.device.type, enabled=False):
            entries = F.normalize(self.embedding, dim=-1)
            groups = F.normalize(vectors.to(entries.dtype), dim=-1).unflatten(1, (len(entries), -1))
            weights = (groups @ entries.detach().mT / TEMPERATURE).softmax(-1)  # [B, codebooks, N / codebooks, size]
            sums = (weights @ entries).flatten(1, 2)
            of_vectors, of_means = (torch.special.entr(part).sum(-1).mean() for part in (weights, weights.mean((0, 2))))
        return sums, of_vectors - of_means


class SoftVQ(QueryTokenizer):
    """An image to a few vectors, each a weighted sum of codebook entries, and back, by two vision transformers.

    The defaults are SoftVQ-VAE-B with 64 tokens of 32 channels: 173.56 M parameters, of which 0.59 M, a patch
    embedding in the decoder, are never called; it is kept, frozen, because the published weights have it. The
    published training also aligns the tokens with features of DINOv2, which is left out because that network is not
    at hand; so is its discriminator on features of DINO, for which the trainer's own stands in.

    Attributes:
        quantize: the codebooks.
        entropy: float[], the entropy loss of the last forward pass in training.
    """

    entropy: Tensor | None = None

    @limits(**SIZES, codebooks=at_least(1), codebook_size=at_least(1), layer_scale=above(0))
    def __init__(
        self,
        image_size: int = 256,
        patch_size: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        num_tokens: int = 64,
        channels: int = 32,
        codebooks: int = 4,
        codebook_size: int = 8192,
        layer_scale: float = 1e-5,
    ) -> None:
        """Makes an untrained tokenizer.

        Args:
            image_size: side of the image in pixels.
            patch_size: side of a patch in pixels.
            width: channels of both transformers.
            depth: blocks of each.
            heads: attention heads.
            num_tokens: N, number of tokens; `codebooks` divides it.
            channels: C, numbers per token.
            codebooks: number of codebooks, each for its own part of the tokens.
            codebook_size: entries of each codebook.
            layer_scale: first factor of what a block adds to its input.

        Raises:
            ValueError: for sizes that do not divide.
        """
        config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        if num_tokens % codebooks:
            raise ValueError(f"num_tokens: {num_tokens} is not a multiple of codebooks {codebooks}")
        check_heads(width, heads)
        block = partial(Block, width, heads, qkv_bias=True, init_values=layer_scale, norm_layer=NORM)
        encoder, decoder = (
            vision_transformer(image_size, patch_size, (block() for _ in range(depth))) for _ in range(2)
        )
        super().__init__(
            QueryEncoder(encoder, num_tokens), QueryDecoder(decoder, num_tokens, 3 * patch_size**2), channels
        )
        self.config = config
        self.quantize = SoftCodes(codebooks, codebook_size, channels)

    def encode(self, image: Tensor) -> Tensor:
        """float[B, 3, H, W] in [-1, 1] to float[B, N, C], weighted sums of entries.

        Raises:
            ValueError: for an image of another size.
        """
        return self.quantize(self.latents(image))[0]

    def forward(self, image: Tensor) -> Tensor:
        """Reconstructs float[B, 3, H, W]; training keeps the entropy loss."""
        tokens, entropy = self.quantize(self.latents(image))
        self.entropy = entropy if self.training else None
        return self.decode(tokens)

    def latent_terms(self, image: Tensor) -> dict[str, tuple[Tensor, float]]:
        """The entropy loss of the last forward pass in training."""
        return {"entropy": (self.entropy, ENTROPY)}

    @staticmethod
    def own_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of the published file under the names of `state_dict`, without what counts the use of entries."""
        return renamed({name: tensor for name, tensor in tensors.items() if name != "quantize.codebook_used"})
