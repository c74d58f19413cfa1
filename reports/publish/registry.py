"""Checkpoints in MLflow's model registry: a registered model a row, a version a training."""

import json
import re
import tempfile
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from gpstoken.files.provenance import file_hash
from reports.publish.mirrored import Published

FOLDER = "checkpoint"  # of the run's artifacts
# A copy beside the run up to here. A full-size checkpoint is told by its path and hash.
LARGEST_COPY = 200 * 2**20


def log_checkpoint(client: mlflow.MlflowClient, run_id: str, path: Path) -> None:
    """Adds last.ckpt to the artifacts of its run; a large one as a file that says where it lies."""
    if path.stat().st_size <= LARGEST_COPY:
        client.log_artifact(run_id, str(path), FOLDER)
        return
    told = {"path": str(path.resolve()), "bytes": path.stat().st_size, "sha256": file_hash(path)}
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / f"{path.name}.json"
        reference.write_text(json.dumps(told, indent=1) + "\n")
        client.log_artifact(run_id, str(reference), FOLDER)


def register(client: mlflow.MlflowClient, run: Published, run_id: str) -> bool:
    """Makes the version of a training that is not there; returns whether it did.

    The aliases SCALE-seedN and, of the first seed alone, SCALE lead to the newest version. No version is deleted.
    """
    # What MLflow takes in no name of a model, or in no filter; the tag `row` of the run has the name as it is.
    name, key = re.sub(r"[/:'\"`]", "_", run.tags["row"]), run.key
    try:
        client.create_registered_model(name, description="last.ckpt of every training of this row, a version each")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = client.search_model_versions(f"name = '{name}'")
    if any(version.tags.get("key") == key for version in versions):
        return False
    tags = {tag: run.tags[tag] for tag in ("scale", "seed", "group", "commit")} | {"key": key}
    made = client.create_model_version(
        name, f"runs:/{run_id}/{FOLDER}", run_id, tags, description=run.name, await_creation_for=0
    )
    for alias in _aliases(tags, versions):
        client.set_registered_model_alias(name, alias, made.version)
    return True


def _aliases(tags: dict[str, str], others: list[ModelVersion]) -> list[str]:
    scale, seed = tags["scale"], tags["seed"]
    if scale == "none":  # a training in a folder of its own
        return []
    seeds = [other.tags.get("seed", "") for other in others if other.tags.get("scale") == scale]
    first = all(int(seed) <= int(other) for other in seeds if other.isdigit())
    return [f"{scale}-seed{seed}", *([scale] if first else [])]
