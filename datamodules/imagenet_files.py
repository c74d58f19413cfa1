"""ImageNet as files: class folders, or the flat validation folder with the development kit of ILSVRC2012."""

import re
from pathlib import Path

from scipy.io import loadmat

from datamodules.samples import Photos
from datamodules.subsets import class_folders, files, picture_names

META = "ILSVRC2012_devkit_t12/data/meta.mat"
TRUTH = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"


def imagenet_files(root: Path, side: str) -> Photos:
    """The pictures in `root/side`, possibly none, labelled by the rank of their WordNet id among all classes.

    The classes are those of the development kit where the validation folder is flat, and otherwise those that have a
    folder in train or val. If no class is missing, both give torchvision's ranks.

    Args:
        root: folder that holds train and val.
        side: "train" or "val".

    Raises:
        ValueError: for a folder or file whose name is not ImageNet's, or a development kit that is missing or broken.
    """
    flat = picture_names(root / "val")
    if flat:
        classes, truth = read_devkit(root)
    else:
        classes = sorted({path.name for path in root.glob("*/n*") if path.parent.name in ("train", "val")})
    rank = {wnid: i for i, wnid in enumerate(classes)}
    if flat and side == "val":
        numbers = [re.fullmatch(r"ILSVRC2012_val_(\d{8})\.JPEG", name) for name in flat]
        for name, number in zip(flat, numbers, strict=True):
            if number is None or not 1 <= int(number[1]) <= len(truth):
                raise ValueError(f"ImageNet: {root / 'val' / name}: not one of the {len(truth)} validation images")
        labels = [rank[truth[int(number[1]) - 1]] for number in numbers]
        return files(root, [f"val/{name}" for name in flat], labels)
    names, labels = [], []
    for wnid, pictures in class_folders(root / side).items():
        if not re.fullmatch(r"n\d{8}", wnid) or wnid not in rank:
            raise ValueError(f"ImageNet: {root / side / wnid}: expected folders of classes, named nXXXXXXXX")
        names += [f"{side}/{wnid}/{picture}" for picture in pictures]
        labels += [rank[wnid]] * len(pictures)
    return files(root, names, labels)


def read_devkit(root: Path) -> tuple[list[str], list[str]]:
    """The development kit's classes.

    Args:
        root: folder that holds ILSVRC2012_devkit_t12.

    Returns:
        The sorted WordNet ids of all classes, and the id of each validation image in the order of their numbers.

    Raises:
        ValueError: if a file is missing, or the two do not belong together.
    """
    for name in (META, TRUTH):
        if not (root / name).is_file():
            raise ValueError(
                f"ImageNet: {root / 'val'} is flat and has no {root / name}; unpack ILSVRC2012_devkit_t12.tar.gz there"
            )
    try:
        synsets = loadmat(root / META, squeeze_me=True)["synsets"]
        # Synsets with children are the inner nodes of the hierarchy, not classes.
        rows = zip(synsets["ILSVRC2012_ID"], synsets["WNID"], synsets["num_children"], strict=True)
        wnids = {int(number): str(wnid) for number, wnid, children in rows if children == 0}
        truth = [wnids[int(line)] for line in (root / TRUTH).read_text(encoding="ascii").split()]
    except Exception as error:  # scipy raises nearly anything for a broken file
        raise ValueError(f"ImageNet: {root / META}, or the ground truth beside it, is broken: {error!r}") from error
    return sorted(wnids.values()), truth
