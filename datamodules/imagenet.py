"""ImageNet-1k (ILSVRC2012)."""

from pathlib import Path
from typing import Any

from datamodules.base import ImageDataModule, Photos
from datamodules.imagenet_files import imagenet_files
from datamodules.shards import shard_photos
from datamodules.subsets import MONITORED, contents, draw, keep
from gpstoken.limits import limits, text


class ImageNet(ImageDataModule):
    """ImageNet-1k. Train: its training images; test: the official validation images; labels: ranks of WordNet ids.

    Val is 2,000 of the test images and only monitors training: nothing is selected on it, and the weights that are
    tested are the last average.

    Args:
        root: holds `train/nXXXXXXXX/*.JPEG`, which testing does not need, and `val/nXXXXXXXX/*.JPEG` or a flat
            `val/ILSVRC2012_val_00000001.JPEG` ... with `ILSVRC2012_devkit_t12/`. Or tar shards with labels in `.cls`
            (see `datamodules.shards`): `train/*.tar` and `val/*.tar`, or `imagenet-{train,val}-000000.tar` ...
        **options: those of ImageDataModule.
    """

    licence = "ImageNet's terms of access: non-commercial research and education"
    citation = "Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 115 (2015) 211-252"
    obtain = "register at image-net.org, unpack ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar, devkit to {root}"

    @limits(root=text())
    def __init__(self, root: str, **options: Any) -> None:
        """See the class."""
        super().__init__(**options)
        self.root = Path(root)

    def photos(self, split: str) -> Photos:
        """The pictures of a split; see ImageDataModule."""
        side = "train" if split == "train" else "val"
        shards = sorted([*self.root.glob(f"{side}/*.tar"), *self.root.glob(f"*-{side}*-*.tar")])
        photos = imagenet_files(self.root, side) or shard_photos(self.root, shards)
        if not photos:
            raise self.missing(f"{contents(self.root)}, no {side} image ({side}: {contents(self.root / side)})")
        return keep(photos, draw(photos.sources, MONITORED)) if split == "val" else photos
