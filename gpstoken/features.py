"""`gpstoken features`: what the networks that judge generators see in real images, beside them, once for all rows."""

import argparse
import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from gpstoken.devices import to_device
from gpstoken.files.writing import replacing
from gpstoken.metrics.distributions import networks_at_hand
from gpstoken.metrics.frechet import Statistics
from gpstoken.metrics.generation import FeatureSet, extract
from gpstoken.metrics.networks import FEATURES, Features, load_features
from gpstoken.provenance import file_hash

BATCH = 64
KEY = "gpstoken.features"  # of the header; its value says whose features they are, by network


def main(arguments: list[str]) -> int:
    """Parses the command line and writes FILE.features.safetensors beside every FILE.npz."""
    parser = argparse.ArgumentParser(prog="gpstoken features", description=__doc__)
    parser.add_argument("images", nargs="+", type=Path, help="files of `gpstoken images`")
    add_networks(parser)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, ...")
    options = parser.parse_args(arguments)
    networks = load_networks(options.networks, options.device)
    for path in options.images:
        write_features(path, list(networks.values()))
    return 0


def add_networks(parser: argparse.ArgumentParser) -> None:
    """Adds --networks, which `load_networks` takes."""
    told = "feature networks (default: those at hand of the protocol)"
    parser.add_argument("--networks", nargs="+", choices=tuple(FEATURES), help=told)


def load_networks(names: list[str] | None, device: str) -> dict[str, Features]:
    """The feature networks by name, on the device; those at hand where none are named.

    Raises:
        FileNotFoundError: if the weights of one that is named, or of all, are missing.
        ValueError: if there is no such device.
    """
    names = list(networks_at_hand()) if names is None else list(dict.fromkeys(names))
    if not names:
        raise FileNotFoundError("no feature network is at hand; `dvc repro prepare` makes efficientnet_lite0")
    return {name: to_device(load_features(name), device) for name in names}


def write_features(path: Path, networks: list[Features]) -> None:
    """Writes the features of an npz of images beside it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged.
    """
    tensors: dict[str, Tensor] = {}
    for network in networks:
        found = extract(path, network, BATCH, path.stem, {})
        tensors[f"{network.name}.features"] = found.pool
        for layer, statistics in found.statistics.items():
            tensors[f"{network.name}.{layer}.mean"] = statistics.mean.cpu()
            tensors[f"{network.name}.{layer}.covariance"] = statistics.covariance.cpu()
    header = {KEY: json.dumps({network.name: _identity(path, network) for network in networks}, sort_keys=True)}
    with replacing(_beside(path)) as part:
        save_file(tensors, part, header)


def features_of(path: Path, network: Features, title: str, seconds: dict[str, float]) -> FeatureSet:
    """The features of an npz of images: those beside it, if they are of these images and this network, else made anew.

    Args:
        path: the npz.
        network: of `load_features`, on the device to run on.
        title: of `extract`.
        seconds: of `extract`.

    Returns:
        The features; their logits are None where they lay beside, for only generated images are scored by them.

    Raises:
        FileNotFoundError: if there is no such npz.
        ValueError: if it is damaged.
    """
    if _beside(path).is_file():
        with safe_open(_beside(path), framework="pt") as file:
            known = json.loads((file.metadata() or {}).get(KEY, "{}"))
            if known.get(network.name) == _identity(path, network):
                pool = file.get_tensor(f"{network.name}.features")
                layers = [name.split(".")[1] for name in file.keys() if name.startswith(f"{network.name}.")]  # noqa: SIM118
                statistics = {
                    layer: Statistics(
                        file.get_tensor(f"{network.name}.{layer}.mean"),
                        file.get_tensor(f"{network.name}.{layer}.covariance"),
                        len(pool),
                    )
                    for layer in dict.fromkeys(layers)
                    if layer != "features"
                }
                return FeatureSet(statistics, pool, None)
    return extract(path, network, BATCH, title, seconds)


def _beside(path: Path) -> Path:
    return path.with_suffix(".features.safetensors")


def _identity(path: Path, network: Features) -> dict[str, str]:
    return {"images": file_hash(path), "weights": file_hash(network.path)}
