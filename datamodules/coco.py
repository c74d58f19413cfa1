"""COCO 2017."""

from pathlib import Path
from typing import Any

from datamodules.base import ImageDataModule, Photos
from datamodules.subsets import contents, draw, files, hold_out, picture_names
from gpstoken.limits import at_least, limits, optional, text


class COCO(ImageDataModule):
    """COCO 2017. Test: random images of val2017; val: at most 2,000 images of train2017; train: the rest of train2017.

    Every label is 0, because an image shows objects of several classes. Annotations are not read.

    Args:
        root: holds `val2017/*.jpg`, and `train2017/*.jpg` to train.
        subset: size of the test set; all of val2017 where it has no more images.
        list_file: text file that lists the test set, one `val2017/NAME.jpg` per line. It is obeyed if it exists and
            written if it does not.
        **options: those of ImageDataModule.
    """

    licence = "annotations CC BY 4.0; images under Flickr's terms of use"
    citation = "Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014"
    obtain = "unpack val2017.zip (1 GB), and train2017.zip (18 GB) to train, from cocodataset.org to {root}"

    @limits(root=text(), subset=at_least(1), list_file=optional(text()))
    def __init__(self, root: str, subset: int = 5000, list_file: str | None = None, **options: Any) -> None:
        """See the class."""
        super().__init__(**options)
        self.root = Path(root)
        self.subset = subset
        self.list_file = list_file

    def photos(self, split: str) -> Photos:
        """The pictures of a split; see ImageDataModule."""
        folder = "val2017" if split == "test" else "train2017"
        names = [f"{folder}/{name}" for name in picture_names(self.root / folder)]
        if not names:
            raise self.missing(f"{contents(self.root)}, no picture in {folder}")
        if split == "test":
            return files(self.root, draw(names, self.subset, self.list_file))
        return hold_out(files(self.root, names), split)
