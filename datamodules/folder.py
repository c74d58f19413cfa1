"""A user's own photographs: any folder, or a text file with one path per line."""

import codecs
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from datamodules.base import ImageDataModule, Photos
from datamodules.reading import EXTENSIONS
from datamodules.splits import split_by_group
from datamodules.subsets import files
from gpstoken.files.finding import Found, find_pictures
from gpstoken.files.pictures import printable
from gpstoken.limits import limits, text

# Names of a split's folder, in lower case
SPLIT_OF = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class Folder(ImageDataModule):
    """The photographs of a folder and all folders below it, or of a list, read when needed.

    Links to folders are followed; hidden files and folders are left out, and so is what gpstoken itself wrote there:
    runs, prepared sets, generated images. If the folder has subfolders train, val (validation) or test, in upper or
    lower case, these are the splits; otherwise the photos are split 80/10/10. The label of a photo is the rank of its
    folder among the sorted names of all folders. Training views are the centre square, mirrored or not.

    Args:
        root: the folder; or a text file with one path per line, relative to that file or absolute.
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
        self._names: list[str] | None = None

    def photos(self, split: str) -> Photos:
        """The photos of a split; see ImageDataModule."""
        names = self._pictures()
        parts = [name.split("/") for name in names]
        folders = self._split_folders()
        if folders:
            splits = [folders.get(part[0]) for part in parts]
            classes = ["/".join(part[1:-1]) for part in parts]
        else:
            splits = split_by_group([printable(name) for name in names])
            classes = ["/".join(part[:-1]) for part in parts]
        number = {name: i for i, name in enumerate(sorted(set(classes)))}
        chosen = [i for i, name in enumerate(splits) if name == split]
        if not chosen and split != "val":
            raise ValueError(f"Folder: {printable(self.root)} has no picture for {split}: {self._shares(splits)}")
        base = self.root.parent if self.root.is_file() else self.root
        return files(base, [names[i] for i in chosen], [number[classes[i]] for i in chosen])

    def _pictures(self) -> list[str]:
        """Paths relative to the root, or as the list gives them; searched for once."""
        if self._names is None:
            pictures = Found(_listed(self.root)) if self.root.is_file() else self._search()
            if not pictures.names:
                what = "a folder without pictures" if self.root.is_dir() else "nothing"
                raise self.missing("an empty list" if self.root.is_file() else "; ".join([what, *pictures.notes()]))
            for note in pictures.notes():
                print(f"Folder {printable(self.root)}: {note}", file=sys.stderr)
            self._names = pictures.names
        return self._names

    def _search(self) -> Found:
        """The pictures of a folder. Folders of splits are searched one by one: two may be links to one folder."""
        if not self.root.is_dir():
            return Found()
        splits = self._split_folders()
        if not splits:
            return find_pictures(self.root)
        whole = Found()
        for folder in sorted(splits):
            pictures = find_pictures(self.root / folder)
            whole.names += [f"{folder}/{name}" for name in pictures.names]
            whole.other += pictures.other
            whole.ours += [f"{folder}/{name}" for name in pictures.ours]
            whole.closed += [folder if name == "." else f"{folder}/{name}" for name in pictures.closed]
        whole.names.sort()
        return whole

    def _split_folders(self) -> dict[str, str]:
        """The split that each subfolder named after one stands for.

        Raises:
            ValueError: if two subfolders stand for the same split.
        """
        if not self.root.is_dir():
            return {}
        folders = sorted(path.name for path in self.root.iterdir() if path.name.lower() in SPLIT_OF and path.is_dir())
        splits = {name: SPLIT_OF[name.lower()] for name in folders}
        for split, count in Counter(splits.values()).items():
            if count > 1:
                several = " and ".join(name for name in folders if splits[name] == split)
                raise ValueError(f"Folder: {printable(self.root)} has {several}, which are the same split; keep one")
        return splits

    def _shares(self, splits: list[str | None]) -> str:
        counts = ", ".join(f"{split} {splits.count(split)}" for split in ("train", "val", "test"))
        return (
            f"{len(splits)} in all ({counts}); without folders train, val and test it takes three pictures to fill them"
        )


def _listed(path: Path) -> list[str]:
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # what Windows calls Unicode
        text = content.decode("utf-16", errors="replace")
    else:
        text = content.removeprefix(codecs.BOM_UTF8).decode(errors="surrogateescape")
    return sorted({line.strip() for line in text.split("\n") if line.strip()})
