"""Pictures of generated samples during the training of a generator's stage."""

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import torch
from lightning import LightningModule, Trainer
from PIL import Image
from torch import Tensor

from gpstoken.base import Generator
from gpstoken.drawing import contact_sheet, draw_gaussians, to_picture
from gpstoken.files.writing import naming
from gpstoken.gaussians import Gaussians
from gpstoken.limits import at_least, limits, optional, text
from gpstoken.loading import load_tokenizer, tokenizer_hash
from gpstoken.training.occasions import Occasions
from gpstoken.training.sharding import whole_generator


class SamplePictures(Occasions):
    """Writes pictures/step_NNNNNNN.png into the run's folder every tenth of the training, one class per row.

    Layouts are drawn as generated, before calibration, and grain maps in black and white. A stage after them gets those
    of real images, so that its pictures show only the progress of this stage.
    """

    @limits(tokenizer=optional(text()), times=at_least(1), samples=at_least(1), steps=at_least(2))
    def __init__(self, tokenizer: str | None = None, times: int = 10, samples: int = 6, steps: int = 25) -> None:
        """Makes the callback.

        Args:
            tokenizer: checkpoint of the tokenizer; None: the tokenizer of the token cache.
            times: number of pictures during the training.
            samples: samples per class, for at most ten classes.
            steps: steps of the ODE sampler.
        """
        super().__init__(times)
        self.path, self.samples, self.steps = tokenizer, samples, steps

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Loads the tokenizer.

        Raises:
            ValueError: if it is not the tokenizer of the training tokens.
        """
        if stage != "fit":
            return
        record = trainer.datamodule.record["tokenizer"]
        path = self.path or record["path"]
        self.tokenizer = load_tokenizer(path)
        if tokenizer_hash(self.tokenizer) != record["sha256"]:
            raise ValueError(f"{path}: not the tokenizer of the token cache")

    def act(self, trainer: Trainer, pl_module: LightningModule, step: int) -> None:
        """Draws the picture, on the first process."""
        generator = whole_generator(pl_module.averaged.module)
        if trainer.is_global_zero:
            path = self.file(trainer, "pictures", step, "png")
            with naming(path):
                self._sheet(trainer, generator.to(pl_module.device)).save(path)

    def _sheet(self, trainer: Trainer, generator: Generator) -> Image.Image:
        classes = range(min(10, generator.num_classes))
        labels = torch.tensor([label for label in classes for _ in range(self.samples)])
        batch = _samples_of(trainer.datamodule, labels, generator.given) if generator.given else {}
        with torch.no_grad():
            parts = generator.preview(labels.to(trainer.strategy.root_device), batch, self.steps)
            match parts:
                case {"layout": layout} if len(parts) == 1:
                    pictures = self._layouts(layout)
                case {"grain": grain} if len(parts) == 1:
                    pictures = _maps(grain)
                case _:
                    pictures = self._images(parts)
        return contact_sheet([pictures[row : row + self.samples] for row in range(0, len(pictures), self.samples)])

    def _layouts(self, layout: Tensor) -> list[Image.Image]:
        side = self.tokenizer.config["image_size"]
        blank = to_picture(-0.5 * torch.ones(3, side, side), max(1, 256 // side))
        gaussians = Gaussians.from_tensor(layout.double().nan_to_num())
        return [draw_gaussians(blank, gaussians, row) for row in range(len(layout))]

    def _images(self, parts: Mapping[str, Tensor]) -> list[Image.Image]:
        self.tokenizer.to(next(iter(parts.values())).device)
        images = self.tokenizer.decode(self.tokenizer.unpack(parts))
        return [to_picture(image, max(1, 128 // image.shape[-1])) for image in images]


def _maps(grain: Tensor) -> list[Image.Image]:
    """Grain maps float[B, h, w, 1], fine regions white."""
    scale = max(1, 128 // grain.shape[2])
    return [to_picture(2 * each - 1, scale) for each in grain.movedim(-1, 1).expand(-1, 3, -1, -1)]


def _samples_of(cache: Any, labels: Tensor, parts: tuple[str, ...]) -> dict[str, Tensor]:
    """Packed tokens of real images, by name: the first training images of each class.

    Raises:
        ValueError: for a class without a training image.
    """
    samples, wanted = cache.dataset("train"), labels.tolist()
    by_class: dict[int, list[dict[str, Tensor]]] = {label: [] for label in wanted}
    for index in range(len(samples)):
        sample = samples[index]
        if (label := int(sample["label"])) in by_class and len(by_class[label]) < wanted.count(label):
            by_class[label].append(sample)
        if sum(map(len, by_class.values())) == len(wanted):
            break
    for label, of_class in by_class.items():
        if not of_class:
            raise ValueError(f"token cache: no training image of class {label} to take {parts[0]} from")
    # A class with fewer images than pictures repeats its images.
    turns = {label: cycle(of_class) for label, of_class in by_class.items()}
    chosen = [next(turns[label]) for label in wanted]
    return {name: torch.stack([sample[name] for sample in chosen]) for name in parts}
