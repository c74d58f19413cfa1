"""Pictures of samples during the training of a generator's stage."""

from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from PIL import Image
from torch import Tensor

from gpstoken.drawing import contact_sheet, draw_gaussians, to_picture
from gpstoken.flow import Sampling
from gpstoken.gaussians import Gaussians
from gpstoken.loading import load_tokenizer, tokenizer_hash
from gpstoken.stage_model import StageModel
from gpstoken.tokens import Tokens


class SamplePictures(Callback):
    """Writes pictures/step_NNNNNNN.png into the run's folder every tenth of the training, a class a row.

    The layout stage is drawn as it generates, before calibration; the texture stage gets layouts of real images, so
    that its pictures show the progress of this stage alone.
    """

    def __init__(self, tokenizer: str | None = None, times: int = 10, samples: int = 6, steps: int = 25) -> None:
        """Makes the callback.

        Args:
            tokenizer: checkpoint of the tokenizer; None: where the token cache was made from.
            times: over the training.
            samples: pictures a class, of at most ten classes.
            steps: of the ODE sampler.
        """
        self.path, self.times, self.samples, self.steps = tokenizer, times, samples, steps
        self._drawn_at = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Reads the tokenizer.

        Raises:
            ValueError: if it is not the one whose tokens are trained on.
        """
        if stage != "fit":
            return
        record = trainer.datamodule.record["tokenizer"]
        path = self.path or record["path"]
        self.tokenizer = load_tokenizer(path)
        if tokenizer_hash(self.tokenizer) != record["sha256"]:
            raise ValueError(f"{path}: not the tokenizer that the token cache was made with")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draws if it is time."""
        step, steps = trainer.global_step, int(trainer.estimated_stepping_batches)
        if step == self._drawn_at or step * self.times // steps == (step - 1) * self.times // steps:
            return
        self._drawn_at = step
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir) / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        self._sheet(trainer, pl_module).save(folder / f"step_{step:07d}.png")

    def _sheet(self, trainer: Trainer, pl_module: LightningModule) -> Image.Image:
        model = StageModel(pl_module.described, pl_module.averaged.module, {}).to(pl_module.device)
        classes = range(min(10, trainer.datamodule.record["num_classes"]))
        labels = torch.tensor([label for label in classes for _ in range(self.samples)], device=pl_module.device)
        layout = _layouts_of(trainer.datamodule, labels) if model.stage == "texture" else None
        tokens = model.sample(labels, range(len(labels)), 0, Sampling("ode", "euler", self.steps), layout=layout)
        if model.stage == "layout":
            side = self.tokenizer.config["image_size"]
            blank = to_picture(-0.5 * torch.ones(3, side, side), max(1, 256 // side))
            gaussians = Gaussians.from_tensor(tokens.double().nan_to_num())
            pictures = [draw_gaussians(blank, gaussians, row) for row in range(len(labels))]
        else:
            self.tokenizer.to(tokens.device)
            tokens = tokens if model.stage == "grid" else Tokens.from_tensor(tokens)
            with torch.no_grad():
                images = self.tokenizer.decode(tokens)
            pictures = [to_picture(image, max(1, 128 // image.shape[-1])) for image in images]
        return contact_sheet([pictures[row : row + self.samples] for row in range(0, len(pictures), self.samples)])


def _layouts_of(cache: Any, labels: Tensor) -> Tensor:
    """Layouts of real images of the classes, the first of each in the training set."""
    samples, found = cache.dataset("train"), {}
    wanted = {label: labels.tolist().count(label) for label in set(labels.tolist())}
    for index in range(len(samples)):
        sample = samples[index]
        label = int(sample["label"])
        if len(found.setdefault(label, [])) < wanted.get(label, 0):
            found[label].append(sample["layout"])
        if all(len(found.get(label, [])) == count for label, count in wanted.items()):
            break
    taken = {label: iter(layouts) for label, layouts in found.items()}
    absent = sorted(set(wanted) - set(found))
    if absent:
        raise ValueError(f"token cache: no training image of class {absent[0]} to take a layout from")
    # A class with fewer images than pictures repeats its first layout.
    return torch.stack([next(taken[label], found[label][0]) for label in labels.tolist()]).to(labels.device)
