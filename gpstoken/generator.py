"""Two stages: class -> layout -> calibrated layout -> texture -> Tokens -> image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpstoken.base import Tokenizer
from gpstoken.calibrate import calibrate
from gpstoken.flow import Sampling
from gpstoken.gaussians import Gaussians
from gpstoken.loading import class_path_of, load_tokenizer, tokenizer_hash
from gpstoken.released_layouts import read_layouts
from gpstoken.stage_model import StageModel
from gpstoken.tokens import Tokens

KINDS = {"texture": "two_stage", "one_stage": "one_stage", "grid": "grid"}


class Generator(nn.Module):
    """Makes new images of a class with a trained tokenizer.

    Attributes:
        kind: "two_stage", "one_stage" (no layout) or "grid" (latents of a grid autoencoder).
        final: the stage whose tokens are decoded.
        layout: the stage before it, where there is one.
        bank: layouts by class, float[n, N, 5] each, in place of the layout stage (the release samples so).
        tokenizer: frozen.
    """

    def __init__(
        self,
        final: StageModel,
        tokenizer: Tokenizer,
        layout: StageModel | None = None,
        bank: Mapping[int, Tensor] | None = None,
    ) -> None:
        """Puts the stages together.

        Raises:
            ValueError: if a stage is missing, superfluous, or was trained on the tokens of another tokenizer.
        """
        super().__init__()
        if final.stage not in KINDS:
            raise ValueError(
                f"generator: a {final.stage} stage makes no image; give it as the layout of a texture stage"
            )
        self.kind = KINDS[final.stage]
        if (self.kind == "two_stage") != ((layout is not None) or bool(bank)):
            needed = "needs a layout stage or a file of layouts" if self.kind == "two_stage" else "takes no layout"
            raise ValueError(f"generator: a {final.stage} stage {needed}")
        if layout is not None and layout.stage != "layout":
            raise ValueError(f"generator: expected a layout stage before the texture stage, got a {layout.stage} stage")
        own = tokenizer_hash(tokenizer)
        for stage in (each for each in (layout, final) if each is not None):
            trained_on = stage.described["tokenizer"]["sha256"]
            if trained_on != own:
                raise ValueError(
                    f"generator: the {stage.stage} stage was trained on the tokens of tokenizer {trained_on[:12]}, "
                    f"this one is {own[:12]}"
                )
        self.final, self.layout, self.tokenizer, self.bank = final, layout, tokenizer, dict(bank or {})
        self.tokenizer_sha256 = own

    @classmethod
    def from_checkpoint(
        cls, checkpoint: str | Path, layout: str | Path | None = None, tokenizer: str | Path | None = None
    ) -> "Generator":
        """Reads a generator trained here.

        Args:
            checkpoint: of the texture, one_stage or grid stage, `last.ckpt` or a snapshot.
            layout: checkpoint of the layout stage, or a .safetensors or .pickle file of layouts by class.
            tokenizer: checkpoint of the tokenizer; default: where the token cache was made from.

        Raises:
            ValueError: if a file is unreadable or of another kind, or the parts do not belong together.
            FileNotFoundError: if one is not there.
        """
        final = StageModel.from_checkpoint(checkpoint)
        path = Path(tokenizer or final.described["tokenizer"]["path"])
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such tokenizer checkpoint; name the one that {checkpoint} was trained on"
            )
        before, bank = None, None
        if layout is not None and Path(layout).suffix in (".safetensors", ".pickle", ".pkl"):
            bank = read_layouts(layout)
        elif layout is not None:
            before = StageModel.from_checkpoint(layout)
        return cls(final, load_tokenizer(path), before, bank)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.final.num_classes

    @property
    def stages(self) -> dict[str, StageModel]:
        """The stages in order, by name."""
        return {stage.stage: stage for stage in (self.layout, self.final) if stage is not None}

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.final.mean.device

    @property
    def record(self) -> dict[str, Any]:
        """What it is made of, as plain data."""
        stages = {
            name: {
                "parameters": sum(parameter.numel() for parameter in stage.network.parameters()),
                "network": stage.network.config,
                "path": stage.described["path"],
                "prediction": stage.described["prediction"],
                **stage.trained,
            }
            for name, stage in self.stages.items()
        }
        parameters = sum(parameter.numel() for parameter in self.tokenizer.parameters())
        tokenizer = {"class_path": class_path_of(self.tokenizer)}
        tokenizer |= {"init_args": self.tokenizer.config, "sha256": self.tokenizer_sha256, "parameters": parameters}
        return {"kind": self.kind, "stages": stages, "tokenizer": tokenizer}

    @torch.no_grad()
    def sample(
        self,
        labels: Tensor,
        indices: Sequence[int] | None = None,
        steps: int = 250,
        sampler: str = "sde",
        guidance: float = 1.5,
        guidance_interval: tuple[float, float] = (0.2, 1.0),
        layout_guidance: float = 1.0,
        seed: int = 0,
        **sampling: Any,
    ) -> Tokens | Tensor:
        """Generates the tokens of one image a label.

        Args:
            labels: long[B], classes.
            indices: number of each sample, default 0 to B - 1. A sample's noise depends on its number and the seed, not
                on the batch it is drawn in.
            steps: of each stage's sampler; an SDE sampler by Euler's method calls the network as often.
            sampler: "sde" or "ode".
            guidance: scale of classifier-free guidance of the final stage (release 1.5); 1 is none.
            guidance_interval: times at which there is guidance (release 0.2 to 1; 0 is noise, 1 data).
            layout_guidance: scale in the layout stage; the paper gives none.
            seed: of all noise.
            **sampling: further fields of `gpstoken.flow.Sampling`.

        Returns:
            Tokens; of a grid the latent float[B, C, h, w]. `decode` makes images of either.

        Raises:
            ValueError: for labels or options out of range.
        """
        if labels.dim() != 1 or bool(((labels < 0) | (labels >= self.num_classes)).any()):
            raise ValueError(f"labels: expected long[B] of 0 to {self.num_classes - 1}, got {labels.tolist()}")
        indices = range(len(labels)) if indices is None else indices
        if len(indices) != len(labels):
            raise ValueError(f"indices: expected one a label, got {len(indices)} for {len(labels)} labels")
        labels, how = labels.to(self.device), Sampling(sampler=sampler, steps=steps, **sampling)
        layout = None
        if self.kind == "two_stage":
            layout = self._layouts(labels, indices, seed, how, layout_guidance, guidance_interval)
        # Odd streams are the layouts', even ones the textures'.
        data = self.final.sample(labels, indices, 2 * seed, how, guidance, guidance_interval, layout)
        return data if self.kind == "grid" else Tokens.from_tensor(data)

    @torch.no_grad()
    def decode(self, tokens: Tokens | Tensor) -> Tensor:
        """Tokens of `sample` to float[B, 3, H, W], about [-1, 1]."""
        return self.tokenizer.decode(tokens)

    def calibrate(self, layout: Tensor) -> Tensor:
        """Generated layouts float[B, N, 5] to those of the nearest valid partitions, in the order of the tokens."""
        config = self.tokenizer.config
        size = (config["image_size"], config["image_size"])
        rule = config["sigma_rule"]
        regions = calibrate(Gaussians.from_tensor(layout), size, config["min_region_size"], rule)
        return Gaussians.from_regions(regions, size, rule).to_tensor().to(layout)

    def _layouts(
        self,
        labels: Tensor,
        indices: Sequence[int],
        seed: int,
        how: Sampling,
        guidance: float,
        interval: Any,
    ) -> Tensor:
        if self.layout is not None:
            return self.calibrate(self.layout.sample(labels, indices, 2 * seed + 1, how, guidance, interval))
        absent = sorted(set(labels.tolist()) - set(self.bank))
        if absent:
            raise ValueError(f"layouts: the file has none of class {absent[0]}")
        chosen = []
        for label, index in zip(labels.tolist(), indices, strict=True):
            layouts = self.bank[label]
            chosen.append(layouts[np.random.default_rng((2 * seed + 1, index)).integers(len(layouts))])
        return torch.stack(chosen).to(self.final.mean)
