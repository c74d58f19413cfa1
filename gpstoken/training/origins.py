"""What a finished run says of itself: where it comes from, and what it was trained on."""

import json
from pathlib import Path
from typing import Any

import yaml

from gpstoken.files.reasons import reason
from gpstoken.training.files import CONFIG_FILE, ORIGIN_FILE


def read_origin(run: Path) -> dict[str, Any]:
    """What a run says of where it comes from: "commit", of published weights "weights" too; empty without a file.

    Raises:
        ValueError: for a damaged file.
    """
    path = run / ORIGIN_FILE
    try:
        origin = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable ({error})") from error
    if not isinstance(origin, dict):
        raise ValueError(f"{path}: expected an object, got a {type(origin).__name__}")
    return origin


def read_data_of(run: Path) -> dict[str, Any]:
    """{"image_size", "batch_size"} of the data that a run was trained on.

    Raises:
        ValueError: for a file that is missing, damaged or of something else.
    """
    path = run / CONFIG_FILE
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))["data"]["init_args"]
        return {"image_size": int(found["image_size"]), "batch_size": int(found["batch_size"])}
    except Exception as error:  # whatever a broken or foreign YAML file comes to
        raise ValueError(f"{path}: not the configuration of a run ({reason(error)}); train it again") from error
