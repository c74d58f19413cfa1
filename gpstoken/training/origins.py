"""Reads the records of a finished run: its provenance and its training data."""

from pathlib import Path
from typing import Any

from gpstoken.files.plain_text import read_json, read_yaml
from gpstoken.files.records import check_statistics
from gpstoken.files.weights import is_exported, read_origin_of, weights_file
from gpstoken.limits import at_least
from gpstoken.training.files import CONFIG_FILE, ORIGIN_FILE


def read_origin(run: Path) -> dict[str, Any]:
    """Provenance of a run: "commit", and "weights" if these are published ones; empty without a file.

    Raises:
        ValueError: for a damaged file.
    """
    path = run / ORIGIN_FILE
    return read_json(path) if path.exists() else {}


def statistics_of(checkpoint: Path, channels: int) -> dict[str, list[float]] | None:
    """Mean and standard deviation of the channels that were published with a tokenizer.

    Args:
        checkpoint: a checkpoint in the folder of its run, or a file of `gpstoken export`.
        channels: number of channels of its tokens.

    Returns:
        {"mean", "std"}; None if nothing was published.

    Raises:
        ValueError: for a damaged record, or statistics of another number of channels.
    """
    file = weights_file(checkpoint)
    statistics = (read_origin_of(file) if is_exported(file) else read_origin(file.parent)).get("statistics")
    if statistics is None:
        return None
    try:
        check_statistics("statistics", statistics)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{checkpoint}: its origin is damaged ({error})") from error
    if len(statistics["mean"]) != channels:
        count = len(statistics["mean"])
        raise ValueError(f"{checkpoint}: its origin has statistics of {count} channels, its tokens have {channels}")
    return statistics


def read_data_of(run: Path) -> dict[str, Any]:
    """{"image_size", "batch_size"} of the data that a run was trained on.

    Raises:
        ValueError: for a file that is missing, damaged or not a run's configuration.
    """
    path = run / CONFIG_FILE
    try:
        arguments = read_yaml(path)["data"]["init_args"]
        sizes = {name: arguments[name] for name in ("image_size", "batch_size")}
        for name, value in sizes.items():
            at_least(1).check(name, value)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file; `gpstoken fit -c ROW.yaml --output {run}` writes it") from error
    except (ValueError, KeyError, TypeError) as error:
        named = isinstance(error, ValueError)
        reason = str(error).removeprefix(f"{path}: ") if named else "no data.init_args.image_size and .batch_size"
        raise ValueError(f"{path}: not the configuration of a run ({reason}); train it again") from error
    return sizes
