"""Pictures of held-out images during training: input, initial and refined Gaussians, reconstruction."""

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from gpstoken.drawing import contact_sheet, picture_row
from gpstoken.files.writing import naming
from gpstoken.limits import at_least, limits
from gpstoken.tokenizer import GPSToken, Tokenizer
from gpstoken.training.occasions import Occasions


class ReconstructionPictures(Occasions):
    """Writes pictures/step_NNNNNNN.png into the run's folder every tenth of the training."""

    @limits(images=at_least(1), times=at_least(1))
    def __init__(self, images: int = 6, times: int = 10) -> None:
        """Makes the callback; `images` per sheet, `times` during the training."""
        super().__init__(times)
        self.images = images

    def act(self, trainer: Trainer, pl_module: LightningModule, step: int) -> None:
        """Draws the pictures, on the first process."""
        if not trainer.is_global_zero:
            return
        loader = trainer.datamodule.val_dataloader()
        if not loader:  # a data set too small to have held-out images
            return
        # Spread over the split: neighbours are often views of one photograph.
        chosen = torch.linspace(0, len(loader.dataset) - 1, min(self.images, len(loader.dataset))).long().tolist()
        image = torch.stack([loader.dataset[index]["image"] for index in chosen]).to(pl_module.device)
        path = self.file(trainer, "pictures", step, "png")
        with naming(path):
            sheet(pl_module.tokenizer, image).save(path)


@torch.no_grad()
def sheet(tokenizer: Tokenizer, image: Tensor):
    """A contact sheet, one image per row: input, (initial and refined Gaussians,) reconstruction."""
    was_training = tokenizer.training
    tokenizer.eval()
    tokens = tokenizer.encode(image)
    reconstruction = tokenizer.decode(tokens)
    tokenizer.train(was_training)
    layouts = [tokenizer.layout(image), tokens.gaussians] if isinstance(tokenizer, GPSToken) else []
    return contact_sheet([picture_row(image, layouts, reconstruction, row) for row in range(len(image))])
