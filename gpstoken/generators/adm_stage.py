"""What ADM and the classifier that guides it have in common: networks on pixels, with the same arguments."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gpstoken.base import Generator
from gpstoken.generators import adm_names
from gpstoken.generators.ddpm import inputs_of


class PixelStage(Generator):
    """Base of the two networks of ADM (Dhariwal and Nichol, arXiv 2105.05233), which read pixels in [-1, 1].

    Attributes:
        shape: (3, H, W) of the images.
        unet: the arguments that both networks make of `gpstoken.generators.adm_unet.unet_arguments`.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Reads the arguments of a subclass: those of `unet_arguments`, and num_classes."""
        super().__init__()
        self.config = {**config, "block_out_channels": tuple(config["block_out_channels"])}
        self.unet = {name: value for name, value in self.config.items() if name != "num_classes"}
        self.num_classes, self.shape = config["num_classes"], (3, config["image_size"], config["image_size"])

    def prepare(self, record: Mapping[str, Any]) -> None:
        """Checks that the cache holds pixels of this size.

        Raises:
            ValueError: if not, or if the number of classes differs.
        """
        super().prepare(record)
        code = record["code"]
        held = (code["channels"], *code["shape"])
        if held != self.shape or list(record["statistics"]) != ["latent"]:
            raise ValueError(f"generator: takes pixels {list(self.shape)}, but the cache has tokens {list(held)}")

    def inputs(self, batch: int) -> dict[str, Tensor]:
        """Noise at random times."""
        return inputs_of(self.shape, batch)

    def own_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict of published weights (256x256_diffusion.pt, 256x256_classifier.pt)."""
        return {f"network.{name}": tensor for name, tensor in adm_names.own_names(tensors, self.unet).items()}
