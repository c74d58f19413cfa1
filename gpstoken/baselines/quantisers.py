"""How vectors become codes: the quantisers of vector-quantize-pytorch behind one face, channels last."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake
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

    Entries start as the centres of the clusters of the first batch, and those that are hardly used are replaced by
    vectors of a batch, without which small trainings use a few dozen entries.

    Attributes:
        size: number of entries.
        normalised: whether directions are compared instead of vectors.
        bypassed: whether training lets vectors through as they are, without a loss; see `gpstoken.training.LateCodes`.
    """

    bypassed = False

    @limits(
        size=at_least(1),
        channels=at_least(1),
        normalised=flag(),
        commitment=number(0),
        codebook=number(0),
        decay=between(0, 1),
        least_use=number(0),
    )
    def __init__(
        self,
        size: int,
        channels: int,
        normalised: bool = False,
        commitment: float = 0.25,
        codebook: float = 1.0,
        decay: float = 0.95,
        least_use: float = 0.03,
    ) -> None:
        """Makes a codebook that waits for its first batch.

        Args:
            size: number of entries.
            channels: C, channels of an entry.
            normalised: compare directions instead of vectors; vectors and entries then have length 1.
            commitment: weight of the mean squared difference between vectors and their entries that moves the vectors.
            codebook: weight of the same difference that moves the entries; 0: entries are the running means of their
                vectors instead.
            decay: decay of the running means and of the counts of an entry's vectors.
            least_use: vectors of a batch, as a running mean, below which an entry is replaced; 0: never.
        """
        super().__init__()
        self.size, self.normalised, self.commitment, self.by_gradient = size, normalised, commitment, codebook
        self.layer = VectorQuantize(
            channels,
            size,
            decay=decay,
            kmeans_init=True,
            threshold_ema_dead_code=least_use,
            commitment_weight=0.0,  # the library weighs both directions alike, so the terms are computed here
            rotation_trick=False,
            learnable_codebook=codebook > 0,
            ema_update=codebook == 0,
        )
        if not codebook:  # a parameter too, so that it counts as one; only its running means change it
            inner = self.layer._codebook
            start = inner.embed
            del inner.embed
            inner.embed = nn.Parameter(start, requires_grad=False)

    def forward(self, vectors: Tensor) -> Quantised:
        """Quantises float[B, N, C], in float32 at least under any autocast precision."""
        vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
        if self.normalised:
            vectors = F.normalize(vectors, dim=-1)
        if not self.training:
            indices = self._nearest(vectors)
            return Quantised(self.entries_of(indices), indices, {})
        if self.bypassed:
            return Quantised(vectors, self._nearest(vectors), {})
        if self.normalised:  # a step along the gradient leaves the sphere
            with torch.no_grad():
                self.layer.codebook.copy_(self.entries)
        # Whether the library replaces entries depends on numbers, which networks without weights do not have.
        indices = self._nearest(vectors) if is_fake(self.layer.codebook) else self.layer(vectors)[1]
        entries = self.entries_of(indices)
        loss = self.commitment * F.mse_loss(vectors, entries.detach())
        if self.by_gradient:
            loss = loss + self.by_gradient * F.mse_loss(entries, vectors.detach())
        return Quantised(vectors + (entries - vectors).detach(), indices, {"codebook": (loss, 1.0)})

    def _nearest(self, vectors: Tensor) -> Tensor:
        # An inner product of directions orders them as their distance does.
        return torch.cdist(vectors, self.entries, compute_mode="donot_use_mm_for_euclid_dist").argmin(-1)

    def entries_of(self, indices: Tensor) -> Tensor:
        """long[B, ...] to float[B, ..., C]."""
        return self.entries[indices]

    @property
    def entries(self) -> Tensor:
        """The entries, float[size, C]."""
        entries = self.layer.codebook
        return F.normalize(entries, dim=-1) if self.normalised else entries

    def state_of(self, entries: Tensor) -> dict[str, Tensor]:
        """The state dict with these entries, float[size, C], as after a training."""
        counts = torch.ones(1, len(entries))
        entries = entries[None]
        known = {"embed": entries, "embed_avg": entries, "cluster_size": counts, "initted": torch.tensor(True)}
        return {name: known[name.rpartition(".")[2]] for name in self.state_dict()}


class Bits(nn.Module):
    """The signs of the channels: entries are all vectors of -1 and 1 (lookup-free quantisation, Yu et al. 2024).

    Index i has bit k of channel k, the first channel being the least significant bit, as in MaskBit.

    Attributes:
        size: 2 ** channels.
        bypassed: whether training lets the hyperbolic tangents of the channels through instead of their signs, without
            a loss; see `gpstoken.training.LateCodes`.
    """

    bypassed = False

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
        self.layer.register_buffer("mask", self.layer.mask, persistent=False)  # it follows from the channels
        self.register_buffer("values", 2 ** torch.arange(channels), persistent=False)

    def forward(self, vectors: Tensor) -> Quantised:
        """Quantises float[B, N, C]."""
        if self.training and self.bypassed:
            return Quantised(vectors.tanh(), ((vectors > 0) * self.values).sum(-1), {})
        # The library's first channel is the most significant bit.
        entries, indices, loss = self.layer(vectors.flip(-1), inv_temperature=1 / self.temperature)
        return Quantised(entries.flip(-1), indices, {"codebook": (loss, 1.0)} if self.training else {})

    def entries_of(self, indices: Tensor) -> Tensor:
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

    def entries_of(self, indices: Tensor) -> Tensor:
        """long[B, ...] to float[B, ..., C]."""
        return self.layer.indices_to_codes(indices)
