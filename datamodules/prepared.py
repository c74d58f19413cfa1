"""Evaluation sets, cropped once: lossless PNG files, index.csv, and meta.json with the hash of the pixels."""

import csv
import hashlib
import io
import json
import os
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image
from torch.utils.data import Dataset
from tqdm import tqdm

from datamodules.crops import CROPS, to_tensor
from datamodules.reading import read_rgb
from datamodules.samples import Photos
from gpstoken.files.locks import temporary_folder
from gpstoken.files.plain_text import read_json

RULES = 1  # raise it with every change to reading or cropping that changes pixels


@dataclass(frozen=True)
class Prepared:
    """A prepared evaluation set.

    Attributes:
        folder: folder of the PNG files, which are numbered in the order of the other attributes.
        sources: name of the photograph behind each picture.
        labels: class number of each picture.
        fingerprint: hexadecimal sha256 over the shape and pixels of all pictures in order.
        skipped: sources of the pictures that could not be read and are therefore not in the set.
    """

    folder: Path
    sources: list[str]
    labels: list[int]
    fingerprint: str
    skipped: list[str]

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.sources)

    def read(self, i: int) -> np.ndarray:
        """Picture i, uint8[size, size, 3].

        Raises:
            ValueError: if its file was damaged after it was prepared.
        """
        try:
            return read_rgb(self.folder / file_name(i))
        except ValueError as error:
            raise ValueError(f"{error}; {_remedy(self.folder)}") from error


class EvaluationSamples(Dataset):
    """A prepared evaluation set as samples of the batch contract, in order.

    Args:
        prepared: the set.
    """

    def __init__(self, prepared: Prepared) -> None:
        """See the class."""
        self.prepared = prepared

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.prepared)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One sample of the batch contract."""
        return {"image": to_tensor(self.prepared.read(index)), "label": self.prepared.labels[index], "index": index}


def file_name(i: int) -> str:
    """Name of the file of picture i."""
    return f"{i:06d}.png"


def prepare(photos: Photos, root: Path, name: str, crop: str, size: int, skip: bool = False) -> Prepared:
    """The prepared set of some photographs: opened if it was made before, otherwise made now.

    Several processes may do this at once, and each may be killed at any time: a set is made in a temporary folder,
    which gets its name when the set is whole. A folder that a kill has left is removed when the next set is made.

    Args:
        photos: the photographs to prepare, at least one.
        root: folder of prepared sets; the set is `root/<name>-<crop><size>-<key>`, the key a hash of all it depends on.
        name: data set and split, such as "ImageNet-test".
        crop: name in CROPS.
        size: side of the squares in pixels.
        skip: whether an unreadable picture is reported and left out; otherwise it is an error.

    Raises:
        ValueError: if a picture (with `skip`: every picture) cannot be read, or the set was damaged after it was made.
    """
    folder = root / f"{name}-{crop}{size}-{_key(photos, name, crop, size)}"
    if not folder.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        _write(photos, folder, name, crop, size, skip)
    prepared, errors = _open(folder)
    if errors and not skip:
        raise ValueError(errors[0])
    return prepared


def _write(photos: Photos, folder: Path, name: str, crop: str, size: int, skip: bool) -> None:
    def square(i: int) -> tuple[np.ndarray, bytes] | ValueError:
        try:
            picture = photos.read(i)
        except ValueError as error:
            if skip:
                return error
            raise
        pixels = np.ascontiguousarray(CROPS[crop](picture, size))
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, "PNG", compress_level=1)
        return pixels, png.getvalue()

    with temporary_folder(folder.parent, ".part-") as part:
        _fill(part, photos, name, square, {"crop": crop, "size": size})
        part.chmod(0o755)  # a temporary folder is private, but others may share the data
        try:
            part.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise  # else another process was faster


def _fill(
    part: Path,
    photos: Photos,
    name: str,
    square: Callable[[int], tuple[np.ndarray, bytes] | ValueError],
    described: dict[str, Any],
) -> None:
    digest, rows, skipped = hashlib.sha256(), [], []
    cores = os.cpu_count() or 1
    with (
        ThreadPoolExecutor(cores) as pool,
        tqdm(total=len(photos), desc=f"prepare {name.replace('-', ' ')}", unit="image") as progress,
    ):
        # Only a few pictures per core are processed at a time, so that memory never holds them all.
        numbers, running = iter(range(len(photos))), deque()
        while True:
            running.extend((i, pool.submit(square, i)) for i in islice(numbers, 4 * cores - len(running)))
            if not running:
                break
            i, future = running.popleft()
            progress.update()
            result = future.result()
            if isinstance(result, ValueError):
                tqdm.write(f"skipped: {result}", file=sys.stderr)
                skipped.append({"source": photos.sources[i], "error": str(result)})
                continue
            pixels, png = result
            digest.update(repr(pixels.shape).encode())
            digest.update(pixels)
            (part / file_name(len(rows))).write_bytes(png)
            rows.append((len(rows), photos.sources[i], int(photos.labels[i])))
    if not rows:
        raise ValueError(f"{name}: none of the {len(photos)} pictures can be read; {skipped[0]['error']}")
    with (part / "index.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("index", "source", "label"), *rows])
    meta = {"fingerprint": digest.hexdigest(), "skipped": skipped, "images": len(rows)}
    meta |= described | {"pillow": PIL.__version__}
    (part / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def _open(folder: Path) -> tuple[Prepared, list[str]]:
    """The set in a folder, and what was wrong with each skipped picture."""
    try:
        meta = read_json(folder / "meta.json")
        with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        sources, labels = [row["source"] for row in rows], [int(row["label"]) for row in rows]
        skipped, errors = ([item[key] for item in meta["skipped"]] for key in ("source", "error"))
        prepared = Prepared(folder, sources, labels, meta["fingerprint"], skipped)
        expected = meta["images"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder}: damaged index.csv or meta.json: {error}; {_remedy(folder)}") from error
    if len(rows) != expected:
        raise ValueError(f"{folder}: index.csv has {len(rows)} of {expected} images; {_remedy(folder)}")
    there = set(os.listdir(folder))
    missing = [file_name(i) for i in range(expected) if file_name(i) not in there]
    if missing:
        raise ValueError(f"{folder}: {missing[0]} is missing ({len(missing)} in all); {_remedy(folder)}")
    return prepared, errors


def _remedy(folder: Path) -> str:
    return f"delete {folder}; it will be made again"


def _key(photos: Photos, name: str, crop: str, size: int) -> str:
    digest = hashlib.sha256(repr((RULES, PIL.__version__, name, crop, size)).encode())
    for source, label, picture in zip(photos.sources, photos.labels, photos.pictures, strict=True):
        digest.update(repr((source, int(label))).encode() + _identity(picture))
    return digest.hexdigest()[:12]


def _identity(picture: Any) -> bytes:
    if isinstance(picture, np.ndarray):
        return repr(picture.shape).encode() + hashlib.sha256(np.ascontiguousarray(picture)).digest()
    try:
        status = os.stat(getattr(picture, "path", picture))  # of a member of a shard: that of the shard
    except OSError:
        return f"{picture} is absent".encode(errors="surrogateescape")
    return repr((str(picture), status.st_size, status.st_mtime_ns)).encode()
