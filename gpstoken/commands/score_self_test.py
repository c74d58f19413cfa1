"""`gpstoken score --self-test`: the checks of `gpstoken.metrics.self_test` on a reference or on photographs."""

import csv
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from gpstoken.images import centre_square, read_photo
from gpstoken.metrics.frechet import frechet_distance, read_statistics
from gpstoken.metrics.generation import extract
from gpstoken.metrics.samples import contents, count, read_batches
from gpstoken.metrics.self_test import Check, check_file, check_halves, check_identity, check_statistics
from gpstoken.metrics.spread import frechet_floor, halves

PHOTOS = Path("data/embedded")  # see `python -m datamodules.prepare`
SIDE = 256  # of the photographs' centre squares
MOST = 400  # images of a reference that are tested: two minutes with Inception on two cores
FEWEST = 8  # so that halves have four


def print_checks(checks: list[Check]) -> int:
    """Prints a line for each check; returns 1 if one failed, else 0."""
    for check in checks:
        print(f"{ {True: 'ok', False: 'failed', None: '--'}[check.passed]:6}  {check.text}")
    return int(any(check.passed is False for check in checks))


def self_test(reference: Path | None, network: nn.Module, batch_size: int) -> list[Check]:
    """Scores real images against themselves, each other and their statistics.

    Args:
        reference: a source of `read_batches`, of which `MOST` images at random are tested; an npz may have statistics
            beside its images, or alone. Without images the held-out photographs of `PHOTOS` are tested.
        network: the network of the features.
        batch_size: images per batch.

    Raises:
        FileNotFoundError: if there is no such file or folder, or no photographs.
        ValueError: for a damaged file, or fewer than eight images.
    """
    held = set() if reference is None else contents(reference)
    given = read_statistics(reference)["pool"] if "statistics" in held else None
    if given is not None and len(given.mean) != network.dimension:
        width = len(given.mean)
        raise ValueError(f"{reference}: statistics of {width} features, but {network.name} has {network.dimension}")
    if "images" in held:
        place, images = f"images of {reference.name}", _some_of(reference, batch_size)
    else:
        place, images = "held-out photographs", photographs(PHOTOS)
    checks = [Check(f"{len(images)} {place} of {images.shape[1]} x {images.shape[2]} pixels, by {network.label}")]
    order = next(halves(len(images), 1, seed=0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        features = _pool(images, "images", network, batch_size, folder)
        shifted = {
            title: _pool(change(images[order[0]]), title, network, batch_size, folder)
            for title, change in CHANGES.items()
        }
        checks += [*check_file(features, folder), check_identity(features), *check_halves(features, shifted, order)]
    if given is not None:
        checks.append(check_statistics(given, f"statistics of {reference.name} against themselves"))
    if given is not None and "images" in held:
        everything = extract(reference, network, batch_size, "reference", {}).statistics["pool"]
        distance = frechet_distance(everything.mean, everything.covariance, given.mean, given.covariance)
        expected = frechet_floor(given.covariance, everything.count)
        checks.append(
            Check(
                f"all {everything.count:,} images of {reference.name} against its statistics: Fréchet distance "
                f"{distance:.4g}; so many images drawn from these statistics would have {expected:.3g}, and 50,000 "
                "real validation images have an FID of about 1.6 to 1.8 from ADM's training statistics"
            )
        )
    return checks


def photographs(folder: Path) -> np.ndarray:
    """The centre squares of all photographs that no training sees, uint8[N, SIDE, SIDE, 3].

    Raises:
        FileNotFoundError: if the folder is missing.
        ValueError: if it has none, or a damaged one.
    """
    index = folder / "index.csv"
    if not index.is_file():
        raise FileNotFoundError(
            f"{index}: no photographs for the self-test; run `python -m datamodules.prepare -o {folder}`, or give "
            "--reference with real images"
        )
    with index.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("split") in ("val", "test")]
    if len(rows) < FEWEST:
        raise ValueError(f"{index}: lists {len(rows)} held-out photographs; the self-test needs {FEWEST}")
    return np.stack([np.asarray(centre_square(read_photo(folder / row["path"]), SIDE)) for row in rows])


def _some_of(source: Path, batch_size: int) -> np.ndarray:
    """`MOST` images of a source at random, or all of fewer, uint8[N, H, W, 3]."""
    total = count(source)
    if total < FEWEST:
        raise ValueError(f"{source}: {total} images; the self-test needs {FEWEST}")
    chosen = torch.randperm(total, generator=torch.Generator().manual_seed(0))[:MOST].sort().values
    kept, start = [], 0
    for batch in read_batches(source, batch_size):
        inside = chosen[(chosen >= start) & (chosen < start + len(batch))] - start
        kept.append(batch[inside].permute(0, 2, 3, 1).numpy())
        start += len(batch)
    return np.concatenate(kept)


def _pool(images: np.ndarray, title: str, network: nn.Module, batch_size: int, folder: Path) -> Tensor:
    """Features of images as `gpstoken score` finds them: of a file that it reads."""
    path = folder / "images.npy"
    np.save(path, images)
    return extract(path, network, batch_size, title, {}).pool


def _jpeg(quality: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(images: np.ndarray) -> np.ndarray:
        return np.stack([_through_jpeg(image, quality) for image in images])

    return change


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    content = io.BytesIO()
    Image.fromarray(image).save(content, format="JPEG", quality=quality)
    with Image.open(content) as picture:
        return np.asarray(picture)


def _brighter_and_noisy(images: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(20, 20, images.shape)
    return (images + noise).clip(0, 255).round().astype(np.uint8)


def _lowered(images: np.ndarray) -> np.ndarray:
    """Half of the levels, at random, one lower: where truncation differs from rounding."""
    lower = np.random.default_rng(0).integers(0, 2, images.shape, dtype=np.uint8)
    return images - np.minimum(lower, images)


# What is done to half of the images; a change with "(checked)" must raise both distances.
CHANGES = {
    "half of the levels one lower, as by truncation": _lowered,
    "JPEG of quality 90": _jpeg(90),
    "JPEG of quality 75": _jpeg(75),
    "JPEG of quality 10 (checked)": _jpeg(10),
    "20 levels brighter, noise of 20 levels (checked)": _brighter_and_noisy,
}
