"""A user's own photographs: any folder, or a text file with one path a line."""

from pathlib import Path
from typing import Any

from datamodules.base import ImageDataModule, Photos
from datamodules.reading import EXTENSIONS
from datamodules.splits import SPLITS, split_by_group
from datamodules.subsets import files
from gpstoken.limits import limits, text


class Folder(ImageDataModule):
    """Photographs of a folder and all folders below it, or of a list, read when wanted.

    Where the folder has any of the folders train, val and test, these are the splits; else photos are split 80/10/10.
    The label is the number of the folder that a photo lies in, in the order of their names. Training views are the
    centre square, mirrored or not.

    Args:
        root: the folder; or a text file of paths, one a line, relative to it or absolute.
        **options: those of ImageDataModule.
    """

    licence = "that of the user's own photographs"
    citation = "none"
    obtain = f"expected a folder of pictures ({' '.join(EXTENSIONS)}), or a text file with one path a line"

    @limits(root=text())
    def __init__(self, root: str, **options: Any) -> None:
        """See the class."""
        super().__init__(**options)
        self.root = Path(root)

    def photos(self, split: str) -> Photos:
        """The photos of a split; see ImageDataModule."""
        names = self._names()
        if any((self.root / folder).is_dir() for folder in SPLITS):
            splits = [Path(name).parts[0] for name in names]
            classes = [Path(*Path(name).parts[1:-1]).as_posix() for name in names]
        else:
            splits = split_by_group(names)
            classes = [Path(name).parent.as_posix() for name in names]
        number = {name: i for i, name in enumerate(sorted(set(classes)))}
        chosen = [i for i, own in enumerate(splits) if own == split]
        base = self.root.parent if self.root.is_file() else self.root
        return files(base, [names[i] for i in chosen], [number[classes[i]] for i in chosen])

    def _names(self) -> list[str]:
        if self.root.is_file():
            lines = self.root.read_text(encoding="utf-8").splitlines()
            names = sorted({line.strip() for line in lines if line.strip()})
        else:
            paths = (path for path in self.root.rglob("*") if path.suffix.lower() in EXTENSIONS)
            # Hidden files are thumbnails and the like, made by file managers.
            names = sorted(path.relative_to(self.root).as_posix() for path in paths if not path.name.startswith("."))
        if not names:
            what = "a folder without pictures" if self.root.is_dir() else "nothing"
            raise self.missing("an empty list" if self.root.is_file() else what)
        return names
