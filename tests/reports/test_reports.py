"""Tables, claims and publication, on result files small enough to be worked out by hand."""

import csv
import json

import mlflow
import numpy as np
import pytest
import yaml
from PIL import Image

from reports import claims, publish, results, tables

SOURCES = ["a", "a", "b", "b"]


def write_result(folder, row, psnr, lpips, fingerprint="f" * 64, seeds=(0, 1)):
    """A result file whose metrics are `psnr` and `lpips`: [seeds][images] of four images of two photographs."""
    metrics = {}
    for name, values in {"psnr": psnr, "lpips_alexnet": lpips}.items():
        mean = float(np.mean(values))
        metrics[name] = {"mean": mean, "standard_error": 0.25, "count": 4, "clusters": 2, "seeds": len(seeds)}
        metrics[name]["per_seed"] = [float(np.mean(v)) for v in values]
    record = {
        "row": row,
        "group": "tokenizers",
        "scale": "laptop",
        "seeds": list(seeds),
        "tokenizer": {
            "class_path": "gpstoken.tokenizer.GPSToken",
            "init_args": {"num_tokens": 16, "feature_channels": 16, "image_size": 64},
        },
        "parameters": 388347,
        "data": {"class_path": "D", "split": "test", "images": 4, "photographs": 2, "fingerprint": fingerprint},
        "training": {"steps": 300, "batch_size": 16},
        "metrics": metrics,
        "commit": "abc123",
        "versions": {"torch": "2.14.1"},
        "machine": {"device": "cpu", "processor": "P"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{row}.json").write_text(json.dumps(record))
    with (folder / f"{row}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["seed", "index", "source", "psnr", "lpips_alexnet"])
        for s, seed in enumerate(seeds):
            writer.writerows([seed, i, SOURCES[i], psnr[s][i], lpips[s][i]] for i in range(4))


@pytest.fixture
def folder(tmp_path):
    write_result(tmp_path / "tokenizers", "worse", [[20, 21, 22, 23]] * 2, [[0.3, 0.3, 0.4, 0.4]] * 2)
    write_result(tmp_path / "tokenizers", "better", [[21.0, 22.1, 23.0, 24.1]] * 2, [[0.2, 0.3, 0.3, 0.5]] * 2)
    return tmp_path


def read(folder, row):
    return results.read_result(folder / "tokenizers" / f"{row}.json")


DECLARED = {
    "title": "T",
    "paper": "P",
    "ours": {"worse": "W", "better": "B", "absent": "A"},
    "claims": [["worse", "better", "better improves"], ["worse", "absent", "absent improves"]],
}
PUBLISHED = [
    {"method": "X", "psnr": "24.06", "lpips": "0.080"},
    {"method": "Y", "psnr": "23.52", "lpips": ""},
]


def test_a_missing_row_is_a_dash_and_the_best_is_bold(folder):
    page = tables.markdown(DECLARED, {row: read(folder, row) for row in DECLARED["ours"]}, PUBLISHED)
    lines = page.splitlines()
    assert "| W | 16 | 21 | 0.388 M | 21.50 ± 0.25 | - | **0.350 ± 0.250** | - |" not in lines
    assert "| W | 16 | 21 | 0.388 M | 21.50 ± 0.25 | - | 0.350 ± 0.250 | - |" in lines
    assert "| B | 16 | 21 | 0.388 M | **22.55 ± 0.25** | - | **0.325 ± 0.250** | - |" in lines
    assert "| A | - | - | - | - | - | - | - |" in lines
    assert "| X | **24.06** | **0.080** |" in lines
    assert "| Y | 23.52 | - |" in lines
    assert "**Scale: laptop**" in page
    assert "abc123" in page
    assert "- better improves: PSNR holds, LPIPS-Alex not resolved." in lines
    assert "| absent improves | - | - | - | not measured |" in lines


def test_verdicts_know_which_way_is_better(folder):
    worse, better = read(folder, "worse"), read(folder, "better")
    # PSNR +1.05 in each photograph: no spread between clusters
    verdict = claims.judge(worse, better, "psnr")
    assert verdict.outcome == "holds"
    assert verdict.difference.mean == pytest.approx(1.05)
    assert claims.judge(better, worse, "psnr").outcome == "reversed"
    # LPIPS -0.05 in photograph a, 0.0 in b: mean -0.025, error sqrt(2/1 * 2 * 0.05^2) / 4 = 0.025, unresolved
    verdict = claims.judge(worse, better, "lpips_alexnet")
    assert verdict.difference.mean == pytest.approx(-0.025)
    assert verdict.difference.standard_error == pytest.approx(0.025)
    assert verdict.outcome == "not resolved"


def test_lower_lpips_holds(tmp_path):
    write_result(tmp_path / "tokenizers", "first", [[20.0] * 4] * 2, [[0.4, 0.5, 0.4, 0.5]] * 2)
    write_result(tmp_path / "tokenizers", "second", [[20.0] * 4] * 2, [[0.3, 0.4, 0.3, 0.4]] * 2)
    assert claims.judge(read(tmp_path, "first"), read(tmp_path, "second"), "lpips_alexnet").outcome == "holds"
    assert claims.judge(read(tmp_path, "second"), read(tmp_path, "first"), "lpips_alexnet").outcome == "reversed"


@pytest.mark.parametrize("change", [{"fingerprint": "e" * 64}, {"seeds": (0, 2)}])
def test_other_images_or_seeds_are_not_compared(folder, change):
    write_result(folder / "tokenizers", "other", [[20, 21, 22, 23]] * 2, [[0.3] * 4] * 2, **change)
    with pytest.raises(ValueError, match="worse and other: measured on other images or seeds"):
        claims.judge(read(folder, "worse"), read(folder, "other"), "psnr")


def test_csv_that_is_not_of_its_json_is_refused(folder):
    path = folder / "tokenizers" / "worse.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(ValueError, match=r"worse\.csv: expected seeds \[0, 1\] with images 0 to 3"):
        read(folder, "worse")


def test_every_declared_table_is_written(folder, tmp_path):
    assert tables.main(["--results", str(folder), "--output", str(tmp_path / "out")]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"{table}.{kind}" for table in ("reconstruction", "ablation") for kind in ("md", "csv")}
    with (tmp_path / "out" / "reconstruction.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    # the paper's sixteen tokenizers, as printed
    assert sum(row["source"] == "paper" and row["metric"] == "psnr" for row in rows) == 16
    assert {"source": "paper", "row": "GPSToken-M128", "metric": "psnr", "value": "24.06"}.items() <= next(
        row for row in rows if row["row"] == "GPSToken-M128" and row["metric"] == "psnr"
    ).items()


def test_flatten_drops_only_the_level_of_constructor_arguments():
    nested = {"model": {"class_path": "M", "init_args": {"tokenizer": {"init_args": {"lambda_": 2.5}}}}, "list": [1, 2]}
    assert publish.flatten(nested) == {"model.class_path": "M", "model.tokenizer.lambda_": 2.5, "list": [1, 2]}


@pytest.fixture
def run_folder(tmp_path):
    run = tmp_path / "runs" / "laptop" / "tokenizers" / "worse" / "seed0"
    (run / "pictures").mkdir(parents=True)
    config = {
        "seed_everything": 0,
        "model": {"init_args": {"tokenizer": {"init_args": {"lambda_": 2.5}}}},
        "data": {"class_path": "datamodules.Embedded"},
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "metrics.csv").write_text("step,name,value\n10,train/loss,0.5\n20,train/loss,0.25\n")
    (run / "last.ckpt").write_bytes(b"weights")
    Image.new("RGB", (8, 8), "red").save(run / "pictures" / "step_0000010.png")
    return run


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # MLflow leaves its database open
def test_publishing_twice_adds_nothing_and_a_broken_run_is_made_again(folder, run_folder, tmp_path):
    uri = f"sqlite:///{tmp_path}/mlruns.db"
    arguments = ["--runs", str(tmp_path / "runs"), "--results", str(folder), "--report", str(tmp_path / "none")]
    arguments += ["--tracking-uri", uri, "--stamp", str(tmp_path / "stamp.json")]
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment(publish.EXPERIMENT, artifact_location=(tmp_path / "artifacts").as_uri())
    client = mlflow.MlflowClient()

    def runs():
        return mlflow.search_runs(experiment_names=[publish.EXPERIMENT], output_format="list")

    assert publish.main(arguments) == 0
    stamp = (tmp_path / "stamp.json").read_text()
    first = {run.info.run_id for run in runs()}
    assert len(first) == 3  # one training, two evaluations

    training = next(run for run in runs() if run.data.tags["kind"] == "training")
    assert training.data.params["model.tokenizer.lambda_"] == "2.5"
    assert {training.data.tags[name] for name in ("row", "seed", "scale")} == {"worse", "0", "laptop"}
    history = client.get_metric_history(training.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(10, 0.5), (20, 0.25)]
    names = {file.path for file in client.list_artifacts(training.info.run_id)}
    assert {"config.yaml", "metrics.csv", "pictures", "images"} <= names
    evaluation = next(run for run in runs() if run.data.tags.get("row") == "better")
    assert evaluation.data.metrics["test/psnr"] == pytest.approx(22.55)

    publish.main(arguments)
    assert {run.info.run_id for run in runs()} == first
    assert (tmp_path / "stamp.json").read_text() == stamp

    client.delete_tag(training.info.run_id, "key")  # as a kill before the last step leaves it
    publish.main(arguments)
    after = {run.info.run_id for run in runs()}
    assert len(after) == 3
    assert training.info.run_id not in after
