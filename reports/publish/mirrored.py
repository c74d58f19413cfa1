"""What of the files goes into MLflow: trainings, result files and the report, each as one flat run with its tags."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from gpstoken.files.plain_text import read_yaml
from gpstoken.training.files import CHECKPOINT_FILE, CONFIG_FILE, METRICS_FILE, ORIGIN_FILE, read_metrics
from gpstoken.training.origins import read_origin
from reports.names import KINDS, named_result, named_training, sweep_tags

TAGS = ("row", "data", "scale", "seed", "commit", "group")  # every run has these
# Parts of a record that are measured numbers by name, of a cost and of a profile.
MEASURED = ("training", "inference", "parameters", "counts", "paper_convention", "memory", "measured")
SETTINGS = (
    "tokenizer", "generator", "sampling", "experiment", "config", "image_size", "data", "evaluated", "networks",
    "versions", "machine", *MEASURED,
)  # fmt: skip
REPORT_FILES = (".md", ".csv", ".tex", ".json", ".png", ".svg", ".pdf")
NOTE_LENGTH = 8000  # what a tag may hold; the whole tables are artifacts


@dataclass
class Published:
    """One MLflow run to be: its files, and what is shown of them."""

    name: str  # the same wherever it is published from
    files: list[Path]  # everything it is made from; their hash is its key
    tags: dict[str, str]
    params: dict[str, Any] = field(default_factory=dict)
    metrics: list[tuple[str, float, int]] = field(default_factory=list)  # (name, value, step)
    pictures: list[tuple[str, Path, int]] = field(default_factory=list)  # (key, file, step), a grid over steps
    times: list[int] = field(default_factory=list)  # start and end in milliseconds since 1970, where a file says them
    weights: list[Path] = field(default_factory=list)  # of a training: its checkpoint, to be registered, and snapshots

    @property
    def key(self) -> str:
        """Hash of the name and of every file."""
        digest = hashlib.sha256(self.name.encode())
        for path in self.files:
            digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:16]


def trainings(runs: Path) -> Iterator[Published]:
    """Every finished fit under `runs`; runs of `gpstoken published`, of trained weights or without any, are none.

    Raises:
        ValueError: for a damaged one; names the file.
    """
    folders = (path.parent for path in sorted(runs.glob(f"**/{CONFIG_FILE}")))
    finished = (folder for folder in folders if (folder / CHECKPOINT_FILE).is_file())
    return (read_training(folder) for folder in finished if "weights" not in read_origin(folder))


def read_training(folder: Path) -> Published:
    """The fit in a folder, finished or not; named by what it says of itself, or by its folder.

    Raises:
        FileNotFoundError: where there is no configuration or no metrics.
        ValueError: for a damaged file; names it.
    """
    config, origin = read_yaml(folder / CONFIG_FILE), read_origin(folder)
    try:
        seed, data, model = config["seed_everything"], config["data"]["class_path"], dict(config["model"]["init_args"])
    except (KeyError, TypeError, ValueError) as error:
        reason = "not the configuration of a run, without one of seed_everything, data.class_path and model.init_args"
        raise ValueError(f"{folder / CONFIG_FILE}: {reason}") from error
    named = named_training(folder, seed, origin)
    try:
        times = [datetime.fromisoformat(origin[name]).timestamp() for name in ("started", "finished") if name in origin]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / ORIGIN_FILE}: says no time as its start or its end") from error
    if len(times) == 1:  # it is not finished
        times.append((folder / METRICS_FILE).stat().st_mtime)
    pictures = sorted(folder.glob("pictures/step_*.png"))
    optional = [path for path in (folder / ORIGIN_FILE, *pictures) if path.is_file()]
    shown = "samples" if "stage" in model else "reconstructions"
    tags = named._asdict() | {"kind": "training", "seed": str(seed), "data": data}
    tags |= {"commit": origin.get("commit", "unknown")}
    return Published(
        name=str(named) if named.scale != "none" else named.kind,
        files=[folder / CONFIG_FILE, folder / METRICS_FILE, *optional],
        tags=tags | sweep_tags(named, model.get("tokenizer", {}).get("init_args", {})),
        params=flatten(config),
        metrics=[(name, value, step) for step, name, value in read_metrics(folder / METRICS_FILE)],
        pictures=[(shown, picture, int(picture.stem.removeprefix("step_"))) for picture in pictures],
        times=[round(1000 * time) for time in times],
        weights=[folder / CHECKPOINT_FILE, *sorted(folder.glob("snapshots/*.ckpt"))],
    )


def evaluations(results: Path) -> Iterator[Published]:
    """Every result file under `results`: those with a table beside them, and the costs and profiles.

    Raises:
        ValueError: for one that does not say its row, group and scale.
    """
    for path in sorted(results.glob("**/*.json")):
        table, record = path.with_suffix(".csv"), json.loads(path.read_text())
        if "commit" not in record:  # a stamp, or timings of kernels
            continue
        named = named_result(path, record)
        if not table.is_file() and named.group not in KINDS:
            continue
        data, tokenizer = record.get("data", {}), record.get("tokenizer", {})
        tags = named._asdict() | {"commit": record["commit"], "data": data.get("class_path", "none")}
        tags |= {"seed": " ".join(map(str, record.get("seeds", []))) or "none"}
        tags |= {"fingerprint": data["fingerprint"]} if "fingerprint" in data else {}
        flat = flatten({name: record[name] for name in SETTINGS if record.get(name) is not None})
        # Whole numbers are settings (batch sizes, repeats), all but the counts of parameters.
        parts = () if named.kind == "evaluation" else MEASURED
        types = {part: (float, int) if part == "parameters" else float for part in parts}
        numbers = {name: value for name, value in flat.items() if isinstance(value, types.get(name.split(".")[0], ()))}
        ended, seconds = path.stat().st_mtime, sum(record.get("seconds", {}).values())
        yield Published(
            name=str(named),
            files=[path, *([table] if table.is_file() else [])],
            tags=tags | sweep_tags(named, tokenizer.get("init_args", {})),
            params={name: value for name, value in flat.items() if name not in numbers},
            metrics=[*_scores(record), *((f"{named.kind}/{name}", value, 0) for name, value in numbers.items())],
            times=[round(1000 * (ended - seconds)), round(1000 * ended)],
        )


def _scores(record: dict[str, Any]) -> Iterator[tuple[str, float, int]]:
    for name, score in (record.get("metrics", {}) | record.get("scores", {})).items():
        for part, suffix in (("mean", ""), ("standard_error", "_standard_error")):
            if score[part] is not None:
                yield f"test/{name}{suffix}", score[part], 0
    for point in record.get("curve", []):
        for name, score in point["scores"].items():
            if score["mean"] is not None:
                yield f"curve/{name}", score["mean"], point["step"]


def reports(folder: Path, runs: list[Published]) -> Iterator[Published]:
    """The tables and figures of each scale as one run, tagged with all that the others of the scale are of.

    `folder` is that of a scale, or holds a folder a scale. The Markdown tables are the description of a run, which the
    UI shows: the claims first.
    """
    of_scale = (folder / "tables").is_dir() or (folder / "figures").is_dir()
    for scale in [folder] if of_scale else sorted(folder.glob("*/")):
        files = sorted(path for place in ("tables/*", "figures/*") for path in scale.glob(place))
        files = [path for path in files if path.suffix in REPORT_FILES]
        if not files:
            continue
        written = sorted((path for path in files if path.suffix == ".md"), key=lambda path: path.stem != "claims")
        text = "\n".join(path.read_text(encoding="utf-8") for path in written)[:NOTE_LENGTH]
        others = [run.tags for run in runs if run.tags["scale"] == scale.name]
        words = {tag: {word for tags in others for word in tags[tag].split()} - {"none"} for tag in TAGS}
        tags = {tag: " ".join(sorted(words[tag])) or "none" for tag in TAGS} | {"scale": scale.name}
        tags |= {"kind": "report", "row": "report", "group": "report", "mlflow.note.content": text}
        pictures = [(path.stem, path, 0) for path in files if path.suffix == ".png"]
        yield Published(f"report ({scale.name})", files, tags, pictures=pictures)


def flatten(nested: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries and lists to "a.b.0" -> value, without the levels that only name constructor arguments.

    Thus a row's exponent is found as ``params.`model.tokenizer.lambda_` = '2.5'``.
    """
    if isinstance(nested, list) and any(isinstance(value, dict | list) for value in nested):
        nested = dict(enumerate(nested))
    if not isinstance(nested, dict) or not nested:
        return {prefix: nested}
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        flat |= flatten(value, prefix if name == "init_args" else f"{prefix}.{name}".lstrip("."))
    return flat
