"""Statistics of latents that are published with a tokenizer, for generators that learn from its tokens."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from gpstoken.files.checkpoints import read_plain
from gpstoken.files.plain_text import read_json
from gpstoken.files.records import check_statistics

SIDECAR = "latents_stats.pt"  # beside the weights of VAVAE
CONFIG = "config.json"
IN_CONFIG = {"mean": "vq_mean", "std": "vq_std"}  # in the folders of SoftVQ-VAE and MAETok
MOST = 2**16  # numbers that are read; more are no statistics of channels


def published_statistics(weights: Path, channels: int) -> dict[str, list[float]] | None:
    """Mean and standard deviation of the channels, from a file beside the weights or their configuration.

    Args:
        weights: a file of weights, or a folder with one.
        channels: number of channels of the latents.

    Returns:
        {"mean": C numbers, "std": C numbers above 0}; None if nothing was published.

    Raises:
        ValueError: for an unreadable file, or numbers that are not finite, or not one or `channels` of them.
    """
    path = (weights if weights.is_dir() else weights.parent) / SIDECAR
    if path.is_file():
        content = read_plain(path)
    elif weights.is_dir() and (path := weights / CONFIG).stat().st_size < 2**20:  # a larger one is not theirs
        config = read_json(path)
        content = {name: config.get(theirs) for name, theirs in IN_CONFIG.items()}
        if all(value is None for value in content.values()):
            return None
    else:
        return None
    found = content if isinstance(content, Mapping) else {}
    statistics = {name: _numbers(found.get(name), channels) for name in IN_CONFIG}
    try:
        check_statistics("statistics", statistics)
    except ValueError as error:
        raise ValueError(f"{path}: not mean and std of a tokenizer's latents ({error})") from error
    if (count := len(statistics["mean"])) != channels:
        what = f"{path}: statistics of {count} channels, but the tokenizer has {channels}"
        raise ValueError(f"{what}; if they are not this tokenizer's, move them elsewhere")
    return statistics


def _numbers(values: Any, channels: int) -> Any:
    values = values.flatten()[:MOST].double().tolist() if isinstance(values, Tensor) else values
    values = values if isinstance(values, list) else [values]
    return values * channels if len(values) == 1 else values  # one for all channels
