"""Which pictures of a set are used: listed, drawn at random, or split where there is no official split.

The draw never depends on the seed of training: all seeds of a row are trained and tested on the same pictures.
"""

import hashlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from datamodules.reading import EXTENSIONS
from datamodules.samples import Photos
from datamodules.splits import split_by_group
from gpstoken.files.pictures import printable
from gpstoken.files.writing import replace_file

MONITORED = 2000  # images that monitor training: enough for a stable mean, few enough to evaluate often


def picture_names(folder: Path) -> list[str]:
    """Names of the pictures that lie directly in a folder, sorted; none where there is no such folder.

    Args:
        folder: any path. Hidden files (thumbnails and the like, made by file managers) are left out.
    """
    names = os.listdir(folder) if folder.is_dir() else []
    return sorted(name for name in names if not name.startswith(".") and name.lower().endswith(EXTENSIONS))


def class_folders(folder: Path) -> dict[str, list[str]]:
    """The sorted names of the pictures in each subfolder of `folder`; subfolders without pictures are left out.

    Args:
        folder: any path. Subfolders come in the order of their names, ignoring case.
    """
    names = os.listdir(folder) if folder.is_dir() else []
    folders = {name: picture_names(folder / name) for name in sorted(names, key=lambda name: (name.casefold(), name))}
    return {name: pictures for name, pictures in folders.items() if pictures}


def contents(folder: Path) -> str:
    """What lies in a folder, in a few words, for an error message that says what was found instead."""
    if not folder.is_dir():
        return "a file" if folder.exists() else "nothing"
    names = sorted(os.listdir(folder))
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"a folder with {', '.join(names[:4])}{more}" if names else "an empty folder"


def files(root: Path, names: Sequence[str], labels: Sequence[int] | None = None) -> Photos:
    """Photos named by their paths relative to `root`, which may be moved (see `printable`); labels 0 unless given."""
    return Photos([printable(name) for name in names], list(labels or [0] * len(names)), _Paths(root, list(names)))


def keep(photos: Photos, sources: Collection[str]) -> Photos:
    """The photos whose sources are among `sources`, in their order."""
    sources = set(sources)
    kept = [i for i, source in enumerate(photos.sources) if source in sources]
    return Photos(*([column[i] for i in kept] for column in (photos.sources, photos.labels, photos.pictures)))


def draw(names: Sequence[str], count: int, list_file: str | Path | None = None) -> list[str]:
    """`count` names drawn at random, sorted; all of them where there are no more.

    Args:
        names: distinct names.
        count: how many, >= 1.
        list_file: a text file with one name per line. It is obeyed if it exists, whatever `count` says, and written if
            it does not.

    Raises:
        ValueError: for a count below 1, or a list that is empty, names a picture twice or names one that is missing.
    """
    if count < 1:
        raise ValueError(f"subset must be at least 1, got {count}")
    if list_file is not None and Path(list_file).is_file():
        return _listed(names, Path(list_file))
    # A hash rather than a random generator: the order of the others stays when a picture is added or removed.
    chosen = sorted(sorted(names, key=lambda name: hashlib.sha256(_bytes(name)).digest())[:count])
    if list_file is not None:
        replace_file(Path(list_file), b"".join(_bytes(name) + b"\n" for name in chosen))
    return chosen


def hold_out(photos: Photos, split: str) -> Photos:
    """Splits training pictures into "train" and "val": a tenth (rounded up, at most MONITORED) is held out as "val".

    Args:
        photos: the training pictures; a single one goes to "train".
        split: "train" or "val".

    Raises:
        ValueError: if there is no picture.
    """
    if not photos:
        raise ValueError(f"no picture is left for {split}: test has them all; set a smaller subset")
    sources = list(photos.sources)
    held = set(draw(sources, min(MONITORED, -(-len(sources) // 10)))) if len(sources) > 1 else set()
    return keep(photos, held if split == "val" else set(sources) - held)


def split_or_all(photos: Photos, split: str, test_on_all: bool, name: str) -> Photos:
    """A split of a set that has no official one.

    Args:
        photos: the whole set.
        split: "train", "val" or "test".
        test_on_all: False: 80/10/10. True: every picture is in "test", for models trained elsewhere.
        name: name of the data set, for the error.

    Raises:
        ValueError: if test_on_all is on and another split is asked for.
    """
    if test_on_all:
        if split != "test":
            raise ValueError(f"{name}: test_on_all puts every picture into test, so {split} has none; leave it off")
        return photos
    splits = dict(zip(photos.sources, split_by_group(photos.sources), strict=True))
    return keep(photos, [source for source in photos.sources if splits[source] == split])


class _Paths(Sequence):
    """Paths made on demand: the million paths of ImageNet would take seconds to make and 400 MB in every worker."""

    def __init__(self, root: Path, names: list[str]) -> None:
        self.root, self.names = root, names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> Path:
        return self.root / self.names[i]


def _bytes(name: str) -> bytes:
    """A file's name as the disk has it, which need not be UTF-8."""
    return name.encode(errors="surrogateescape")


def _listed(names: Sequence[str], path: Path) -> list[str]:
    listed = [line.strip() for line in path.read_text("utf-8", "surrogateescape").splitlines() if line.strip()]
    absent = sorted(set(listed) - set(names))
    if not listed:
        raise ValueError(f"{path}: an empty list; delete it to draw a new one")
    if absent:
        raise ValueError(f"{path}: names {len(absent)} pictures that do not exist, the first is {absent[0]}")
    if len(set(listed)) < len(listed):
        raise ValueError(f"{path}: names a picture twice")
    return sorted(listed)
