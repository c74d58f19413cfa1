"""REPA (Yu et al. 2025, arXiv 2410.06940): a flow some of whose hidden states learn to be features of the image."""

from collections.abc import Iterable, Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpstoken.files.checkpoints import below
from gpstoken.files.records import ALIGNMENT
from gpstoken.flow import flow_loss
from gpstoken.generators.flow import DIRECTIONS, Flow
from gpstoken.generators.recipes import RECIPES
from gpstoken.limits import at_least, between, each, limits, number, one_of, text
from gpstoken.sit import SiT


class REPA(Flow):
    """A flow on a grid whose tokens after one block, through an MLP, are aligned with patch features of the image.

    Loss: that of the flow, less `weight` times the mean over the positions of the cosine between the projected token
    and the feature of its place (section 3.2). The features are those of a frozen network on the image without noise,
    stored in the token cache. The defaults are the published model: the block 8 of SiT-XL/2, DINOv2-B, 8.13 M
    parameters in the MLP, which sampling does not need, so that it is not part of `network`.

    Attributes:
        projector: three layers with SiLU between them.
        block: number of the aligned block, from 1.
        weight: weight of the alignment.
    """

    @limits(
        parts=each(text()),
        class_dropout=between(0, 1),
        time_direction=one_of(*DIRECTIONS),
        recipe=one_of(*RECIPES),
        block=at_least(1),
        feature_channels=at_least(1),
        projector_width=at_least(1),
        weight=number(0),
    )
    def __init__(
        self,
        network: SiT,
        parts: tuple[str, ...] = ("latent",),
        class_dropout: float = 0.1,
        time_direction: str = "to_noise",
        recipe: str = "repa",
        block: int = 8,
        feature_channels: int = 768,
        projector_width: int = 2048,
        weight: float = 0.5,
    ) -> None:
        """Makes an untrained generator; its path is linear, its prediction the velocity.

        Args:
            network: predicts the velocity.
            parts: see `Flow`.
            class_dropout: see `Flow`.
            time_direction: see `Flow`; published "to_noise".
            recipe: see `Flow`.
            block: number of the block whose tokens are aligned.
            feature_channels: C, channels of the features (DINOv2-B 768, EfficientNet-Lite0 112).
            projector_width: width of the MLP.
            weight: weight of the alignment.

        Raises:
            ValueError: see `Flow`, or if the network has no such block.
        """
        super().__init__(network, parts, class_dropout, time_direction=time_direction, recipe=recipe)
        if block > len(network.blocks):
            raise ValueError(f"block: {block}, but the network has {len(network.blocks)}")
        self.block, self.weight = block, weight
        sizes = (network.config["width"], projector_width, projector_width, feature_channels)
        first, second, third = (nn.Linear(*pair) for pair in pairwise(sizes))
        self.projector = nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), third)
        for name in ("path", "prediction"):
            del self.config[name]
        self.config |= {"block": block, "feature_channels": feature_channels}
        self.config |= {"projector_width": projector_width, "weight": weight}

    def own_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As in `Flow`; the published file has one projector, projectors.0."""
        projector = {f"projector.{name}": tensor for name, tensor in below("projectors.0.", tensors).items()}
        rest = {name: tensor for name, tensor in tensors.items() if not name.startswith("projectors.0.")}
        return super().own_names(rest) | projector

    def loss(self, batch: Mapping[str, Tensor], chance: torch.Generator) -> Tensor:
        """The flow-matching loss and the weighted alignment, float[B].

        Args:
            batch: see `Generator.loss`, with "alignment": float[B, positions, C], row by row of the grid.
            chance: see `Generator.loss`.

        Raises:
            ValueError: if the cache has no features, or others in number or channels.
        """
        data, noise, t, given = self.draw(batch, chance)
        tapped: list[Tensor] = []

        def predict(x: Tensor, t: Tensor) -> Tensor:
            velocity, tokens = self.field(x, t, tap=self.block, **given)
            tapped.append(tokens)
            return velocity.float()

        loss = flow_loss(predict, data, noise, t, self.path, self.prediction)
        return loss - self.weight * self._cosines(self.projector(tapped[0]).float(), batch.get(ALIGNMENT))

    def blocks(self) -> Iterable[nn.Module]:
        """The transformer's blocks, and the projector, whose gradients the processes average like theirs."""
        return [*super().blocks(), self.projector]

    def _cosines(self, projected: Tensor, features: Tensor | None) -> Tensor:
        """The mean cosine of each sample, float[B]."""
        if features is None:
            raise ValueError(f"generator: needs {ALIGNMENT} in the token cache; `gpstoken cache --features` writes it")
        if features.shape != projected.shape:
            raise ValueError(
                f"generator: aligns {list(projected.shape[1:])} positions and channels, but the cache has "
                f"{list(features.shape[1:])}"
            )
        return F.cosine_similarity(projected, features.float(), dim=-1).mean(1)
