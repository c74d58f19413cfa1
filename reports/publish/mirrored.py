"""What of the files goes into MLflow: trainings, result files and the report, each as one flat run with its tags."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpstoken.files.plain_text import read_yaml
from gpstoken.files.provenance import file_hash
from gpstoken.training.files import CHECKPOINT_FILE, METRICS_FILE, ORIGIN_FILE, read_metrics
from gpstoken.training.origins import read_origin
from reports.names import KINDS, Named, named_result, sweep_tags

TAGS = ("row", "data", "scale", "seed", "commit", "group")  # every run has these
# Parts of a record that are measured numbers by name, of a cost and of a profile.
MEASURED = ("training", "inference", "parameters", "counts", "paper_convention", "memory", "measured")
SETTINGS = (
    "tokenizer", "generator", "sampling", "experiment", "config", "image_size", "data", "evaluated", "training",
    "parameters", "networks", "versions", "machine",
)  # fmt: skip
REPORT_FILES = (".md", ".csv", ".tex", ".json", ".png", ".svg", ".pdf")
NOTE_LENGTH = 8000  # what a tag may hold; the whole tables are artifacts


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
        checkpoint: weights to register, of a training.
        weights: hexadecimal sha256 of every file of weights of a training, by which results name it.
    """

    name: str
    files: list[Path]
    tags: dict[str, str]
    params: dict[str, Any] = field(default_factory=dict)
    metrics: list[tuple[str, float, int]] = field(default_factory=list)
    pictures: list[tuple[str, Path, int]] = field(default_factory=list)
    checkpoint: Path | None = None
    weights: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Hash of the name and of every file."""
        digest = hashlib.sha256(self.name.encode())
        for path in self.files:
            digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:16]


def trainings(runs: Path) -> Iterator[Published]:
    """Every finished fit under `runs`; named by what it says of itself, or by its folder."""
    for config_file in sorted(runs.glob("**/config.yaml")):
        folder = config_file.parent
        if not (folder / CHECKPOINT_FILE).is_file():
            continue
        config = read_yaml(config_file)
        model = _model(config_file, config)
        origin_file, origin = folder / ORIGIN_FILE, read_origin(folder)
        seed = f"seed{config['seed_everything']}"
        row, group, scale = (origin.get(name, "none") for name in ("row", "group", "scale"))
        if row == "none":  # a training that nobody has named is called by its folder
            row = seed = folder.resolve().name
        named = Named(row, seed, group, scale)
        pictures = sorted(folder.glob("pictures/step_*.png"))
        shown = "samples" if "stage" in model else "reconstructions"
        tags = {"kind": "training", "row": row, "scale": scale, "group": group}
        tags |= {"commit": origin.get("commit", "unknown")}
        tags |= {"seed": str(config["seed_everything"]), "data": config["data"]["class_path"]}
        yield Published(
            name=str(named) if scale != "none" else seed,
            files=[config_file, folder / METRICS_FILE, *([origin_file] if origin_file.is_file() else []), *pictures],
            tags=tags | sweep_tags(named, model.get("tokenizer", {}).get("init_args", {})),
            params=flatten(config),
            metrics=[(name, value, step) for step, name, value in read_metrics(folder / METRICS_FILE)],
            pictures=[(shown, picture, int(picture.stem.removeprefix("step_"))) for picture in pictures],
            checkpoint=folder / CHECKPOINT_FILE,
            weights=[file_hash(path) for path in (folder / CHECKPOINT_FILE, *sorted(folder.glob("snapshots/*.ckpt")))],
        )


def _model(path: Path, config: dict[Any, Any]) -> dict[str, Any]:
    try:
        config["seed_everything"], config["data"]["class_path"]
        return dict(config["model"]["init_args"])
    except (KeyError, TypeError, ValueError) as error:
        expected = "seed_everything, data.class_path and model.init_args"
        raise ValueError(f"{path}: not the configuration of a run, without one of {expected}") from error


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
        tags = {"kind": named.kind, "row": named.row, "scale": named.scale, "group": named.group}
        tags |= {"seed": " ".join(map(str, record.get("seeds", []))) or "none", "commit": record["commit"]}
        tags |= {"data": data.get("class_path", "none")} | sweep_tags(named, tokenizer.get("init_args", {}))
        if "fingerprint" in data:
            tags["fingerprint"] = data["fingerprint"]
        measured = named.kind != "evaluation"
        settings = (*SETTINGS, *MEASURED) if measured else SETTINGS
        flat = flatten({name: record[name] for name in settings if record.get(name) is not None})
        numbers = {name: value for name, value in flat.items() if measured and _is_measured(name, value)}
        yield Published(
            name=str(named),
            files=[path, *([table] if table.is_file() else [])],
            tags=tags,
            params={name: value for name, value in flat.items() if name not in numbers},
            metrics=[*_scores(record), *((f"{named.kind}/{name}", value, 0) for name, value in numbers.items())],
        )


def _is_measured(name: str, value: Any) -> bool:
    # Whole numbers are settings (batch sizes, repeats), all but the counts of parameters.
    part = name.split(".")[0]
    return part in MEASURED and (isinstance(value, float) or (part == "parameters" and isinstance(value, int)))


def _scores(record: dict[str, Any]) -> Iterator[tuple[str, float, int]]:
    for name, score in (record.get("metrics", {}) | record.get("scores", {})).items():
        for part, suffix in (("mean", ""), ("standard_error", "_standard_error")):
            if score[part] is not None:
                yield f"test/{name}{suffix}", score[part], 0
    for point in record.get("curve", []):
        for name, score in point["scores"].items():
            if score["mean"] is not None:
                yield f"curve/{name}", score["mean"], point["step"]


def report(folder: Path, found: list[Published]) -> Iterator[Published]:
    """The tables and figures as one run, tagged with all that the runs `found` are of.

    The Markdown tables are its description, which the UI shows: the claims first.
    """
    files = [path for path in folder.glob("*") if path.is_file()]
    files += [path for kind in ("tables", "figures") for path in folder.glob(f"{kind}/*")]
    files = sorted(path for path in files if path.suffix in REPORT_FILES)
    if files:
        written = sorted((path for path in files if path.suffix == ".md"), key=lambda path: path.stem != "claims")
        text = "\n".join(path.read_text(encoding="utf-8") for path in written)[:NOTE_LENGTH]
        tags = {tag: _joined(run.tags[tag] for run in found) for tag in TAGS}
        tags |= {"kind": "report", "row": "report", "group": "report", "mlflow.note.content": text}
        pictures = [(path.stem, path, 0) for path in files if path.suffix == ".png"]
        yield Published("report", files, tags, pictures=pictures)


def _joined(values: Iterator[str]) -> str:
    return " ".join(sorted({word for value in values for word in value.split()} - {"none"})) or "none"


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
