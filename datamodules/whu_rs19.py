"""WHU-RS19, satellite scenes."""

from pathlib import Path
from typing import Any

from datamodules.base import ImageDataModule, Photos
from datamodules.subsets import class_folders, contents, files, split_or_all
from gpstoken.limits import flag, limits, text

CLASSES = 19


class WHURS19(ImageDataModule):
    """WHU-RS19: about 1,000 scenes of 600 x 600 pixels in 19 folders, `root/Airport/*.jpg` to `root/Viaduct/*.jpg`.

    The label is the rank of the folder's name, ignoring case. There is no official split; the split is 80/10/10.

    Args:
        root: holds the 19 folders, named as downloaded.
        test_on_all: puts all scenes into test, for models trained elsewhere.
        **options: those of ImageDataModule.
    """

    licence = "none stated; images of Google Earth, published for research"
    citation = "Xia et al., Structural High-Resolution Satellite Image Indexing, ISPRS TC VII Symposium (2010) 298-303"
    obtain = "unpack WHU-RS19.zip of captain-whu.github.io/BED4RS to {root}"

    @limits(root=text(), test_on_all=flag())
    def __init__(self, root: str, test_on_all: bool = False, **options: Any) -> None:
        """See the class."""
        super().__init__(**options)
        self.root = Path(root)
        self.test_on_all = test_on_all

    def photos(self, split: str) -> Photos:
        """The pictures of a split; see ImageDataModule."""
        folders = class_folders(self.root)
        if len(folders) != CLASSES:
            raise self.missing(f"{contents(self.root)}, {len(folders)} folders with pictures instead of {CLASSES}")
        names = [f"{folder}/{name}" for folder in folders for name in folders[folder]]
        labels = [i for i, folder in enumerate(folders) for _ in folders[folder]]
        return split_or_all(files(self.root, names, labels), split, self.test_on_all, "WHURS19")
