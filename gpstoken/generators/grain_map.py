"""D2iT's first stage (Jia et al. 2025): which regions of an image of a class are fine; and what its two stages share.

A reimplementation from the paper's description; no weights exist.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpstoken.base import Generator, Tokenizer
from gpstoken.baselines.grain_codes import FINE
from gpstoken.flow import SampleNoise
from gpstoken.generators.ddpm import TIMES, noised, sample, steps_of
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


class Stage(Generator):
    """What both stages share: a network, classes that are hidden in training, and the regions of an image.

    Attributes:
        fine: number of fine regions of an image.
    """

    options = DynamicGrainSampling
    fine: int
    class_dropout: float

    def prepare(self, record: Mapping[str, Any]) -> None:
        """Checks that the cache has grain maps, and as many codes as fine and coarse regions have.

        Raises:
            ValueError: if not, or for another number of classes.
        """
        super().prepare(record)
        if "grain" not in record["statistics"]:
            raise ValueError(f"generator: needs grain, but the cache holds {', '.join(record['statistics'])}")
        rows, columns = self.network.shape
        count, held = rows * columns + (FINE - 1) * self.fine, record["code"]["tokens"]
        if count != held:
            regions = f"{self.fine} of {rows} x {columns} regions"
            raise ValueError(f"generator: {regions} fine make {count} codes, but the cache has {held}")

    def drawn(self, label: Tensor, chance: torch.Generator) -> tuple[Tensor, Tensor]:
        """Times long[B] for training, and the labels, in training mode with some classes hidden."""
        t = torch.randint(TIMES, label.shape, generator=chance, device=label.device)
        drop = self.class_dropout if self.training else 0.0
        hidden = torch.rand(label.shape, generator=chance, device=label.device) < drop
        return t, torch.where(hidden, self.num_classes, label)

    def calls(self, options: DynamicGrainSampling) -> int:
        """One call per step."""
        return options.steps

    def blocks(self) -> Iterable[nn.Module]:
        """The transformer's blocks."""
        return self.network.blocks


class Grain(Stage):
    """The first stage, D2iT's Dynamic Grain Transformer: the grain map of a class.

    The description says that it predicts the map by cross-entropy, and not how maps are drawn. To draw the cells
    independently from one prediction is ruled out: of its tables, predicted maps are as good as true ones and random
    maps far worse. So it is read as the diffusion that samples the codes, too: the network sees a noised map, of -1 and
    1, and predicts the probability that each cell is fine; the mean of that prediction is the data of a step. Of the
    final map, as many cells as the tokenizer has fine regions are fine, those with the highest values.
    """

    name = "grain"

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
        super().__init__()
        if network.channels != 1 or len(network.shape) != 2 or network.config["learn_sigma"]:
            raise ValueError("network: Grain needs channels 1, shape (h, w) and learn_sigma false")
        self.network, self.num_classes, self.class_dropout = network, network.num_classes, class_dropout
        self.fine = int(fine_share * network.shape[0] * network.shape[1])
        self.config = {"network": network.config, "fine_share": fine_share, "class_dropout": class_dropout}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """An untrained stage with the arguments `config`."""
        return cls(**{**config, "network": SiT(**config["network"])})

    def complete(self, tokenizer: Tokenizer, layout: Any = None) -> Generator:
        """Raises an error, because grain maps are not images.

        Raises:
            ValueError: always.
        """
        raise ValueError("generator: grain maps alone make no image; give this stage as the layout of a Content")

    def loss(self, batch: Mapping[str, Tensor], chance: torch.Generator) -> Tensor:
        """The cross-entropy of the cells in bits of the natural logarithm, float[B], a mean over the map."""
        grain = batch["grain"].movedim(-1, 1)
        noise = torch.randn(grain.shape, generator=chance, device=grain.device)
        t, label = self.drawn(batch["label"], chance)
        logits = self.network(noised(2 * grain - 1, noise, t), t, label).float()
        return F.binary_cross_entropy_with_logits(logits, grain, reduction="none").flatten(1).mean(1)

    @torch.no_grad()
    def sample(
        self, labels: Tensor, indices: Sequence[int], seed: int, options: DynamicGrainSampling
    ) -> dict[str, Tensor]:
        """{"grain": float[B, h, w, 1]}, 1 for a fine region."""
        self.check_labels(labels, indices)

        def predict(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
            data = 2 * self.network(x, t, labels).float().sigmoid() - 1
            remaining = steps_of(TIMES).remaining.to(x.device)[t].view(-1, 1, 1, 1)
            return (x - remaining.sqrt() * data) / (1 - remaining).sqrt(), torch.zeros_like(x)

        noise = SampleNoise(STREAMS * seed + 1, indices, self.network.sample_shape, labels.device)
        cells = sample(predict, noise, options.steps)
        ranks = cells.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return {"grain": (ranks < self.fine).to(cells.dtype).unflatten(1, self.network.shape)[..., None]}

    def preview(self, labels: Tensor, batch: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
        """Like `sample`, in few steps."""
        return self.sample(labels, range(len(labels)), 0, DynamicGrainSampling(steps))

    def inputs(self, batch: int) -> dict[str, Tensor]:
        """Noise, for the first class."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            x = torch.randn(batch, *self.network.sample_shape)
        return {"x": x, "t": torch.full((batch,), TIMES - 1), "label": torch.zeros(batch, dtype=torch.long)}
