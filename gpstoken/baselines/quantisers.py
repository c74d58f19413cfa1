"""How vectors become codes: the quantisers of vector-quantize-pytorch behind one face, channels last."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from vector_quantize_pytorch import FSQ, LFQ, VectorQuantize

from gpstoken.limits import above, at_least, between, each, flag, limits, number

Terms = dict[str, tuple[Tensor, float]]


class Quantised(NamedTuple):
    """Vectors after quantisation.

    Attributes:
        entries: float[B, N, C], the entries of the codebook; in training with the straight-through gradient.
        indices: long[B, N] in [0, size).
        terms: terms of the loss, as `Tokenizer.latent_terms` returns them; empty in evaluation mode.
    """

    entries: Tensor
    indices: Tensor
    terms: Terms


class NearestCodes(nn.Module):
    """The nearest entry of a learned codebook (VQ-VAE, van den Oord et al. 2017).

    Entries follow the mean of their vectors, start as the centres of the first batch's clusters, and those that are
    hardly used are replaced by vectors of the batch, without which small trainings use a few dozen entries.

    Attributes:
        size: number of entries.
    """

    @limits(
        size=at_least(1),
        channels=at_least(1),
        normalised=flag(),
        commitment=number(0),
        decay=between(0, 1),
        least_use=number(0),
    )
    def __init__(
        self,
        size: int,
        channels: int,
        normalised: bool = False,
        commitment: float = 0.25,
        decay: float = 0.8,
        least_use: float = 0.1,
    ) -> None:
        """Makes a codebook that waits for its first batch.

        Args:
            size: number of entries.
            channels: C, channels of an entry.
            normalised: compare directions instead of vectors; entries have length 1.
            commitment: beta, weight of the mean squared difference between vectors and their entries.
            decay: decay of the running mean of an entry's vectors.
            least_use: vectors of a batch, as a running mean, below which an entry is replaced; 0: never.
        """
        super().__init__()
        self.size = size
        self.layer = VectorQuantize(
            channels,
            size,
            decay=decay,
            kmeans_init=True,
            threshold_ema_dead_code=least_use,
            use_cosine_sim=normalised,
            commitment_weight=commitment,
            rotation_trick=False,
        )
        self.commitment = commitment

    def forward(self, vectors: Tensor) -> Quantised:
        """Quantises float[B, N, C]."""
        entries, indices, loss = self.layer(vectors)
        # The library returns the weighted loss.
        terms = {"codebook": (loss.squeeze(), 1.0)} if self.training else {}
        return Quantised(entries, indices, terms)

    def entries(self, indices: Tensor) -> Tensor:
        """long[B, ...] to float[B, ..., C]."""
        return self.codebook[indices]

    @property
    def codebook(self) -> Tensor:
        """The entries, float[size, C]."""
        return self.layer.codebook

    def state_of(self, codebook: Tensor) -> dict[str, Tensor]:
        """The state dict with these entries, float[size, C], as of a finished training."""
        state = self.state_dict()
        entries = codebook.float()[None]
        if self.layer.use_cosine_sim:
            entries = nn.functional.normalize(entries, dim=-1)
        known = {
            "embed": entries,
            "embed_avg": entries,
            "cluster_size": torch.ones(1, self.size),
            "initted": torch.tensor(True),
        }
        return {name: known[name.rpartition(".")[2]] for name in state}


class Bits(nn.Module):
    """The signs of the channels: entries are all vectors of -1 and 1 (lookup-free quantisation, Yu et al. 2024).

    Index i has bit k of channel k, the first channel being the least significant bit, as in MaskBit.

    Attributes:
        size: 2 ** channels.
    """

    @limits(channels=at_least(1, 20), commitment=number(0), entropy=number(0), temperature=above(0))
    def __init__(
        self, channels: int, commitment: float = 0.25, entropy: float = 0.02, temperature: float = 0.01
    ) -> None:
        """Makes the quantiser, which has no weights.

        Args:
            channels: bits of a code.
            commitment: weight of the mean squared difference between vectors and their signs.
            entropy: weight of the entropy of a vector's code less that of the codes of the batch.
            temperature: temperature of the softmax over all codes from which the entropies are computed.
        """
        super().__init__()
        self.size, self.temperature = 2**channels, temperature
        self.layer = LFQ(dim=channels, entropy_loss_weight=entropy, commitment_loss_weight=commitment)
        self.register_buffer("values", 2 ** torch.arange(channels), persistent=False)

    def forward(self, vectors: Tensor) -> Quantised:
        """Quantises float[B, N, C]."""
        # The library's first channel is the most significant bit.
        entries, indices, loss = self.layer(vectors.flip(-1), inv_temperature=1 / self.temperature)
        return Quantised(entries.flip(-1), indices, {"codebook": (loss, 1.0)} if self.training else {})

    def entries(self, indices: Tensor) -> Tensor:
        """long[B, ...] to float[B, ..., C] of -1 and 1."""
        return ((indices[..., None] & self.values) != 0).float() * 2 - 1


class FiniteScalars(nn.Module):
    """Each channel rounded to one of a few levels (finite scalar quantisation, Mentzer et al. 2024), without a loss.

    Attributes:
        size: product of the levels.
    """

    @limits(levels=each(at_least(3)))
    def __init__(self, levels: tuple[int, ...]) -> None:
        """Makes the quantiser, which has no weights; `levels` is the number of levels of each channel."""
        super().__init__()
        # With indices the library would list all codes, and read their number from a tensor: not on the meta device.
        self.layer = FSQ(list(levels), return_indices=False)
        self.size = math.prod(levels)

    def forward(self, vectors: Tensor) -> Quantised:
        """Quantises float[B, N, C]."""
        entries, _ = self.layer(vectors)
        # In float32, because half precision cannot hold the largest indices.
        return Quantised(entries, self.layer.codes_to_indices(entries.detach().float()).long(), {})

    def entries(self, indices: Tensor) -> Tensor:
        """long[B, ...] to float[B, ..., C]."""
        return self.layer.indices_to_codes(indices)
