"""`python -m reports.publish`: training runs, results and tables from their files into MLflow.

MLflow is a mirror, never a source: a stage that DVC takes from its cache logs nothing, so that every run is made here,
from its files, once. A second call finds the runs by their key and adds nothing.
"""

import argparse
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import yaml
from mlflow.entities import Metric, Param
from mlflow.utils.validation import MAX_METRICS_PER_BATCH, MAX_PARAM_VAL_LENGTH, MAX_PARAMS_TAGS_PER_BATCH
from PIL import Image

from gpstoken.training.files import CHECKPOINT_FILE, METRICS_FILE, read_metrics
from gpstoken.writing import replacing

EXPERIMENT = "gpstoken"
SQLITE = "sqlite:///"


@dataclass
class Published:
    """One MLflow run to be: its files, and what is shown of them.

    Attributes:
        name: the run's name, the same wherever it is published from.
        files: everything it is made from; their hash is its key.
        tags: searchable text.
        params: searchable parameters.
        metrics: (name, value, step).
        pictures: (key, file, step), shown as a grid over steps.
    """

    name: str
    files: list[Path]
    tags: dict[str, str]
    params: dict[str, Any] = field(default_factory=dict)
    metrics: list[tuple[str, float, int]] = field(default_factory=list)
    pictures: list[tuple[str, Path, int]] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Hash of the name and of every file."""
        digest = hashlib.sha256(self.name.encode())
        for path in self.files:
            digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:16]


def main(arguments: list[str] | None = None) -> int:
    """Publishes everything under --runs, --results and --report; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m reports.publish", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="searched for folders with a config.yaml")
    parser.add_argument("--results", type=Path, default=Path("results"), help="searched for result files")
    parser.add_argument("--report", type=Path, default=Path("reports/generated"))
    parser.add_argument("--tracking-uri", default=f"{SQLITE}mlruns.db", help="MLFLOW_TRACKING_URI overrides it")
    parser.add_argument("--stamp", type=Path, help="JSON file to count and list what is published in")
    options = parser.parse_args(arguments)
    uri = os.environ.get("MLFLOW_TRACKING_URI") or options.tracking_uri
    wanted = [*trainings(options.runs), *evaluations(options.results), *report(options.report)]
    new = publish(wanted, uri)
    print(f"{len(wanted)} runs in {uri}, {new} of them new")
    if options.stamp:
        keys = sorted(f"{run.name} {run.key}" for run in wanted)
        with replacing(options.stamp) as part:
            part.write_text(json.dumps({"runs": len(keys), "keys": keys}, indent=1) + "\n")
    return 0


def trainings(runs: Path) -> Iterator[Published]:
    """Every finished fit under `runs`; the pipeline's lie in SCALE/GROUP/ROW/seedN, a user's in any folder."""
    for config_file in sorted(runs.glob("**/config.yaml")):
        folder = config_file.parent
        if not (folder / CHECKPOINT_FILE).is_file():
            continue
        config = yaml.safe_load(config_file.read_text())
        # From the absolute path: `--runs runs` and `--runs runs/laptop` must come to the same name.
        scale, group, row, seed = folder.resolve().parts[-4:]
        placed = re.fullmatch(r"seed\d+", seed) is not None
        tags = {"kind": "training", "row": row if placed else seed, "scale": scale if placed else "none"}
        tags |= {"seed": str(config["seed_everything"]), "data": config["data"]["class_path"]}
        pictures = sorted(folder.glob("pictures/step_*.png"))
        shown = "samples" if "stage" in config["model"]["init_args"] else "reconstructions"
        yield Published(
            name=f"{row} {seed} ({group}, {scale})" if placed else seed,
            files=[config_file, folder / METRICS_FILE, *pictures],
            tags=tags,
            params=flatten(config),
            metrics=[(name, value, step) for step, name, value in read_metrics(folder / METRICS_FILE)],
            pictures=[(shown, picture, int(picture.stem.removeprefix("step_"))) for picture in pictures],
        )


