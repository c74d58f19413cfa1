"""Result files and run folders as the pipeline writes them, with numbers typed or computed here."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from reports.tables import __main__ as tables
from reports.tables.table import Table

# Read by MLflow when it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

KNOBS = {"lambda_": 2.5, "support_factor": 3.0, "min_region_size": 4}
METRICS = ("psnr", "ssim", "lpips_alexnet", "lpips_vgg16")


@pytest.fixture
def write_result(tmp_path):
    """Writes results/SCALE/GROUP/ROW.json and .csv.

    `metrics` has (mean, standard error) and `values` has float[seeds, images] of each metric; `changes` are laid over
    the record, `data` and `evaluated` key by key.
    """

    def write(
        row: str,
        metrics: dict[str, tuple[float, float]],
        values: dict[str, np.ndarray],
        seeds=(0, 1),
        group="tokenizers",
        photographs=2,
        data: dict | None = None,
        steps=300,
        scale="laptop",
        study="",
        **changes,
    ) -> Path:
        folder = tmp_path / "results" / scale / group / study
        folder.mkdir(parents=True, exist_ok=True)
        images = values["psnr"].shape[1]
        evaluated = {"row": row, "image_size": 64, "num_tokens": 16, "focus": None} | changes.pop("evaluated", {})
        # of Gaussians with 16 features
        code = {"shape": [evaluated["num_tokens"]], "channels": 21, "codebook_size": None}
        record = {
            "row": row,
            "group": group,
            "scale": scale,
            "seeds": list(seeds),
            "tokenizer": {
                "class_path": "gpstoken.tokenizer.GPSToken",
                "init_args": {"num_tokens": 16, "feature_channels": 16, "image_size": 64, **KNOBS},
            },
            "parameters": 388347,
            "data": {
                "class_path": "datamodules.embedded.Embedded",
                "split": "test",
                "images": images,
                "photographs": photographs,
                "fingerprint": "fe6d6b66d051e246" * 4,
                **(data or {}),
            },
            "evaluated": {"code": code} | evaluated,
            "training": {"steps": steps, "batch_size": 16},
            "metrics": {
                name: {
                    "mean": mean,
                    "standard_error": error,
                    "count": images,
                    "clusters": photographs,
                    "seeds": len(seeds),
                    "per_seed": values[name].mean(axis=1).tolist(),
                }
                for name, (mean, error) in metrics.items()
            },
            "commit": "0123456789ab",
            "versions": {"torch": "2.14.1"},
            "machine": {"device": "cpu", "processor": "Test CPU"},
            **changes,
        }
        path = folder / f"{row}.json"
        path.write_text(json.dumps(record))
        with path.with_suffix(".csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["seed", "index", "source", *values])
            for seed_place, seed in enumerate(seeds):
                for index in range(images):
                    source = f"photograph{index * photographs // images}"
                    writer.writerow([seed, index, source, *(each[seed_place, index] for each in values.values())])
        return path

    return write


@pytest.fixture
def arm(write_result):
    """Writes a row whose images are `gain` better than a shared picture-by-picture level, in every metric."""

    def write(row: str, gain: float = 0.0, **changes) -> Path:
        shape = (len(changes.get("seeds", (0, 1))), 4)
        level = np.random.default_rng(0).uniform(0.3, 0.5, shape)
        # The wobble gives the paired differences a spread, so that an interval has a width.
        wobble = np.random.default_rng(len(row)).uniform(-0.01, 0.01, shape)
        better, worse = level + gain + wobble, level - gain + wobble
        values = {"psnr": better * 50, "ssim": better, "lpips_alexnet": worse, "lpips_vgg16": worse}
        metrics = {name: (float(values[name].mean()), 0.01) for name in METRICS}
        return write_result(row, metrics, values, **changes)

    return write


def _study_of(row: str) -> str:
    prefix = row.partition("_")[0]
    return {"domain": "domains"}.get(prefix, prefix) if prefix in ("domain", "small", "resolution", "focus") else ""


@pytest.fixture
def study(write_result):
    """Writes a study of gpstoken_m128: every image of both seeds has the numbers `levels`, standard error 0.25."""

    def write(
        row: str, image_size=64, num_tokens=16, focus=None, of="gpstoken_m128", photographs=4, images=8, **changes
    ) -> Path:
        levels = {"psnr": 20.0, "ssim": 0.5, "lpips_alexnet": 0.25, "lpips_vgg16": 0.5} | changes.pop("levels", {})
        values = {name: np.full((2, images), level) for name, level in levels.items()}
        evaluated = {"row": of, "image_size": image_size, "num_tokens": num_tokens, "focus": focus}
        # prepared images of another size are other bytes
        data = {"dataset": "natural", "crop": "adm", "skipped": 0, "fingerprint": f"{image_size:064d}"}
        data |= changes.pop("data", {})
        metrics = {name: (level, 0.25) for name, level in levels.items()}
        return write_result(
            row,
            metrics,
            values,
            **{
                "group": "studies",
                "study": _study_of(row),
                "photographs": photographs,
                "data": data,
                "evaluated": evaluated,
                **changes,
            },
        )

    return write


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """Writes every table from what lies in results/laptop, and beside it in other scales: the texts by file name."""
    # so that result files are named from where results/ lies
    monkeypatch.chdir(tmp_path)
    # Every column, whichever of them a reader is shown; test_a_page_shows_what_a_reader_compares has those.
    monkeypatch.setattr(Table, "visible", property(lambda table: table.columns))

    def write(*beside: str) -> dict[str, str]:
        options = ["--results", "results", "--scale", "laptop", "--beside", *beside]
        assert tables.main([*options, "-o", "generated/tables"]) == 0
        return {path.name: path.read_text(encoding="utf-8") for path in Path("generated/tables").iterdir()}

    return write


@pytest.fixture
def cells():
    """The line of a page that begins with the cells `start`, under the headings of its first table."""

    def read(page: str, *start: str) -> dict[str, str]:
        lines = [[cell.strip() for cell in text.strip("|").split("|")] for text in page.splitlines() if text[:1] == "|"]
        found = [line for line in lines if line[: len(start)] == list(start)]
        assert len(found) == 1
        return dict(zip(lines[0], found[0], strict=True))

    return read


@pytest.fixture
def write_run(tmp_path):
    """Writes runs/laptop/tokenizers/ROW/seedK as `gpstoken fit` leaves it, without weights that a test could use."""

    def write(row: str, seed: int = 0, loss: float = 1.0, pictures: int = 2) -> Path:
        folder = tmp_path / "runs" / "laptop" / "tokenizers" / row / f"seed{seed}"
        (folder / "pictures").mkdir(parents=True)
        tokenizer = {"class_path": "gpstoken.GPSToken", "init_args": {"num_tokens": 16, "lambda_": 2.5}}
        model = {"class_path": "gpstoken.training.TokenizerModule", "init_args": {"tokenizer": tokenizer}}
        data = {"class_path": "datamodules.Embedded", "init_args": {"root": "data/embedded", "image_size": 64}}
        trainer = {"max_steps": 20, "callbacks": [{"class_path": "gpstoken.training.StepProgress"}]}
        config = {"seed_everything": seed, "model": model, "data": data, "trainer": trainer}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        named = {"row": row, "group": "tokenizers", "scale": "laptop", "commit": "0123456789ab"}
        (folder / "origin.json").write_text(json.dumps(named))
        lines = ["step,name,value", f"10,train/loss,{loss}", f"20,train/loss,{loss / 2}", "20,validation/psnr,17.5"]
        (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
        (folder / "last.ckpt").write_bytes(b"weights")
        for place in range(1, pictures + 1):
            Image.new("RGB", (8, 4), (10 * place, 0, 0)).save(folder / "pictures" / f"step_{10 * place:07d}.png")
        return folder

    return write


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """A store of 65 tables takes seconds to make: made once, copied for each test."""
    import mlflow

    path = tmp_path_factory.mktemp("store") / "mlruns.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store, tmp_path, monkeypatch):
    import mlflow

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns.db").write_bytes(empty_store.read_bytes())
    # absolute: MLflow keeps one open store a URI and process, whatever folder it was opened in
    return mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns.db")
