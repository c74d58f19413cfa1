"""The paper's generator: class -> layout -> calibrated layout -> texture. Each stage is a flow, trained separately."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from gpstoken.base import Generator, Tokenizer
from gpstoken.calibrate import calibrate
from gpstoken.gaussians import Gaussians
from gpstoken.generators.flow import Flow, FlowSampling

GEOMETRY = 5  # sigma_x, sigma_y, rho, x, y


@dataclass(frozen=True)
class TwoStageSampling(FlowSampling):
    """The sampling options of both stages (see `FlowSampling`).

    Attributes:
        layout_guidance: scale of the guidance in the layout stage; the paper does not state one.
    """

    layout_guidance: float = 1.0


class Layout(Flow):
    """The first stage: the initial Gaussians g_init of a class."""

    name = "layout"
    own_parts = ("layout",)

    def complete(self, tokenizer: Tokenizer, layout: Any = None) -> Generator:
        """Raises an error, because layouts are not images.

        Raises:
            ValueError: always.
        """
        raise ValueError("generator: layouts alone make no image; give this stage as the layout of a Texture")


class Texture(Flow):
    """The second stage: (g - g_init, f) given a class and a layout."""

    name = "texture"
    given = ("layout",)
    own_parts = ("residual", "features")
    layout_channels: ClassVar[int] = GEOMETRY

    def data(self, batch: Mapping[str, Tensor]) -> Tensor:
        """float[B, N, 5 + C]: the residual of the layout, and the features."""
        return super().data({**batch, "residual": batch["geometry"] - batch["layout"]})

    def condition(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The layout."""
        return {"layout": batch["layout"]}

    def packed(self, data: Tensor, condition: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{"geometry", "features"}; the generated residual is added to the layout."""
        parts = super().packed(data, condition)
        return {"geometry": parts.pop("residual") + condition["layout"], **parts}

    def complete(self, tokenizer: Tokenizer, layout: Any = None) -> "TwoStage":
        """Combines it with a `Layout`, or with layouts by class float[n, N, 5], as the release samples.

        Raises:
            ValueError: without a layout, or with another kind of stage.
        """
        if layout is None:
            raise ValueError("generator: Texture needs a layout stage or a file of layouts")
        if not isinstance(layout, Layout | Mapping):
            raise ValueError(f"generator: expected a Layout before the Texture, got a {type(layout).__name__}")
        return TwoStage(self, layout, tokenizer.config)


class TwoStage(Generator):
    """Both stages, with the calibration to the nearest valid partition between them.

    Attributes:
        layout: the first stage; None if `bank` replaces it.
        texture: the second stage.
        bank: layouts by class, float[n, N, 5] each.
    """

    options = TwoStageSampling

    def __init__(self, texture: Texture, layout: "Layout | Mapping[int, Tensor]", partition: Mapping[str, Any]) -> None:
        """Combines trained stages.

        Args:
            texture: the second stage.
            layout: the first stage, or layouts by class.
            partition: image_size, min_region_size and sigma_rule of the tokenizer.
        """
        super().__init__()
        self.texture, self.num_classes = texture, texture.num_classes
        self.layout = layout if isinstance(layout, Layout) else None
        self.bank = {} if isinstance(layout, Layout) else dict(layout)
        self.partition = {name: partition[name] for name in ("image_size", "min_region_size", "sigma_rule")}
        self.config = {name: stage.config for name, stage in self.stages.items()}

    @property
    def network(self) -> nn.Module:
        """The network of the second stage."""
        return self.texture.network

    @property
    def stages(self) -> dict[str, Generator]:
        """The layout stage, if there is one, and the texture stage."""
        return {stage.name: stage for stage in (self.layout, self.texture) if stage is not None}

    def loss(self, batch: Mapping[str, Tensor], chance: torch.Generator) -> Tensor:
        """The sum of the stages' losses, which are independent of each other."""
        return torch.stack([stage.loss(batch, chance) for stage in self.stages.values()]).sum(0)

    @torch.no_grad()
    def sample(self, labels: Tensor, indices: Sequence[int], seed: int, options: TwoStageSampling) -> dict[str, Tensor]:
        """{"geometry", "features", "layout"}, where the layout is that of a valid partition.

        Raises:
            ValueError: for labels out of range, or a class without layouts.
        """
        self.check_labels(labels, indices)
        if self.layout is None:
            layout = self._from_bank(labels, indices, seed).to(self.texture.mean)
        else:
            unguided = replace(options, guidance=options.layout_guidance)
            layout = self.calibrate(self.layout.sample(labels, indices, seed, unguided, stream=1)["layout"])
        return self.texture.sample(labels, indices, seed, options, layout=layout) | {"layout": layout}

    def preview(self, labels: Tensor, batch: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
        """Textures on layouts of real images."""
        return self.texture.preview(labels, batch, steps)

    def calls(self, options: TwoStageSampling) -> int | None:
        """The calls of both stages."""
        counts = [stage.calls(options) for stage in self.stages.values()]
        return None if None in counts else sum(counts)

    def inputs(self, batch: int) -> dict[str, Tensor]:
        """The inputs of the second stage."""
        return self.texture.inputs(batch)

    def calibrate(self, layout: Tensor) -> Tensor:
        """Maps generated layouts float[B, N, 5] to the nearest valid partitions, keeping the order of the tokens."""
        size, rule = (self.partition["image_size"],) * 2, self.partition["sigma_rule"]
        return Gaussians.from_regions(self.regions(layout), size, rule).to_tensor().to(layout)

    def regions(self, layout: Tensor) -> Tensor:
        """The nearest valid partitions of layouts float[B, N, 5]: pixel boxes long[B, N, 4] in the order of tokens."""
        size, rule = (self.partition["image_size"],) * 2, self.partition["sigma_rule"]
        return calibrate(Gaussians.from_tensor(layout), size, self.partition["min_region_size"], rule)

    def _from_bank(self, labels: Tensor, indices: Sequence[int], seed: int) -> Tensor:
        absent = sorted(set(labels.tolist()) - set(self.bank))
        if absent:
            raise ValueError(f"layouts: the file has none for class {absent[0]}")
        chosen = []
        for label, index in zip(labels.tolist(), indices, strict=True):
            layouts = self.bank[label]
            chosen.append(layouts[np.random.default_rng((2 * seed + 1, index)).integers(len(layouts))])
        return torch.stack(chosen)