def evaluations(results: Path) -> Iterator[Published]:
    """Every result file under `results`, told by the table that lies beside it."""
    for path in sorted(path.with_suffix(".json") for path in results.glob("**/*.csv")):
        record = json.loads(path.read_text())
        tags = {"kind": "evaluation", "row": record["row"], "scale": record["scale"], "commit": record["commit"]}
        tags |= {"seed": " ".join(map(str, record["seeds"])), "data": record["data"]["class_path"]}
        yield Published(
            name="{row} evaluation ({group}, {scale})".format(**record),
            files=[path, path.with_suffix(".csv")],
            tags=tags | {"fingerprint": record["data"]["fingerprint"]},
            params=flatten(
                {
                    name: record[name]
                    for name in (
                        "tokenizer",
                        "generator",
                        "sampling",
                        "data",
                        "evaluated",
                        "training",
                        "networks",
                        "versions",
                        "machine",
                    )
                    if name in record
                }
            ),
            metrics=[
                (f"test/{name}{suffix}", metric[part], 0)
                for name, metric in (record["metrics"] | record.get("scores", {})).items()
                for part, suffix in (("mean", ""), ("standard_error", "_standard_error"))
                if metric[part] is not None
            ],
        )


def report(folder: Path) -> Iterator[Published]:
    """The tables and figures as one run; the tables as its description, which the UI shows."""
    files = sorted(path for path in folder.glob("*") if path.suffix in (".md", ".csv", ".png", ".svg"))
    if files:
        # 8,000 characters is what a tag may hold; the whole tables are artifacts.
        text = "\n".join(path.read_text(encoding="utf-8") for path in files if path.suffix == ".md")[:8000]
        pictures = [(path.stem, path, 0) for path in files if path.suffix == ".png"]
        yield Published("report", files, {"kind": "report", "mlflow.note.content": text}, pictures=pictures)


def publish(wanted: list[Published], uri: str) -> int:
    """Makes the runs that are not there; returns how many.

    A run gets its key last: one of the same name without a key was cut short, and is deleted and made again. Runs of
    other names stay, since another process may be writing them.
    """
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    # Beside its database; MLflow would take a folder of the working directory.
    place = (
        Path(uri.removeprefix(SQLITE)).resolve().with_name("mlartifacts").as_uri() if uri.startswith(SQLITE) else None
    )
    identity = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT, artifact_location=place)
    names, known = {run.name for run in wanted}, set()
    for run in mlflow.search_runs([identity], output_format="list"):
        if "key" in run.data.tags:
            known.add(run.data.tags["key"])
        elif run.info.run_name in names and "kind" in run.data.tags:
            client.delete_run(run.info.run_id)
    missing = [run for run in wanted if run.key not in known]
    for run in missing:
        _create(client, identity, run)
    return len(missing)


def _create(client: mlflow.MlflowClient, experiment: str, run: Published) -> None:
    made = client.create_run(experiment, tags=run.tags, run_name=run.name).info.run_id
    params = [Param(name, str(value)[:MAX_PARAM_VAL_LENGTH]) for name, value in run.params.items()]
    for start in range(0, len(params), MAX_PARAMS_TAGS_PER_BATCH):
        client.log_batch(made, params=params[start : start + MAX_PARAMS_TAGS_PER_BATCH])
    metrics = [Metric(name, value, timestamp=0, step=step) for name, value, step in run.metrics]
    for start in range(0, len(metrics), MAX_METRICS_PER_BATCH):
        client.log_batch(made, metrics=metrics[start : start + MAX_METRICS_PER_BATCH])
    for path in run.files:
        client.log_artifact(made, str(path), "pictures" if path.parent.name == "pictures" else None)
    for key, path, step in run.pictures:
        with Image.open(path) as picture:
            client.log_image(made, np.asarray(picture.convert("RGB")), key=key, step=step)
    client.set_terminated(made)
    client.set_tag(made, "key", run.key)


def flatten(nested: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries and lists to "a.b.0" -> value, without the levels that only name constructor arguments.

    Thus a row's exponent is found as ``params.`model.tokenizer.lambda_` = '2.5'``.
    """
    if isinstance(nested, dict) and nested:
        items = nested.items()
    elif isinstance(nested, list) and any(isinstance(value, dict | list) for value in nested):
        items = enumerate(nested)
    else:
        return {prefix: nested}
    flat: dict[str, Any] = {}
    for key, value in items:
        name = prefix if key == "init_args" else f"{prefix}.{key}".lstrip(".")
        flat |= flatten(value, name)
    return flat


if __name__ == "__main__":
    sys.exit(main())
