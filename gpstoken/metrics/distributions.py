"""Distances between the distributions of reconstructions and of images, from features that lie on disk."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from gpstoken.metrics.frechet import frechet_distance, read_statistics
from gpstoken.metrics.kernel import kernel_distance
from gpstoken.metrics.moments import Moments
from gpstoken.metrics.weights import find_weights

Read = Callable[[list[str], int, int], Iterator[dict[str, np.ndarray]]]
# Layer of a network -> the paper's name of its Fréchet distance; only Inception's may be called FID.
FID = {"pool": "fid", "spatial": "sfid"}


def networks_at_hand() -> tuple[str, ...]:
    """The protocol's feature networks whose weights are found; one line on stderr for each that is not."""
    found = []
    for name in ("inception", "efficientnet_lite0"):
        try:
            find_weights(name)
            found.append(name)
        except FileNotFoundError as error:
            print(f"left out of the scores: {error}", file=sys.stderr)
    return tuple(found)


def paired_scores(
    sides: dict[str, Read],
    layers: dict[str, list[str]],
    statistics: Path | None = None,
    rank: int = 0,
    world: int = 1,
) -> dict[str, float]:
    """Fréchet and kernel distances of reconstructions to their own images, and to reference statistics.

    Sums of features are taken in float64, each process over its share of the files, and reduced once.

    Args:
        sides: of "image" and of "reconstruction": (columns, rank, world) to the columns of a process's share, file by
            file; those of features are "<network>.<layer>.<side>".
        layers: layers of each network.
        statistics: ADM npz of other images.
        rank: of this process.
        world: number of processes.

    Returns:
        Scores by name. Of Inception: rec_fid, rec_sfid, rec_kid, with statistics also fid and sfid. Of any other
        network: rfd_<network>, kid_<network>. Kernel distances on the first process alone.

    Raises:
        ValueError: if there are statistics and no Inception.
    """
    if statistics is not None and "inception" not in layers:
        raise ValueError(f"{statistics}: FID against statistics needs the network inception")
    reference = read_statistics(statistics) if statistics else {}
    scores: dict[str, float] = {}
    for name in layers:
        for layer in layers[name]:
            moments = {side: _moments(read, f"{name}.{layer}.{side}", rank, world) for side, read in sides.items()}
            ours = (moments["reconstruction"].mean, moments["reconstruction"].covariance)
            distance = frechet_distance(*ours, moments["image"].mean, moments["image"].covariance)
            scores[f"rec_{FID[layer]}" if name == "inception" else f"rfd_{name}"] = distance
            if name == "inception" and layer in reference:
                other = reference[layer]
                scores[FID[layer]] = frechet_distance(*ours, other.mean, other.covariance)
        if rank == 0:
            pools = [_all(read, f"{name}.pool.{side}") for side, read in sides.items()]
            scores["rec_kid" if name == "inception" else f"kid_{name}"] = kernel_distance(*pools)["mean"]
    return scores


def _all(read: Read, column: str) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([piece[column] for piece in read([column], 0, 1)]))


def _moments(read: Read, column: str, rank: int, world: int) -> Moments:
    dimension = next(read([column], 0, 1))[column].shape[1]
    moments = Moments(dimension)
    for piece in read([column], rank, world):
        moments.add(torch.from_numpy(piece[column]))
    moments.all_reduce()
    return moments
