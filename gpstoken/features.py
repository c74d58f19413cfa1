"""`gpstoken features`: what the network that judges generators sees in real images, beside them, once for all rows."""

import argparse
import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from gpstoken.files.writing import replacing
from gpstoken.metrics.frechet import Statistics
from gpstoken.metrics.generation import FeatureSet, extract
from gpstoken.metrics.networks import Features, load_features
from gpstoken.provenance import file_hash

NETWORK = "efficientnet_lite0"
BATCH = 64
KEY = "gpstoken.features"  # of the header; its value says whose features they are


def main(arguments: list[str]) -> int:
    """Parses the command line and writes FILE.features.safetensors beside every FILE.npz."""
    parser = argparse.ArgumentParser(prog="gpstoken features", description=__doc__)
    parser.add_argument("images", nargs="+", type=Path, help="files of `gpstoken images`")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, ...")
    options = parser.parse_args(arguments)
    network = load_features(NETWORK).to(options.device)
    for path in options.images:
        write_features(path, network)
    return 0


def write_features(path: Path, network: Features) -> None:
    """Writes the features of an npz of images beside it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged.
    """
    found = extract(path, network, BATCH, path.stem, {})
    of_pool = found.statistics["pool"]
    tensors = {"pool": found.pool, "mean": of_pool.mean.cpu(), "covariance": of_pool.covariance.cpu()}
    with replacing(_beside(path)) as part:
        save_file(tensors, part, {KEY: _identity(path, network)})


def features_of(path: Path, network: Features, title: str, seconds: dict[str, float]) -> FeatureSet:
    """The features of an npz of images: those beside it, if they are of these images and this network, else made anew.

    Args:
        path: the npz.
        network: of `load_features`, on the device to run on.
        title: of `extract`.
        seconds: of `extract`.

    Raises:
        FileNotFoundError: if there is no such npz.
        ValueError: if it is damaged.
    """
    if _beside(path).is_file():
        with safe_open(_beside(path), framework="pt") as file:
            if (file.metadata() or {}).get(KEY) == _identity(path, network):
                pool, mean, covariance = (file.get_tensor(name) for name in ("pool", "mean", "covariance"))
                return FeatureSet({"pool": Statistics(mean, covariance, len(pool))}, pool, None)
    return extract(path, network, BATCH, title, seconds)


def _beside(path: Path) -> Path:
    return path.with_suffix(".features.safetensors")


def _identity(path: Path, network: Features) -> str:
    return json.dumps({"images": file_hash(path), "network": network.name, "weights": file_hash(network.path)})
