"""The MLflow store: makes the runs, and the versions of models, that are not there."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH
from PIL import Image

from gpstoken.files.provenance import file_hash
from reports.publish.mirrored import Published

SQLITE = "sqlite:///"
# An experiment for each kind of run, since they share no metric: a chart of one kind would be empty for the others.
# Evaluations of generators have one of their own, since they alone have curves.
TRAININGS = "gpstoken"
EXPERIMENTS = {"training": TRAININGS, "evaluation": "gpstoken evaluations", "cost": "gpstoken costs"}
EXPERIMENTS |= {"profile": "gpstoken profiles", "report": "gpstoken report", "generators": "gpstoken generators"}
# Else the UI takes the experiment for one of prompts and traces, and opens that side of itself.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
CHECKPOINT = "checkpoint"  # folder of a run's artifacts
LARGEST_COPY = 200 * 2**20  # a larger checkpoint is named by its path and hash


def publish(wanted: list[Published], uri: str) -> tuple[dict[str, dict[str, str]], int]:
    """Makes the runs and the model versions that are not there.

    A run gets its key last: one of the same name without a key was cut short, and is deleted and made again, as is one
    in another experiment, where earlier releases made it. Runs of other names stay, since another process may be
    writing them.

    Returns:
        {"key", "run_id"} of every run by its name, and how many runs are new.
    """
    client, experiments = open_store(uri)
    places = {run.name: experiments[_experiment(run.tags)] for run in wanted}
    known, published, new = {}, {}, 0
    for run in mlflow.search_runs(list(experiments.values()), output_format="list"):
        name, tags, place = run.info.run_name, run.data.tags, run.info.experiment_id
        if "key" in tags and places.get(name, place) == place:
            known[tags["key"]] = run.info.run_id
        elif "kind" in tags and name in places:
            client.delete_run(run.info.run_id)
    # Where no file says when a run was, the UI shows those first that were made last.
    for run in sorted(wanted, key=lambda run: run.name, reverse=True):
        key = run.key
        if key not in known:
            known[key], new = _create(client, places[run.name], run, key), new + 1
        published[run.name] = {"key": key, "run_id": known[key]}
        if run.weights:
            _register(client, run, known[key], key)
            published[run.name]["weights"] = [file_hash(path) for path in run.weights]
    return dict(sorted(published.items())), new


def _experiment(tags: dict[str, str]) -> str:
    of_samples = (tags["kind"], tags["group"]) == ("evaluation", "generators")
    return EXPERIMENTS[tags["group" if of_samples else "kind"]]


def open_store(uri: str) -> tuple[mlflow.MlflowClient, dict[str, str]]:
    """The client of a store, and the ids of the experiments by name, which are made where they are not there."""
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient(uri)
    # Beside its database; MLflow would take a folder of the working directory.
    database = Path(uri.removeprefix(SQLITE)).resolve() if uri.startswith(SQLITE) else None
    artifacts = database and database.with_name("mlartifacts").as_uri()
    found = {name: client.get_experiment_by_name(name) for name in EXPERIMENTS.values()}
    new = {name: client.create_experiment(name, artifacts, EXPERIMENT_TAGS) for name in found if found[name] is None}
    return client, new | {name: experiment.experiment_id for name, experiment in found.items() if experiment}


def _create(client: mlflow.MlflowClient, experiment: str, run: Published, key: str) -> str:
    run_id = begin(client, experiment, run)
    log_metrics(client, run_id, run)
    for path in run.files:
        folder = path.parent.name
        client.log_artifact(run_id, str(path), folder if folder in ("pictures", "tables", "figures") else None)

    def show(name: str, path: Path, step: int) -> None:
        with Image.open(path) as image:
            client.log_image(run_id, image.convert("RGB"), key=name, step=step)

    for picture in run.pictures[:1]:  # alone: it makes a tag, which two at once would make twice
        show(*picture)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # MLflow packs each picture twice: half of the time of it all
        list(pool.map(lambda picture: show(*picture), run.pictures[1:]))
    for path in run.weights[:1]:
        size = path.stat().st_size
        if size <= LARGEST_COPY:
            client.log_artifact(run_id, str(path), CHECKPOINT)
        else:
            reference = {"path": str(path.resolve()), "bytes": size, "sha256": file_hash(path)}
            client.log_dict(run_id, reference, f"{CHECKPOINT}/{path.name}.json")
    client.set_terminated(run_id, end_time=run.times[1] if run.times else None)
    client.set_tag(run_id, "key", key)
    return run_id


def begin(client: mlflow.MlflowClient, experiment: str, run: Published) -> str:
    """Makes a run with its tags and parameters and returns its id; it is RUNNING."""
    run_id = client.create_run(experiment, run.times[0] if run.times else None, run.tags, run.name).info.run_id
    params = [Param(name, str(value)[:MAX_PARAM_VAL_LENGTH]) for name, value in run.params.items()]
    client.log_batch(run_id, params=params)
    return run_id


def log_metrics(client: mlflow.MlflowClient, run_id: str, run: Published, skipped: int = 0) -> None:
    """Adds the metrics that are not there, their times spread over the steps from the run's start to its end."""
    started, ended = run.times or (0, 0)
    last = max((step for *_, step in run.metrics), default=0) or 1
    times = [started + (ended - started) * step // last for *_, step in run.metrics]
    points = [Metric(name, value, time, step) for (name, value, step), time in zip(run.metrics, times, strict=True)]
    client.log_batch(run_id, points[skipped:])


def _register(client: mlflow.MlflowClient, run: Published, run_id: str, key: str) -> None:
    """Makes the version of a training that is not there.

    The aliases SCALE-seedN and, of the first seed alone, SCALE lead to the newest version. No version is deleted.
    """
    # What MLflow takes in no name of a model, or in no filter; the tag `row` of the run has the name as it is.
    name, scale, seed = re.sub(r"[/:'\"`]", "_", run.tags["row"]), run.tags["scale"], run.tags["seed"]
    try:
        client.create_registered_model(name, description="last.ckpt of every training of this row, a version each")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    others = [version.tags for version in client.search_model_versions(f"name = '{name}'")]
    if key in (other.get("key") for other in others):
        return
    tags = {tag: run.tags[tag] for tag in ("scale", "seed", "group", "commit")} | {"key": key}
    source = f"runs:/{run_id}/{CHECKPOINT}"
    version = client.create_model_version(name, source, run_id, tags, description=run.name, await_creation_for=0)
    if scale != "none":  # a training in a folder of its own has no alias
        seeds = [other.get("seed", "") for other in others if other.get("scale") == scale]
        first = all(int(seed) <= int(other) for other in seeds if other.isdigit())
        for alias in (f"{scale}-seed{seed}", *([scale] if first else [])):
            client.set_registered_model_alias(name, alias, version.version)
