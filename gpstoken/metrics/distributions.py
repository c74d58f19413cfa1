"""Distances between the distributions of reconstructions and images, from features on disk."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from gpstoken.metrics.frechet import frechet_distance, read_statistics
from gpstoken.metrics.kernel import kernel_distance
from gpstoken.metrics.moments import Moments
from gpstoken.metrics.weights import find_weights

Read = Callable[[str], np.ndarray]
# Layer of a network -> the paper's name of its Fréchet distance; only Inception's may be called FID.
FID = {"pool": "fid", "spatial": "sfid"}
ROWS = 1024  # rows held as float64 at once


def networks_at_hand() -> tuple[str, ...]:
    """The protocol's feature networks whose weights are available; prints one line on stderr for each missing one."""
    available = []
    for name in ("inception", "efficientnet_lite0"):
        try:
            find_weights(name)
            available.append(name)
        except FileNotFoundError as error:
            print(f"left out of the scores: {error}", file=sys.stderr)
    return tuple(available)


def paired_scores(
    sides: dict[str, Read], layers: dict[str, list[str]], statistics: Path | None = None
) -> dict[str, float]:
    """Fréchet and kernel distances of reconstructions from their own images, and from reference statistics.

    Features are summed in float64 in the order of the images, so the scores do not depend on which process computed a
    feature, or in which file it is.

    Args:
        sides: for "image" and "reconstruction", a function from a column's name, "<network>.<layer>.<side>", to its
            values for all images in order, float32[n, d].
        layers: layers of each network.
        statistics: ADM npz of other images.

    Returns:
        Scores by name. For Inception: rec_fid, rec_sfid, rec_kid, with statistics also fid and sfid. For any other
        network: rfd_<network>, kid_<network>.

    Raises:
        ValueError: if there are statistics but no Inception.
    """
    if statistics is not None and "inception" not in layers:
        raise ValueError(f"{statistics}: FID against statistics needs the network inception")
    reference = read_statistics(statistics) if statistics else {}
    scores: dict[str, float] = {}
    for name in layers:
        for layer in layers[name]:
            features = {side: torch.from_numpy(read(f"{name}.{layer}.{side}")) for side, read in sides.items()}
            moments = {side: _moments(values) for side, values in features.items()}
            ours = (moments["reconstruction"].mean, moments["reconstruction"].covariance)
            distance = frechet_distance(*ours, moments["image"].mean, moments["image"].covariance)
            scores[f"rec_{FID[layer]}" if name == "inception" else f"rfd_{name}"] = distance
            if name == "inception" and layer in reference:
                other = reference[layer]
                scores[FID[layer]] = frechet_distance(*ours, other.mean, other.covariance)
            if layer == "pool":
                distance = kernel_distance(*features.values())["mean"]
                scores["rec_kid" if name == "inception" else f"kid_{name}"] = distance
    return scores


def _moments(features: torch.Tensor) -> Moments:
    moments = Moments(features.shape[1])
    for rows in features.split(ROWS):
        moments.add(rows)
    return moments
