"""The files of generated samples: a folder of pictures, or an npz with the finished groups beside it."""

import csv
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gpstoken.files.image_archive import write_archive
from gpstoken.files.plain_text import read_json
from gpstoken.files.writing import abandoned, check_writable, replacing

OWN = r"\d{6}\.(png|npy)|labels\.csv|samples\.json|\.identity\.json"  # files of the work folder


class SampleFiles:
    """The output of `gpstoken generate`: finished samples are not repeated, and those of other commands not mixed in.

    A folder gets NNNNNN.png, labels.csv and the manifest samples.json. OUT.npz gets `arr_0` uint8[n, H, W, 3] and
    `arr_1` int64[n] (the format of ADM, Dhariwal and Nichol 2021), OUT.json is its manifest, and its groups wait in
    .OUT.npz.parts until all are finished. The manifest is written last: an output with a manifest is complete.
    """

    def __init__(self, output: Path, identity: dict[str, Any], labels: Sequence[int], group: int) -> None:
        """Checks the existing files, and creates the work folder.

        Args:
            output: a folder, or a file that ends in .npz.
            identity: everything that the pixels depend on, as plain data; a part of the manifest.
            labels: class of each sample.
            group: number of samples that are generated together.

        Raises:
            ValueError: if there are samples of another identity, or other files.
        """
        self.output, self.labels, self.group = output, labels, group
        self.identity = json.loads(json.dumps(identity))  # in the form in which it is read back
        self.archive = output.suffix == ".npz"
        self.work = output.with_name(f".{output.name}.parts") if self.archive else output
        self.manifest = output.with_suffix(".json") if self.archive else output / "samples.json"
        self.unfinished = self.work / ".identity.json"  # stands in for the manifest until all is finished
        self._check()
        check_writable(self.work)
        self.work.mkdir(parents=True, exist_ok=True)
        check_writable(self.unfinished)
        for part in _half_written(self.work, self.output):
            part.unlink()

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to do."""
        return self.manifest.exists() and (self.output.is_file() if self.archive else not self.missing())

    def missing(self) -> list[int]:
        """Numbers of the groups that are not written yet."""
        groups = range(-(-len(self.labels) // self.group))
        return [group for group in groups if not all(path.exists() for path in self._paths(group))]

    def samples(self, group: int) -> range:
        """Numbers of a group's samples."""
        return range(self.group * group, min(self.group * (group + 1), len(self.labels)))

    def write(self, group: int, images: np.ndarray) -> None:
        """Writes the images uint8[>= n, H, W, 3] of a group of n samples."""
        if not self.unfinished.exists():
            with replacing(self.unfinished) as part:
                part.write_text(json.dumps(self.identity))
        images = images[: len(self.samples(group))]
        for path, content in zip(self._paths(group), [images] if self.archive else images, strict=True):
            with replacing(path) as part, part.open("wb") as file:
                if self.archive:
                    np.save(file, content, allow_pickle=False)
                else:
                    Image.fromarray(content).save(file, format="PNG")

    def finish(self, made: dict[str, Any]) -> None:
        """Writes the remaining files once all groups are there; the manifest records `made`, the cost of sampling."""
        if self.archive:
            self._assemble()
        else:
            with replacing(self.output / "labels.csv") as part, part.open("w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([("index", "label"), *enumerate(self.labels)])
        with replacing(self.manifest) as part:
            part.write_text(json.dumps(self.identity | made, indent=1) + "\n")
        self.clear()

    def clear(self) -> None:
        """Removes the files that are not needed once there is a manifest."""
        if self.archive:
            shutil.rmtree(self.work)
        else:
            self.unfinished.unlink(missing_ok=True)

    def _check(self) -> None:
        if self.output.exists() and self.output.is_dir() == self.archive:
            wanted = "is a folder, but ends in .npz" if self.archive else "is a file, but not an .npz"
            raise ValueError(f"{self.output}: {wanted}; name a folder or FILE.npz")
        known = [path for path in (self.manifest, self.unfinished) if path.is_file()]
        for path in known:
            try:
                identity = read_json(path)
            except ValueError as error:
                message = "already exists, but not from gpstoken generate; name another output"
                raise ValueError(f"{path}: {message}") from error
            if difference := _difference(identity, self.identity):
                raise ValueError(f"{self.output}: has samples of another command, {difference}; name another output")
        if not known:
            strange = [self.output] if self.output.is_file() else self.work.iterdir() if self.work.is_dir() else []
            for path in set(strange) - set(_half_written(self.work, self.output)):
                raise ValueError(f"{path}: already exists, but not from gpstoken generate; name another output")

    def _paths(self, group: int) -> list[Path]:
        if self.archive:
            return [self.work / f"{group:06}.npy"]
        return [self.work / f"{number:06}.png" for number in self.samples(group)]

    def _assemble(self) -> None:
        """Writes the npz with one group in memory at a time, and no dates: every run writes the same bytes."""
        count = len(self.labels)
        groups = [path for group in range(-(-count // self.group)) for path in self._paths(group)]
        shape = (count, *np.load(groups[0], allow_pickle=False).shape[1:])
        images = (np.load(path, allow_pickle=False) for path in groups)
        with replacing(self.output) as part:
            write_archive(part, shape, images, self.labels)


def _half_written(work: Path, output: Path) -> list[Path]:
    """The temporary files that a kill has left behind."""
    whole = f"{re.escape(output.name)}|{re.escape(output.stem)}\\.json"
    return abandoned(work, OWN) + abandoned(output.parent, whole)


def _difference(found: Any, wanted: Any, name: str = "") -> str | None:
    """Describes the first value of `wanted` that differs in `found`."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            if difference := _difference(found.get(key), value, f"{name}.{key}".removeprefix(".")):
                return difference
        return None
    return None if found == wanted else f"{name} is {json.dumps(found)} there and {json.dumps(wanted)} here"
