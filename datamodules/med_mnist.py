"""The 2-D sets of MedMNIST; the paper's is RetinaMNIST at 224 pixels."""

from pathlib import Path
from typing import Any

from datamodules.base import ImageDataModule, Photos
from datamodules.med_mnist_files import download, read_split
from datamodules.subsets import contents
from gpstoken.limits import flag, limits, one_of, text


class MedMNIST(ImageDataModule):
    """A 2-D set of MedMNIST with its official splits, kept in memory as uint8; grey becomes three equal channels.

    Args:
        root: holds `<name>_<size>.npz`, or `<name>.npz` of 28 pixels.
        name: name of the set, as MedMNIST writes it. Labels are 0 where a picture may have several (chestmnist).
        size: side of the pictures in pixels: 28, 64, 128 or 224.
        download: whether to fetch an absent file with the package `medmnist`, which checks its MD5.
        **options: those of ImageDataModule.
    """

    licence = "CC BY 4.0 (dermamnist: CC BY-NC 4.0)"
    citation = "Yang et al., MedMNIST v2, Scientific Data 10 (2023) 41; and the source that medmnist.INFO names"
    obtain = "set download, or fetch the file to {root} from the address that medmnist.INFO names"

    @limits(root=text(), name=text(), size=one_of(28, 64, 128, 224), download=flag())
    def __init__(
        self, root: str, name: str = "retinamnist", size: int = 224, download: bool = False, **options: Any
    ) -> None:
        """See the class."""
        super().__init__(**options)
        self.root = Path(root)
        self.name = name
        self.size = size
        self.download = download

    def photos(self, split: str) -> Photos:
        """The pictures of a split; see ImageDataModule."""
        path = self.root / (f"{self.name}.npz" if self.size == 28 else f"{self.name}_{self.size}.npz")
        if not path.is_file() and self.download:
            download(self.name, self.size, path)
        if not path.is_file():
            raise self.missing(f"{contents(self.root)}, no {path.name}")
        pictures, labels = read_split(path, split, self.size)
        return Photos([f"{path.name}/{split}/{i}" for i in range(len(labels))], labels, pictures)
