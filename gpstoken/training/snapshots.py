"""Snapshots of a generator stage's averaged weights during training, for the curve of quality over steps."""

from lightning import LightningModule, Trainer

from gpstoken.files.checkpoints import write_plain
from gpstoken.generators.loading import AVERAGED
from gpstoken.limits import at_least, limits
from gpstoken.training.occasions import Occasions
from gpstoken.training.sharding import whole_generator


class Snapshots(Occasions):
    """Writes snapshots/step_NNNNNNN.ckpt into the run's folder, the last one at the end of training.

    A snapshot holds only the averaged weights, a fifth of last.ckpt; `load_generator` reads it.
    """

    @limits(times=at_least(1))
    def __init__(self, times: int = 4) -> None:
        """Makes the callback; `times` is the number of snapshots during the training."""
        super().__init__(times)

    def act(self, trainer: Trainer, pl_module: LightningModule, step: int) -> None:
        """Writes the snapshot, on the first process."""
        generator = whole_generator(pl_module.averaged.module)
        if not trainer.is_global_zero:
            return
        weights = {f"{AVERAGED}{name}": tensor for name, tensor in generator.state_dict().items()}
        checkpoint = {"generator": pl_module.described, "state_dict": weights, "global_step": step}
        write_plain(self.file(trainer, "snapshots", step, "ckpt"), checkpoint)
