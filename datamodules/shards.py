"""Tar shards in WebDataset's format, read by random access: a picture is a place in a shard.

An index of each shard is made once and kept in the user's cache. With random access a shard is just another place where
pictures lie: the order of an epoch, the exact resume and the distributed samplers are the same as for plain files. The
sequential loader of the `webdataset` package is not used, because its order depends on workers and devices.
"""

import contextlib
import hashlib
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from datamodules.preparation.fetch import default_cache
from datamodules.reading import EXTENSIONS
from datamodules.samples import Photos
from gpstoken.files.writing import replace_file

BLOCK = 512  # bytes; a tar file is made of such blocks and ends with two that are zero


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside an uncompressed tar file.

    Attributes:
        path: the tar file.
        name: name of the member.
        offset: where its content begins, in bytes.
        size: length of its content in bytes.
    """

    path: Path
    name: str
    offset: int
    size: int

    def read_bytes(self) -> bytes:
        """The content; if the shard has been truncated since, it is shorter, and decoding the picture fails."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def __str__(self) -> str:
        """`shard.tar!member`."""
        return f"{self.path}!{self.name}"


def shard_photos(root: Path, shards: Sequence[Path]) -> Photos:
    """The labelled pictures of shards, in the order of the shards and of their members.

    Args:
        root: folder that sources are named relative to.
        shards: uncompressed tar files in which each picture, `KEY.jpg`, has its class number beside it in `KEY.cls`.

    Returns:
        Photos whose pictures are Members.

    Raises:
        ValueError: for a shard that is damaged or cut short, or a picture without a label.
    """
    sources, labels, pictures = [], [], []
    for shard in tqdm(shards, desc="index of shards", unit="shard", disable=len(shards) < 20):
        for name, offset, size, label in shard_index(shard):
            sources.append(f"{shard.relative_to(root).as_posix()}!{name}")
            labels.append(label)
            pictures.append(Member(shard, name, offset, size))
    return Photos(sources, labels, pictures)


def shard_index(path: Path) -> list[tuple[str, int, int, int]]:
    """(member name, offset, size, label) of each picture of a shard.

    The index is kept in the cache (see `default_cache`) under the shard's path, size and modification time.

    Args:
        path: the tar file.

    Raises:
        ValueError: see `shard_photos`.
    """
    stat = path.stat()
    key = hashlib.sha256(f"{path.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}".encode()).hexdigest()[:32]
    kept = default_cache() / "shards" / f"{key}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):  # missing or damaged: made again
        listed = json.loads(kept.read_text(encoding="utf-8"))
        return [(str(name), int(offset), int(size), int(label)) for name, offset, size, label in listed]
    rows = _scan(path)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, not the run
        replace_file(kept, json.dumps(rows).encode())
    return rows


def _scan(path: Path) -> list[tuple[str, int, int, int]]:
    pictures: dict[str, tuple[str, int, int]] = {}
    labels: dict[str, int] = {}
    end = 0
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                end = member.offset_data + -(-member.size // BLOCK) * BLOCK
                folder, _, file = member.name.rpartition("/")
                stem, _, suffix = file.partition(".")
                key = f"{folder}/{stem}"
                if not member.isreg() or not stem:  # folders, links, hidden files
                    continue
                if f".{suffix.lower()}" in EXTENSIONS:
                    if key in pictures:
                        raise ValueError(f"{path}: two pictures under one key, {pictures[key][0]} and {member.name}")
                    pictures[key] = (member.name, member.offset_data, member.size)
                elif suffix == "cls":
                    labels[key] = _class_number(archive.extractfile(member).read(), f"{path}!{member.name}")
            # tarfile takes a broken header or a missing end mark for the end of the archive.
            archive.fileobj.seek(end)
            if archive.fileobj.read(BLOCK) != bytes(BLOCK):
                raise tarfile.ReadError(f"no end mark after its last member, at byte {end}")
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"{path}: damaged or cut short ({error}); fetch this shard again") from error
    if not pictures:
        raise ValueError(f"{path}: no picture in this shard; expected members like 0001.jpg with 0001.cls beside it")
    if unlabelled := sorted(set(pictures) - set(labels)):
        raise ValueError(f"{path}: {pictures[unlabelled[0]][0]} has no class number beside it in a .cls member")
    return [(*place, labels[key]) for key, place in pictures.items()]


def _class_number(content: bytes, name: str) -> int:
    if not content.strip().isdigit():
        raise ValueError(f"{name}: expected a class number, got {content[:20]!r}")
    return int(content)
