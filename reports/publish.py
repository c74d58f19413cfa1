"""`python -m reports.publish`: training runs, results and tables from their files into MLflow.

MLflow is a mirror, never a source: a stage that DVC takes from its cache logs nothing, so that every run is made here,
from its files, once. A second call finds the runs by their key and adds nothing.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import yaml
from mlflow.entities import Metric, Param
from PIL import Image

from gpstoken.training.files import CHECKPOINT_FILE, METRICS_FILE, read_metrics
from reports.tables import write

EXPERIMENT = "gpstoken"
LONGEST = 500  # characters of a parameter's value
BATCH = 1000  # metrics a call, MLflow's limit


@dataclass
class Published:
    """One MLflow run to be: its files, and what is shown of them.

    Attributes:
        name: the run's name.
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
    parser.add_argument("--tracking-uri", default=os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlruns.db"))
    parser.add_argument("--stamp", type=Path, help="JSON file to list what is published in")
    options = parser.parse_args(arguments)
    wanted = [*trainings(options.runs), *evaluations(options.results), *report(options.report)]
    mlflow.set_tracking_uri(options.tracking_uri)
    new = publish(wanted)
    print(f"{len(wanted)} runs in {options.tracking_uri}, {new} of them new")
    if options.stamp:
        listed = sorted(f"{run.name} {run.key}" for run in wanted)
        write(options.stamp, json.dumps({"published": listed}, indent=1) + "\n")
    return 0


def trainings(runs: Path) -> Iterator[Published]:
    """Every finished fit under `runs` (SCALE/GROUP/ROW/seedN where the pipeline made it)."""
    for config_file in sorted(runs.glob("**/config.yaml")):
        folder = config_file.parent
        if not (folder / CHECKPOINT_FILE).is_file():
            continue
        config = yaml.safe_load(config_file.read_text())
        name = folder.relative_to(runs.parent).as_posix()
        tags = {"kind": "training", "row": folder.parent.name, "seed": str(config["seed_everything"])}
        tags |= {"scale": next((part for part in folder.parts if part in scales()), "none")}
        tags |= {"data": config["data"]["class_path"]}
        metrics = folder / METRICS_FILE
        pictures = sorted(folder.glob("pictures/step_*.png"))
        yield Published(
            name=name,
            files=[config_file, metrics, *pictures],
            tags=tags,
            params=flatten(config),
            metrics=[(metric, value, step) for step, metric, value in read_metrics(metrics)],
            pictures=[("reconstructions", picture, int(picture.stem.removeprefix("step_"))) for picture in pictures],
        )


def evaluations(results: Path) -> Iterator[Published]:
    """Every result file under `results`."""
    for path in sorted(results.glob("**/tokenizers/*.json")):
        record = json.loads(path.read_text())
        tags = {"kind": "evaluation", "row": record["row"], "scale": record["scale"], "commit": record["commit"]}
        tags |= {"seed": " ".join(map(str, record["seeds"])), "data": record["data"]["class_path"]}
        metrics = [
            (f"test/{name}{suffix}", metric[part], 0)
            for name, metric in record["metrics"].items()
            for part, suffix in (("mean", ""), ("standard_error", "_standard_error"))
        ]
        yield Published(
            name=f"{record['scale']}/{record['group']}/{record['row']}/evaluation",
            files=[path, path.with_suffix(".csv")],
            tags=tags,
            params=flatten({key: record[key] for key in ("tokenizer", "data", "training", "versions", "machine")}),
            metrics=metrics,
        )


def report(folder: Path) -> Iterator[Published]:
    """The tables and figures as one run."""
    files = sorted(path for path in folder.glob("*") if path.suffix in (".md", ".csv", ".png", ".svg"))
    if files:
        pictures = [(path.stem, path, 0) for path in files if path.suffix == ".png"]
        yield Published(name="report", files=files, tags={"kind": "report"}, pictures=pictures)


def publish(wanted: list[Published]) -> int:
    """Makes the runs that are not there; returns how many.

    A run gets its key last: one without was cut short, and is deleted and made again.
    """
    experiment = mlflow.set_experiment(EXPERIMENT).experiment_id
    client = mlflow.MlflowClient()
    known = set()
    for run in mlflow.search_runs([experiment], output_format="list", max_results=50_000):
        if "key" in run.data.tags:
            known.add(run.data.tags["key"])
        elif "kind" in run.data.tags:
            client.delete_run(run.info.run_id)
    missing = [run for run in wanted if run.key not in known]
    for run in missing:
        _create(client, experiment, run)
    return len(missing)


def _create(client: mlflow.MlflowClient, experiment: str, run: Published) -> None:
    made = client.create_run(experiment, tags=run.tags, run_name=run.name).info.run_id
    params = [Param(name, str(value)[:LONGEST]) for name, value in run.params.items()]
    for start in range(0, len(params), 100):
        client.log_batch(made, params=params[start : start + 100])
    metrics = [Metric(name, value, timestamp=0, step=step) for name, value, step in run.metrics]
    for start in range(0, len(metrics), BATCH):
        client.log_batch(made, metrics=metrics[start : start + BATCH])
    for path in run.files:
        client.log_artifact(made, str(path), "pictures" if path.parent.name == "pictures" else None)
    for key, path, step in run.pictures:
        with Image.open(path) as picture:
            client.log_image(made, np.asarray(picture.convert("RGB")), key=key, step=step)
    client.set_terminated(made)
    client.set_tag(made, "key", run.key)


def scales() -> set[str]:
    """Names of the scales, as the files of experiments/_scale have them."""
    folder = Path(__file__).parents[1] / "experiments" / "_scale"
    return {path.name.removesuffix(".params.yaml") for path in folder.glob("*.params.yaml")}


def flatten(nested: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries and lists to "a.b.0" -> value, without the levels that only name constructor arguments."""
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
