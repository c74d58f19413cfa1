"""`python -m reports.publish`: training runs, results and tables from their files into MLflow.

MLflow is a mirror, never a source: a stage that DVC takes from its cache logs nothing, so that every run is made here,
from its files, once. A second call finds the runs by their key and adds nothing.
"""

import argparse
import json
import logging
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import MAX_METRICS_PER_BATCH, MAX_PARAM_VAL_LENGTH, MAX_PARAMS_TAGS_PER_BATCH
from PIL import Image
from sqlalchemy.exc import SQLAlchemyError

from gpstoken.files.writing import replacing
from reports.publish.mirrored import Published, evaluations, report, trainings
from reports.publish.registry import log_checkpoint, register

EXPERIMENT = "gpstoken"
SQLITE = "sqlite:///"
ORDER = ("training", "evaluation", "profile", "cost", "report")
# Else the UI takes the experiment for one of prompts and traces, and opens that side of itself.
TRAINING = {"mlflow.experimentKind": "custom_model_development"}


def main(arguments: list[str] | None = None) -> int:
    """Publishes everything under --runs, --results and --report; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m reports.publish", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="searched for folders with a config.yaml")
    parser.add_argument("--results", type=Path, default=Path("results"), help="searched for result files")
    parser.add_argument("--report", type=Path, default=Path("reports/generated"), help="its tables/ and figures/")
    parser.add_argument("--tracking-uri", default=f"{SQLITE}mlruns.db", help="MLFLOW_TRACKING_URI overrides it")
    parser.add_argument("--stamp", type=Path, help="JSON file that gets the key and the run id of everything published")
    options = parser.parse_args(arguments)
    uri = os.environ.get("MLFLOW_TRACKING_URI") or options.tracking_uri
    # MLflow's own are seven tries of two minutes each.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    logging.getLogger("mlflow.store").setLevel(logging.CRITICAL)  # its tracebacks, of what is told below in one line
    try:
        wanted = [*trainings(options.runs), *evaluations(options.results)]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    wanted += report(options.report, wanted)
    try:
        published, new = publish(wanted, uri)
    except (MlflowException, SQLAlchemyError) as error:
        print(f"{uri}: cannot publish ({_reason(error)}); nothing is lost, the same command goes on", file=sys.stderr)
        return 2
    print(f"{len(wanted)} runs in {uri}, {new} of them new")
    if options.stamp:
        with replacing(options.stamp) as part:
            part.write_text(json.dumps({"runs": len(published), "published": published}, indent=1) + "\n")
    return 0


def _reason(error: Exception) -> str:
    """What is wrong with a store, in a few words: MLflow's own have the whole chain of exceptions."""
    text = str(error)
    if found := re.search(r"\[Errno -?\d+\] ([^'\")]+)|\(sqlite3\.\w+\) ([^\n]+)", text):
        return found[1] or found[2]
    return text.splitlines()[0][:200]


def publish(wanted: list[Published], uri: str) -> tuple[dict[str, dict[str, str]], int]:
    """Makes the runs and the model versions that are not there.

    A run gets its key last: one of the same name without a key was cut short, and is deleted and made again. Runs of
    other names stay, since another process may be writing them.

    Returns:
        {"key", "run_id"} of every run by its name, and how many runs are new.
    """
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    # Beside its database; MLflow would take a folder of the working directory.
    place = (
        Path(uri.removeprefix(SQLITE)).resolve().with_name("mlartifacts").as_uri() if uri.startswith(SQLITE) else None
    )
    identity = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT, artifact_location=place)
    if experiment is None or TRAINING.keys() - experiment.tags.keys():
        for name, value in TRAINING.items():
            client.set_experiment_tag(identity, name, value)
    names, known = {run.name for run in wanted}, {}
    for run in mlflow.search_runs([identity], output_format="list"):
        if "key" in run.data.tags:
            known[run.data.tags["key"]] = run.info.run_id
        elif run.info.run_name in names and "kind" in run.data.tags:
            client.delete_run(run.info.run_id)
    published, new = {}, 0
    # The UI shows the newest first, and charts the first ten: the trainings, with their curves.
    for run in sorted(wanted, key=lambda run: (ORDER.index(run.tags["kind"]), run.name), reverse=True):
        key = run.key
        if key not in known:
            known[key], new = _create(client, identity, run, key), new + 1
        if run.checkpoint:
            register(client, run, known[key])
        published[run.name] = {"key": key, "run_id": known[key]} | ({"weights": run.weights} if run.weights else {})
    return dict(sorted(published.items())), new


def _create(client: mlflow.MlflowClient, experiment: str, run: Published, key: str) -> str:
    made = client.create_run(experiment, tags=run.tags, run_name=run.name).info.run_id
    params = [Param(name, str(value)[:MAX_PARAM_VAL_LENGTH]) for name, value in run.params.items()]
    for start in range(0, len(params), MAX_PARAMS_TAGS_PER_BATCH):
        client.log_batch(made, params=params[start : start + MAX_PARAMS_TAGS_PER_BATCH])
    metrics = [Metric(name, value, timestamp=0, step=step) for name, value, step in run.metrics]
    for start in range(0, len(metrics), MAX_METRICS_PER_BATCH):
        client.log_batch(made, metrics=metrics[start : start + MAX_METRICS_PER_BATCH])
    for path in run.files:
        client.log_artifact(made, str(path), _place(path))

    def show(picture: tuple[str, Path, int]) -> None:
        key, path, step = picture
        with Image.open(path) as image:
            client.log_image(made, image.convert("RGB"), key=key, step=step)

    for picture in run.pictures[:1]:  # alone: it makes a tag, which two at once would make twice
        show(picture)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # MLflow packs each picture twice: half of the time of it all
        list(pool.map(show, run.pictures[1:]))
    if run.checkpoint:
        log_checkpoint(client, made, run.checkpoint)
    client.set_terminated(made)
    client.set_tag(made, "key", key)
    return made


def _place(path: Path) -> str | None:
    return path.parent.name if path.parent.name in ("pictures", "tables", "figures") else None


if __name__ == "__main__":
    sys.exit(main())
