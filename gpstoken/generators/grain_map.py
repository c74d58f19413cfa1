"""D2iT's first stage (Jia et al. 2025): which regions of an image of a class are fine; and the options of both stages.

A reimplementation from the paper's description; no weights exist.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpstoken.base import Generator, Tokenizer
from gpstoken.baselines.grain_codes import FINE
from gpstoken.flow import SampleNoise
from gpstoken.generators.channels import ChannelGenerator
from gpstoken.generators.ddpm import TIMES, Prediction, draw, inputs_of, noised, sample, steps_of
from gpstoken.generators.flow import STREAMS
from gpstoken.limits import at_least, between, limits, number
from gpstoken.sit import SiT


@limits(steps=at_least(2, TIMES), guidance=number(0))
@dataclass(frozen=True)
class DynamicGrainSampling:
    """The options of the sampler.

    Attributes:
        steps: steps of each stage (published: 250).
        guidance: scale of classifier-free guidance of the codes, 1 is none; grain maps are drawn without. The
            description states no scale, 1.5 is DiT's.
    """

    steps: int = 250
    guidance: float = 1.5


def check_codes(record: Mapping[str, Any], map_shape: tuple[int, int], fine: int) -> None:
    """Checks that a token cache has as many codes an image as its fine and coarse regions have.

    Args:
        record: its cache.json.
        map_shape: (h, w) of the regions.
        fine: number of fine regions.

    Raises:
        ValueError: if not.
    """
    count, held = math.prod(map_shape) + (FINE - 1) * fine, record["code"]["tokens"]
    if count != held:
        regions = f"{fine} of {map_shape[0]} x {map_shape[1]} regions"
        raise ValueError(f"generator: {regions} fine make {count} codes, but the cache has {held}")


class Grain(ChannelGenerator):
    """The first stage, D2iT's Dynamic Grain Transformer: the grain map of a class.

    The description says that it predicts the map by cross-entropy, and not how maps are drawn. To draw the cells
    independently from one prediction is ruled out: of its tables, predicted maps are as good as true ones and random
    maps far worse. So it is read as the diffusion that draws the codes, too: the network sees a noised map and predicts
    the probability that each cell is fine; the mean of that prediction is the data of a step, and the variance of a
    step is the least. Of the final map, as many cells are fine as in the tokenizer, those with the highest values.

    Attributes:
        fine: number of fine regions of an image.
    """

    name = "grain"
    options = DynamicGrainSampling
    own_parts = ("grain",)

    @limits(fine_share=between(0, 1), class_dropout=between(0, 1))
    def __init__(self, network: SiT, fine_share: float = 0.5, class_dropout: float = 0.1) -> None:
        """Makes an untrained stage.

        Args:
            network: of one channel and a grid of cells; its output is a logit.
            fine_share: share of the regions that are fine, as in the tokenizer.
            class_dropout: share of samples whose class is hidden in training.

        Raises:
            ValueError: for a network of another form.
        """
        super().__init__(network, None, class_dropout)
        if network.channels != 1 or len(network.shape) != 2 or network.config["learn_sigma"]:
            raise ValueError("network: Grain needs channels 1, shape (h, w) and learn_sigma false")
        self.fine = int(fine_share * math.prod(network.shape))
        self.config = {"network": network.config, "fine_share": fine_share, "class_dropout": class_dropout}

    def prepare(self, record: Mapping[str, Any]) -> None:
        """Reads mean and standard deviation of the maps.

        Raises:
            ValueError: if the cache has no maps, or others, or another number of classes.
        """
        super().prepare(record)
        check_codes(record, self.network.shape, self.fine)

    def complete(self, tokenizer: Tokenizer, layout: Any = None) -> Generator:
        """Raises an error, because grain maps are not images.

        Raises:
            ValueError: always.
        """
        raise ValueError("generator: grain maps alone make no image; give this stage as the layout of a Content")

    def data(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The maps as float[B, 1, h, w]."""
        return batch["grain"].movedim(-1, 1)

    def loss(self, batch: Mapping[str, Tensor], chance: torch.Generator) -> Tensor:
        """The cross-entropy of the cells in natural units, float[B], a mean over the map, at random times."""
        data = self.normalised(batch)
        noise, t = draw(data, chance)
        logits = self.network(noised(data, noise, t), t, self.partly_hidden(batch["label"], chance)).float()
        return F.binary_cross_entropy_with_logits(logits, self.data(batch), reduction="none").flatten(1).mean(1)

    @torch.no_grad()
    def sample(
        self, labels: Tensor, indices: Sequence[int], seed: int, options: DynamicGrainSampling
    ) -> dict[str, Tensor]:
        """{"grain": float[B, h, w, 1]}, 1 for a fine region; see `Generator.sample`."""
        self.check_labels(labels, indices)
        self.check_trained()

        def predict(x: Tensor, t: Tensor) -> Prediction:
            data = (self.network(x, t, labels).float().sigmoid() - self.mean) / self.std
            remaining = steps_of(TIMES).remaining.to(x.device)[t].view(-1, 1, 1, 1)
            return (x - remaining.sqrt() * data) / (1 - remaining).sqrt(), torch.zeros_like(x)

        noise = SampleNoise(STREAMS * seed + 1, indices, self.network.sample_shape, labels.device)
        cells = sample(predict, noise, options.steps)
        ranks = cells.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return {"grain": (ranks < self.fine).to(cells.dtype).unflatten(1, self.network.shape)[..., None]}

    def preview(self, labels: Tensor, batch: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
        """Like `sample`, in few steps."""
        return self.sample(labels, range(len(labels)), 0, DynamicGrainSampling(steps))

    def calls(self, options: DynamicGrainSampling) -> int:
        """One call per step."""
        return options.steps

    def inputs(self, batch: int) -> dict[str, Tensor]:
        """Noise at random times, for the first class."""
        return {**inputs_of(self.network.sample_shape, batch), "label": torch.zeros(batch, dtype=torch.long)}
