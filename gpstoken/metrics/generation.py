"""Compares generated images with a reference: one pass over each set, then every distance and score."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from tqdm import tqdm

from gpstoken.metrics.frechet import Statistics, frechet_distance, read_statistics
from gpstoken.metrics.kernel import inception_score, kernel_distance
from gpstoken.metrics.moments import Moments
from gpstoken.metrics.neighbours import precision_recall
from gpstoken.metrics.samples import contents, count, read_batches

NEIGHBOURS = 3  # k of precision and recall
SPLITS = 10  # parts of the Inception score


@dataclass(frozen=True)
class FeatureSet:
    """The features of a set of n images.

    Attributes:
        statistics: mean and covariance by the name of the feature: "pool", for Inception also "spatial".
        pool: float32[n, d], in the order of the images; None if there are only statistics.
        logits: float32[n, classes], only for generated images with Inception.
    """

    statistics: dict[str, Statistics]
    pool: Tensor | None
    logits: Tensor | None = None


def measure(
    samples: str | Path,
    reference: str | Path,
    network: nn.Module,
    batch_size: int = 64,
    allow_small: bool = False,
    features: dict[str, FeatureSet] | None = None,
) -> dict[str, Any]:
    """Every score of `samples` that can be computed with `reference` and `network`.

    With Inception: fid, sfid, is, is_std, precision, recall, kid (Heusel et al. 2017; Nash et
    al. 2021; Salimans et al. 2016; Kynkäänniemi et al. 2019; Bińkowski et al. 2018). With another network fd_NAME,
    precision_NAME, recall_NAME, kid_NAME. A Fréchet distance is biased upwards, by about the dimension over the number
    of images: below two images per dimension it is left out. Other scores are left out as well if there are too few
    images.

    Args:
        samples: a source of `read_batches`.
        reference: another source, or an npz of statistics (for fid and sfid only), or one with both statistics and
            images, like ADM's reference batches: fid and sfid use the statistics, the other scores the images.
        network: a network of `load_features`, on the device to run on.
        batch_size: images per batch; scores depend on it only through rounding.
        allow_small: whether to compute Fréchet distances for any number of images.
        features: receives the features that were compared, "samples" and "reference".

    Returns:
        {"metrics": number by name; "left_out": reason by name; "samples": number of images; "reference": {"statistics":
        number of images of the statistics, None if the file does not state it; "images": their number, or None};
        "kernel": how KID was computed, see `kernel_distance`; "seconds": wall time by stage}. The result is the same on
        every process of a group.

    Raises:
        FileNotFoundError: if there is no such source.
        ValueError: for a damaged source, or statistics of another network.
    """
    held, place = contents(reference), Path(reference).name
    given = read_statistics(reference) if "statistics" in held else None
    if given is not None and len(given["pool"].mean) != network.dimension:
        width = len(given["pool"].mean)  # checked before the long pass over the samples
        raise ValueError(f"{reference}: statistics of {width} features, but {network.name} has {network.dimension}")
    seconds: dict[str, float] = {}
    generated = extract(samples, network, batch_size, "samples", seconds)
    real = extract(reference, network, batch_size, "reference", seconds) if "images" in held else None
    target = given or real.statistics

    notes: dict[str, Any] = {"seconds": seconds}
    device = _exact(next(network.parameters()).device)
    reference_set = FeatureSet(target, None if real is None else real.pool)
    if features is not None:
        features |= {"samples": generated, "reference": reference_set}
    compared = compare(generated, reference_set, network.name, allow_small, device, place, notes)
    if "is" in notes["left_out"]:
        notes["left_out"]["is_std"] = notes["left_out"]["is"]
    scores: dict[str, float] = {}
    for name, score in compared.items():
        scores[name.removesuffix("_inception")] = score  # published numbers use Inception without saying so
        if name == "is":
            scores["is_std"] = notes["is_std"]
    return {
        "metrics": scores,
        "left_out": {name.removesuffix("_inception"): reason for name, reason in notes["left_out"].items()},
        "samples": len(generated.pool),
        "reference": {"statistics": target["pool"].count, "images": None if real is None else len(real.pool)},
        "kernel": notes["kernel"],
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }


def compare(
    generated: FeatureSet,
    real: FeatureSet,
    network: str,
    allow_small: bool = False,
    device: torch.device | str = "cpu",
    place: str = "the reference",
    told: dict[str, Any] | None = None,
) -> dict[str, float]:
    """Scores of generated images against real images, by their names in tables.

    Args:
        generated: features of the generated images, with logits if the network is Inception.
        real: features of real images from the same network; statistics without a pool give only Fréchet distances.
        network: name of the network.
        allow_small: whether to compute Fréchet distances for any number of images; otherwise they are left out below
            two images per dimension, where the bias hides all differences (see `measure`).
        device: device of the search for nearest neighbours, in float64.
        place: a name of `real` for messages.
        told: receives additional results: "left_out" the reason by name, "is_std", "kernel" how KID was computed (see
            `kernel_distance`), "seconds" the wall time by score.

    Returns:
        For Inception fid, sfid and is; for another network fd_NETWORK; for any network kid_NETWORK, precision_NETWORK,
        recall_NETWORK. Scores with too few images are left out.
    """
    told = {} if told is None else told
    seconds, left_out, kernel = (told.setdefault(name, {}) for name in ("seconds", "left_out", "kernel"))
    scores: dict[str, float] = {}
    names = {"pool": "fid", "spatial": "sfid"} if network == "inception" else {"pool": f"fd_{network}"}
    for layer, name in names.items():
        with stage(seconds, name):
            distance: float | str = f"{place} has no {layer} statistics"
            if layer in real.statistics:
                distance = _frechet(generated.statistics[layer], real.statistics[layer], allow_small)
            (left_out if isinstance(distance, str) else scores)[name] = distance
    if generated.logits is not None:
        with stage(seconds, "is"):
            n = len(generated.logits)
            if n >= SPLITS:
                scores["is"], told["is_std"] = inception_score(generated.logits, splits=SPLITS)
            else:
                left_out["is"] = f"{n} samples, of which no {SPLITS} parts can be made"
    pair = (f"precision_{network}", f"recall_{network}")
    if real.pool is None:
        left_out |= dict.fromkeys((*pair, f"kid_{network}"), f"{place} has statistics, no images")
        return scores
    with stage(seconds, "precision_recall"):
        n = min(len(real.pool), len(generated.pool))
        if n > NEIGHBOURS:
            pools = (real.pool.to(device), generated.pool.to(device))
            scores |= zip(pair, precision_recall(*pools, k=NEIGHBOURS), strict=True)
        else:
            left_out |= dict.fromkeys(pair, f"{n} images have no {NEIGHBOURS} neighbours each")
    with stage(seconds, "kid"):
        kernel |= kernel_distance(real.pool, generated.pool)
        scores[f"kid_{network}"] = kernel.pop("mean")
    return scores


@torch.no_grad()
def extract(
    source: str | Path, network: nn.Module, batch_size: int, title: str, seconds: dict[str, float]
) -> FeatureSet:
    """Computes the features of all images of a source in one pass; every process of a group gets all of them.

    Process r computes the batches r, r + world, ...; sums and features are exchanged once, at the end.

    Args:
        source: a source of `read_batches`.
        network: a network of `load_features`, on the device to run on.
        batch_size: images per batch.
        title: names the source in the progress bar and in `seconds`.
        seconds: the time of reading, of the network and of the exchange is added to it.

    Raises:
        FileNotFoundError: if there is no such source.
        ValueError: for a damaged source, a single image, or features that are not finite.
    """
    grouped = distributed.is_available() and distributed.is_initialized()
    rank, world = (distributed.get_rank(), distributed.get_world_size()) if grouped else (0, 1)
    device, total = next(network.parameters()).device, count(source)
    if total < 2:
        raise ValueError(f"{source}: a single image has no distribution; at least 2 are needed")
    # The widths come from a black image, because a process may have no batch at all.
    widths = {
        key: value.shape[1]
        for key, value in network(torch.zeros(1, 3, 64, 64, dtype=torch.uint8, device=device)).items()
    }
    sums = {key: Moments(width, _exact(device)) for key, width in widths.items() if key in ("pool", "spatial")}
    kept = {key: torch.zeros(total, width) for key, width in widths.items() if key in ("pool", "logits")}
    batches = read_batches(source, batch_size, rank, world)
    with tqdm(total=total, desc=title, unit="image", disable=None if rank == 0 else True) as bar:
        for start in range(rank * batch_size, total, world * batch_size):
            with stage(seconds, f"read {title}"):
                images = next(batches)
            with stage(seconds, f"network on {title}"):
                features = network(images.to(device))
                for key, rows in kept.items():
                    rows[start : start + batch_size] = features[key].cpu()
                for key, moments in sums.items():
                    moments.add(features[key])
            bar.update(min(world * batch_size, total - start))
    if grouped:
        with stage(seconds, f"exchange {title}"):
            for moments in sums.values():
                moments.all_reduce()
            # The rows of other processes are zero here, so the sum leaves every row unchanged.
            for key, rows in kept.items():
                rows = rows.to(device)
                distributed.all_reduce(rows)
                kept[key] = rows.cpu()
    statistics = {key: Statistics(entry.mean, entry.covariance, entry.count) for key, entry in sums.items()}
    return FeatureSet(statistics, kept["pool"], kept.get("logits"))


@contextmanager
def stage(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Adds the wall time of its body to seconds[name]."""
    start = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start


def _frechet(first: Statistics, second: Statistics, allow_small: bool) -> float | str:
    images = min(side.count for side in (first, second) if side.count is not None)
    dimension = len(first.mean)
    if images < 2 * dimension and not allow_small:
        return f"{images} images are fewer than twice the {dimension} dimensions; --allow-small takes it all the same"
    return frechet_distance(first.mean, first.covariance, second.mean, second.covariance)


def _exact(device: torch.device) -> torch.device:
    """The device for float64 computations: a CUDA device itself, else the CPU, because not every device has float64."""
    return device if device.type == "cuda" else torch.device("cpu")
