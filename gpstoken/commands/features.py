"""`gpstoken features`: computes the features of real images once for all rows, and stores them beside the images."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gpstoken.commands.parser import Parser
from gpstoken.devices import to_device
from gpstoken.files.plain_text import parse_json
from gpstoken.files.provenance import file_hash
from gpstoken.files.reasons import reason
from gpstoken.files.writing import replacing
from gpstoken.metrics.distributions import networks_at_hand
from gpstoken.metrics.frechet import Statistics
from gpstoken.metrics.generation import FeatureSet, extract
from gpstoken.metrics.networks import FEATURES, Features, load_features

BATCH = 64
KEY = "gpstoken.commands.features"  # header key; its value holds the hashes of images and weights, by network


def main(arguments: list[str]) -> int:
    """Parses the command line and writes FILE.features.safetensors beside every FILE.npz."""
    parser = Parser("features", __doc__)
    parser.add_argument("images", nargs="+", type=Path, help="files of `gpstoken images`")
    add_networks(parser)
    parser.add_device()
    options = parser.parse_args(arguments)
    networks = load_networks(options.networks, options.device)
    for path in options.images:
        write_features(path, list(networks.values()))
    return 0


def add_networks(parser: Parser) -> None:
    """Adds --networks, which `load_networks` takes."""
    message = "feature networks (default: the protocol's, if available)"
    parser.add_argument("--networks", nargs="+", choices=tuple(FEATURES), help=message)


def load_networks(names: list[str] | None, device: str) -> dict[str, Features]:
    """The feature networks by name, on the device; by default all that are available.

    Raises:
        FileNotFoundError: if the weights of a named network, or of all networks, are missing.
        ValueError: if there is no such device.
    """
    names = list(networks_at_hand()) if names is None else list(dict.fromkeys(names))
    if not names:
        raise FileNotFoundError("no feature network is available; `dvc repro prepare` makes efficientnet_lite0")
    return {name: to_device(load_features(name), device) for name in names}


def write_features(path: Path, networks: list[Features]) -> None:
    """Writes the features of an npz of images beside it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged.
    """
    tensors: dict[str, Tensor] = {}
    for network in networks:
        features = extract(path, network, BATCH, path.stem, {})
        tensors[f"{network.name}.features"] = features.pool
        for layer, statistics in features.statistics.items():
            tensors[f"{network.name}.{layer}.mean"] = statistics.mean.cpu()
            tensors[f"{network.name}.{layer}.covariance"] = statistics.covariance.cpu()
    header = {KEY: json.dumps({network.name: _identity(path, network) for network in networks}, sort_keys=True)}
    with replacing(_beside(path)) as part:
        save_file(tensors, part, header)


def features_of(path: Path, network: Features, title: str, seconds: dict[str, float]) -> FeatureSet:
    """The features of an npz of images, read from the file beside it if that matches images and network, else computed.

    Args:
        path: the npz.
        network: a network of `load_features`, on the device to run on.
        title: see `extract`.
        seconds: see `extract`.

    Returns:
        The features; if they were read, the logits are None, because only generated images are scored by logits.

    Raises:
        FileNotFoundError: if there is no such npz.
        ValueError: if the npz, or the file beside it, is damaged.
    """
    if _beside(path).is_file() and (known := _read(_beside(path), network.name, _identity(path, network))):
        return known
    return extract(path, network, BATCH, title, seconds)


def _read(path: Path, name: str, identity: dict[str, str]) -> FeatureSet | None:
    """The stored features of a network; None if they belong to other images or weights."""
    try:
        with safe_open(path, framework="pt") as file:
            known = parse_json(path, (file.metadata() or {}).get(KEY, "{}"))
            if known.get(name) != identity:
                return None
            tensors = {key: file.get_tensor(key) for key in file.keys() if key.startswith(f"{name}.")}  # noqa: SIM118
        pool = tensors.pop(f"{name}.features")
        layers = dict.fromkeys(key.split(".")[1] for key in tensors)
        parts = {layer: [tensors[f"{name}.{layer}.{part}"] for part in ("mean", "covariance")] for layer in layers}
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        message = reason(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: unreadable ({message}); delete it, `gpstoken features` writes it") from error
    return FeatureSet({layer: Statistics(*pair, len(pool)) for layer, pair in parts.items()}, pool, None)


def _beside(path: Path) -> Path:
    return path.with_suffix(".features.safetensors")


def _identity(path: Path, network: Features) -> dict[str, str]:
    return {"images": file_hash(path), "weights": file_hash(network.path)}
