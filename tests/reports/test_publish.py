import json
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
import sqlalchemy.sql
from PIL import Image

from reports.publish import __main__ as publish
from reports.publish import mirrored
from reports.publish.store import EXPERIMENTS, TRAININGS

# MLflow 3.17 against SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")

# Of the bytes that `write_run` takes for them.
WEIGHTS = (
    "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"  # of the bytes that `write_run` takes for them
)


def run(*arguments: str) -> None:
    uri = f"sqlite:///{Path.cwd()}/mlruns.db"
    assert publish.main(["--tracking-uri", uri, "--stamp", "stamp.json", *arguments]) == 0


def published(client) -> dict[str, mlflow.entities.Run]:
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id for name in EXPERIMENTS.values()])
    by_name = {run.info.run_name: run for run in runs}
    assert len(by_name) == len(runs)
    return by_name


def test_what_a_training_run_holds(store, write_run):
    write_run("gpstoken_m128", seed=2)
    run()
    (found,) = published(store).values()
    assert found.info.run_name == "gpstoken_m128 seed2 (tokenizers, laptop)"
    assert found.info.status == "FINISHED"
    expected = {
        "kind": "training",
        "row": "gpstoken_m128",
        "scale": "laptop",
        "seed": "2",
        "data": "datamodules.Embedded",
        "group": "tokenizers",
        "commit": "0123456789ab",
    }
    assert expected.items() <= found.data.tags.items()
    assert found.data.params["trainer.callbacks.0.class_path"] == "gpstoken.training.StepProgress"
    assert store.search_runs([found.info.experiment_id], "params.`model.tokenizer.lambda_` = '2.5'")
    history = store.get_metric_history(found.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(10, 1.0), (20, 0.5)]
    assert {file.path for file in store.list_artifacts(found.info.run_id)} >= {"config.yaml", "metrics.csv", "pictures"}
    # the form that the UI shows as a grid over steps
    files = [Path(file.path).name for file in store.list_artifacts(found.info.run_id, "images")]
    assert {tuple(name.split("+")[:3]) for name in files} == {("reconstructions", "step", at) for at in ("10", "20")}


def test_what_an_evaluation_and_the_report_hold(store, arm, tmp_path):
    path = arm("uniform")
    (tmp_path / "results" / "laptop" / "published.json").write_text("{}")  # a stamp is no result
    report = tmp_path / "reports" / "generated" / "laptop" / "tables"
    report.mkdir(parents=True)
    for name, text in (("ablation.md", "# Spatial adaptivity\n"), ("claims.md", "# Claims\n"), ("ablation.tex", "%")):
        (report / name).write_text(text)
    (report.parent / "figures").mkdir()
    Image.new("RGB", (8, 4)).save(report.parent / "figures" / "tokens.png")
    (report.parent / "site").mkdir()
    (report.parent / "site" / "index.html").write_text("not of the mirror")
    run()
    found = published(store)
    assert set(found) == {"uniform evaluation (tokenizers, laptop)", "report (laptop)"}
    evaluation = found["uniform evaluation (tokenizers, laptop)"].data
    expected = {"kind": "evaluation", "row": "uniform", "scale": "laptop", "seed": "0 1", "commit": "0123456789ab"}
    expected |= {"group": "tokenizers", "data": "datamodules.embedded.Embedded"}
    assert expected.items() <= evaluation.tags.items()
    record = json.loads(path.read_text())["metrics"]["psnr"]
    assert evaluation.metrics["test/psnr"] == record["mean"]
    assert evaluation.metrics["test/psnr_standard_error"] == record["standard_error"]
    assert evaluation.params["tokenizer.lambda_"] == "2.5"
    report = found["report (laptop)"]
    tags = report.data.tags
    assert tags["mlflow.note.content"] == "# Claims\n\n# Spatial adaptivity\n"  # the claims first
    assert {name: tags[name] for name in mirrored.TAGS} == {
        "row": "report",
        "group": "report",
        "scale": "laptop",
        "seed": "0 1",
        "commit": "0123456789ab",
        "data": "datamodules.embedded.Embedded",
    }
    shown = {folder: {Path(file.path).name for file in store.list_artifacts(report.info.run_id, folder)}
             for folder in ("tables", "figures")}  # fmt: skip
    assert shown == {"tables": {"ablation.md", "ablation.tex", "claims.md"}, "figures": {"tokens.png"}}


def test_second_publish_adds_nothing_from_whichever_folder(store, write_run, arm, tmp_path, capsys):
    write_run("uniform", 0), write_run("uniform", 1), arm("uniform")
    run()
    first, stamp = published(store), (tmp_path / "stamp.json").read_text()
    assert json.loads(stamp) == {
        "runs": 3,
        "published": {
            name: {"key": found.data.tags["key"], "run_id": found.info.run_id}
            | ({"weights": [WEIGHTS]} if found.data.tags["kind"] == "training" else {})
            for name, found in sorted(first.items())
        },
    }
    run("--runs", "runs/laptop", "--results", "results/laptop")  # as the pipeline calls it
    assert {name: found.info.run_id for name, found in published(store).items()} == {
        name: found.info.run_id for name, found in first.items()
    }
    assert (tmp_path / "stamp.json").read_text() == stamp
    assert capsys.readouterr().out.splitlines() == [
        f"3 runs in sqlite:///{tmp_path}/mlruns.db, 3 of them new",
        f"3 runs in sqlite:///{tmp_path}/mlruns.db, 0 of them new",
    ]


def test_a_training_was_when_its_origin_says(store, write_run, tmp_path):
    folder = write_run("uniform", 0)
    origin = json.loads((folder / "origin.json").read_text())
    times = {"started": "2026-11-29T03:00:00.250+00:00", "finished": "2026-11-29T03:20:00.250+00:00"}
    (folder / "origin.json").write_text(json.dumps(origin | times))
    write_run("uniform", 1)  # of before trainings said it
    before = int(1000 * time.time())
    run()
    runs = published(store)
    timed, untimed = (runs[f"uniform seed{seed} (tokenizers, laptop)"] for seed in (0, 1))
    start = 1795921200250  # date -u -d 2026-11-29T03:00:00.250Z +%s%3N
    assert (timed.info.start_time, timed.info.end_time) == (start, start + 1_200_000)
    history = store.get_metric_history(timed.info.run_id, "train/loss")
    assert [(point.step, point.timestamp - start) for point in history] == [(10, 600_000), (20, 1_200_000)]
    assert before <= untimed.info.start_time <= untimed.info.end_time <= 1000 * time.time()
    assert {point.timestamp for point in store.get_metric_history(untimed.info.run_id, "train/loss")} == {0}


def test_a_start_that_is_no_time_is_one_line(store, write_run, capsys):
    folder = write_run("uniform", 0)
    for value in ("yesterday", 5):
        (folder / "origin.json").write_text(json.dumps({"row": "uniform", "started": value}))
        assert publish.main([]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("runs/laptop/tokenizers/uniform/seed0/origin.json: ")


def test_a_result_took_the_seconds_that_it_states_until_its_file_was_written(store, arm):
    timed = arm("uniform", seconds={"prepare": 4.5, "reconstruct and compare": 60.0})
    untimed = arm("init_only")
    for path in (timed, untimed):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    run()
    runs = published(store)
    timed, untimed = (runs[f"{row} evaluation (tokenizers, laptop)"].info for row in ("uniform", "init_only"))
    assert (timed.start_time, timed.end_time) == (1_699_999_935_500, 1_700_000_000_000)
    assert (untimed.start_time, untimed.end_time) == (1_700_000_000_000, 1_700_000_000_000)


def test_kinds_of_runs_are_in_experiments_that_share_no_metric(store, write_run, arm):
    write_run("uniform", 0), arm("uniform")
    run()
    shown = {}
    for name in (EXPERIMENTS["training"], EXPERIMENTS["evaluation"]):
        experiment = store.get_experiment_by_name(name)
        assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
        (found,) = store.search_runs([experiment.experiment_id])
        shown[found.data.tags["kind"]] = set(found.data.metrics)
    assert set(shown) == {"training", "evaluation"} and not set.intersection(*shown.values())


def test_a_result_of_a_store_of_before_moves_to_its_experiment(store, arm, tmp_path):
    arm("uniform")
    run()
    key = json.loads((tmp_path / "stamp.json").read_text())["published"]["uniform evaluation (tokenizers, laptop)"][
        "key"
    ]
    places = [store.get_experiment_by_name(name).experiment_id for name in EXPERIMENTS.values()]
    trainings, results = places[:2]
    (kept,) = store.search_runs([results])
    name, tags = "uniform evaluation (tokenizers, laptop)", {"kind": "evaluation", "key": key}
    store.create_run(trainings, tags=tags, run_name=name)
    store.create_run(trainings, tags=tags, run_name="of another call")
    run()
    assert [found.info.run_name for found in store.search_runs([trainings])] == ["of another call"]
    assert [found.info.run_id for found in store.search_runs([results])] == [kept.info.run_id]


def test_a_sweep_is_tagged_with_its_parameter_and_value(store, write_run, arm, tmp_path):
    folder = write_run("support_factor=7", 1)
    named = {"row": "support_factor=7", "group": "sweeps", "scale": "laptop", "commit": "feedbeef0123"}
    (folder / "origin.json").write_text(json.dumps(named))
    shutil.move(tmp_path / "runs" / "laptop" / "tokenizers", tmp_path / "runs" / "laptop" / "sweeps")
    config = tmp_path / "runs" / "laptop" / "sweeps" / "support_factor=7" / "seed1" / "config.yaml"
    config.write_text(config.read_text().replace("lambda_: 2.5", "support_factor: 7.0"))
    arm("lambda_=0.5", group="sweeps", tokenizer={"class_path": "gpstoken.GPSToken", "init_args": {"lambda_": 0.5}})
    arm("lambda_=like")  # no sweep by its name alone
    run()
    tags = {name: found.data.tags for name, found in published(store).items()}
    training = tags["support_factor=7 seed1 (sweeps, laptop)"]
    assert (training["sweep"], training["sweep_value"]) == ("support_factor", "7.0")
    assert (training["commit"], training["group"]) == ("feedbeef0123", "sweeps")
    evaluation = tags["lambda_=0.5 evaluation (sweeps, laptop)"]
    assert (evaluation["sweep"], evaluation["sweep_value"]) == ("lambda_", "0.5")
    assert "sweep" not in tags["lambda_=like evaluation (tokenizers, laptop)"]


def test_costs_and_profiles_are_runs_with_their_measured_numbers(store, tmp_path):
    cost = {"row": "two_stage", "group": "cost", "scale": "laptop"}
    cost |= {"training": {"layout": {"iterations_per_second": 13.5, "device": "cpu"}}, "commit": "0123456789ab"}
    profile = {"row": "gpstoken_m128", "group": "efficiency", "scale": "laptop", "image_size": 256, "commit": "0123"}
    profile |= {"counts": {"encoder": {"gmacs": 47.9}}, "paper_convention": None, "parameters": {"total": 127_800_000}}
    profile |= {"measured": {"latency_ms": 12.5, "compile": False, "encode_ms": [12.0, 13.0], "peak_memory_mb": None}}
    for place, record in (("cost/two_stage", cost), ("efficiency/gpstoken_m128", profile)):
        path = tmp_path / "results" / "laptop" / f"{place}.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(record))
    run()
    found = published(store)
    assert set(found) == {"two_stage cost (cost, laptop)", "gpstoken_m128 profile (efficiency, laptop)"}
    first, second = (
        found["two_stage cost (cost, laptop)"].data,
        found["gpstoken_m128 profile (efficiency, laptop)"].data,
    )
    assert first.metrics == {"cost/training.layout.iterations_per_second": 13.5}
    assert first.params == {"training.layout.device": "cpu"}
    assert second.metrics == {
        "profile/counts.encoder.gmacs": 47.9,
        "profile/parameters.total": 127_800_000,
        "profile/measured.latency_ms": 12.5,
    }
    assert (second.params["image_size"], second.params["measured.compile"]) == ("256", "False")
    assert set(mirrored.TAGS) <= first.tags.keys() & second.tags.keys()


def test_a_result_is_what_it_says_wherever_it_lies(store, arm, tmp_path, capsys):
    path = arm("uniform", group="studies", scale="paper")
    other = path.rename(tmp_path / "results" / "copy.json")
    path.with_suffix(".csv").rename(other.with_suffix(".csv"))
    run()
    assert set(published(store)) == {"uniform evaluation (studies, paper)"}
    capsys.readouterr()
    record = json.loads(other.read_text())
    for name in ("row", "group", "scale"):
        other.write_text(json.dumps({key: value for key, value in record.items() if key != name}))
        assert publish.main([]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"results/copy.json: does not say its {name}; ")


def test_a_report_is_of_one_scale_whichever_folder_is_given(store, arm, tmp_path):
    arm("uniform"), arm("uniform", scale="paper", seeds=(5, 6))
    for scale in ("laptop", "paper"):
        folder = tmp_path / "reports" / "generated" / scale / "tables"
        folder.mkdir(parents=True)
        (folder / "claims.md").write_text(f"# Claims at the {scale} scale\n")
    run("--report", "reports/generated/laptop", "--results", "results/laptop")  # as the pipeline calls it
    first = published(store)["report (laptop)"]
    run()  # as `make ui` does
    found = published(store)
    assert found["report (laptop)"].info.run_id == first.info.run_id
    assert [found[f"report ({scale})"].data.tags["seed"] for scale in ("laptop", "paper")] == ["0 1", "5 6"]


def test_only_generators_are_in_the_experiment_of_curves(store, arm):
    curve = [{"step": 200, "scores": {"kid": {"mean": 0.2, "standard_error": None}}}]
    arm("two_stage", group="generators", curve=curve), arm("uniform")
    run()
    metrics = {}
    for kind in ("evaluation", "generators"):
        (found,) = store.search_runs([store.get_experiment_by_name(EXPERIMENTS[kind]).experiment_id])
        metrics[found.data.tags["row"]] = "curve/kid" in found.data.metrics
    assert metrics == {"uniform": False, "two_stage": True}


def test_a_curve_over_training_steps_charts(store, arm):
    curve = [{"step": at, "scores": {"kid": {"mean": at / 1000, "standard_error": None}}} for at in (200, 400)]
    arm("two_stage", group="generators", curve=curve)
    run()
    (found,) = published(store).values()
    history = store.get_metric_history(found.info.run_id, "curve/kid")
    assert [(point.step, point.value) for point in history] == [(200, 0.2), (400, 0.4)]


def test_each_training_is_a_version_of_its_rows_model(store, write_run, tmp_path):
    for seed in (0, 1):
        (write_run("uniform", seed) / "last.ckpt").write_bytes(b"weights %d" % seed)
        run(), run()
    found = published(store)
    (model,) = store.search_registered_models()
    assert model.name == "uniform"
    versions = {version.tags["seed"]: version for version in store.search_model_versions("name = 'uniform'")}
    assert set(versions) == {"0", "1"} and len(store.search_model_versions("name = 'uniform'")) == 2
    for seed, version in versions.items():
        assert version.run_id == found[f"uniform seed{seed} (tokenizers, laptop)"].info.run_id
        assert (version.tags["scale"], version.status) == ("laptop", "READY")
        uri = f"{store.get_model_version_download_uri('uniform', version.version)}/last.ckpt"
        assert Path(mlflow.artifacts.download_artifacts(uri)).read_bytes() == b"weights %s" % seed.encode()
    assert store.get_model_version_by_alias("uniform", "laptop").tags["seed"] == "0"
    assert store.get_model_version_by_alias("uniform", "laptop-seed1").tags["seed"] == "1"


def test_a_new_training_is_a_new_version_and_the_old_one_stays(store, write_run):
    folder = write_run("uniform", 0)
    run()
    mine = store.create_model_version("uniform", "s3://elsewhere/mine.ckpt", tags={"scale": "laptop"})
    with (folder / "metrics.csv").open("a") as file:
        file.write("30,train/loss,0.25\n")
    run()
    found = {int(version.version) for version in store.search_model_versions("name = 'uniform'")}
    assert found == {1, int(mine.version), 3}
    assert int(store.get_model_version_by_alias("uniform", "laptop").version) == 3


def test_a_version_that_a_kill_left_out_is_made_by_the_next_call(store, write_run, monkeypatch):
    write_run("uniform", 0)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "create_model_version", killed)
        with pytest.raises(KeyboardInterrupt):
            run()
    run()
    (found,) = published(store).values()
    (version,) = store.search_model_versions("name = 'uniform'")
    assert version.run_id == found.info.run_id


def test_a_large_checkpoint_is_registered_by_its_path_and_hash(store, write_run, monkeypatch, tmp_path):
    monkeypatch.setattr("reports.publish.store.LARGEST_COPY", len(b"weights") - 1)
    path = write_run("uniform", 0) / "last.ckpt"
    run()
    (version,) = store.search_model_versions("name = 'uniform'")
    folder = Path(mlflow.artifacts.download_artifacts(store.get_model_version_download_uri("uniform", version.version)))
    assert [each.name for each in folder.iterdir()] == ["last.ckpt.json"]
    told = json.loads((folder / "last.ckpt.json").read_text())
    # sha256sum of the seven letters
    sha256 = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    assert told == {"path": str(path), "bytes": 7, "sha256": sha256}


def test_interrupted_run_is_made_again_and_others_are_left(store, write_run, monkeypatch):
    write_run("uniform", 0)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "set_terminated", killed)
        with pytest.raises(KeyboardInterrupt):
            run()
    (half,) = published(store).values()
    # another process in the middle of its own run
    store.create_run(half.info.experiment_id, tags={"kind": "training"}, run_name="uniform seed0 (tokenizers, paper)")
    run()
    found = published(store)
    assert set(found) == {"uniform seed0 (tokenizers, laptop)", "uniform seed0 (tokenizers, paper)"}
    whole = found["uniform seed0 (tokenizers, laptop)"]
    assert whole.info.run_id != half.info.run_id
    assert whole.info.status == "FINISHED"
    assert "key" in whole.data.tags


def test_changed_run_is_published_beside_the_old_one(store, write_run):
    metrics = write_run("uniform", 0) / "metrics.csv"
    run()
    metrics.write_text(metrics.read_text() + "30,train/loss,0.25\n")
    run()
    experiment = store.get_experiment_by_name(TRAININGS).experiment_id
    assert sorted(found.data.metrics["train/loss"] for found in store.search_runs([experiment])) == [0.25, 0.5]


def test_unfinished_fit_is_left_out(store, write_run):
    (write_run("uniform", 0) / "last.ckpt").unlink()
    run()
    assert published(store) == {}


def test_long_value_is_cut_and_many_metrics_go_in_batches(store, write_run):
    folder = write_run("uniform", 0, pictures=0)
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config + f"note: {'x' * 7000}\n")
    lines = ["step,name,value", *(f"{step},train/loss,{step}" for step in range(2001))]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    run()
    (found,) = published(store).values()
    assert found.data.params["note"] == "x" * 6000
    assert len(store.get_metric_history(found.info.run_id, "train/loss")) == 2001


def test_environment_names_the_store(store, write_run, empty_store, tmp_path, monkeypatch):
    (tmp_path / "other.db").write_bytes(empty_store.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    write_run("uniform", 0)
    run()
    assert len(published(mlflow.MlflowClient(f"sqlite:///{tmp_path}/other.db"))) == 1
    assert store.get_experiment_by_name(TRAININGS) is None


def test_flatten_drops_only_the_level_of_constructor_arguments():
    nested = {"model": {"class_path": "M", "init_args": {"tokenizer": {"init_args": {"lambda_": 2.5}}}}, "list": [1, 2]}
    assert mirrored.flatten(nested) == {"model.class_path": "M", "model.tokenizer.lambda_": 2.5, "list": [1, 2]}


def refused(capsys, uri: str) -> str:
    assert publish.main(["--tracking-uri", uri]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(uri) and line.endswith("nothing is lost, and the same command resumes") and len(line) < 300
    return line


def test_a_server_that_is_not_there_is_one_line(store, write_run, capsys):
    write_run("gpstoken_m128")
    assert "Connection refused" in refused(capsys, "http://127.0.0.1:9")  # the port of "discard", which nobody serves


def test_a_store_that_another_process_holds_is_one_line_and_then_goes_on(
    store, write_run, capsys, tmp_path, monkeypatch
):
    write_run("gpstoken_m128")
    text = sqlalchemy.sql.text  # MLflow waits for 20 s
    monkeypatch.setattr(
        sqlalchemy.sql, "text", lambda words: text(words.replace("busy_timeout = 20000", "busy_timeout = 500"))
    )
    with closing(sqlite3.connect(tmp_path / "mlruns.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "database is locked" in refused(capsys, f"sqlite:///{tmp_path}/mlruns.db")
        other.execute("ROLLBACK")
    run()
    assert len(published(store)) == 1


def test_runs_of_weights_from_elsewhere_and_without_any_are_no_trainings(write_run, tmp_path):
    for row, origin in (
        ("small", {"commit": "0123", "weights": {"file": "small"}}),
        ("jpeg", {"commit": "untrained", "weights": None}),
    ):
        run = write_run(row, 0)
        (run / "metrics.csv").unlink()
        (run / "origin.json").write_text(json.dumps(origin))
    assert list(mirrored.trainings(tmp_path / "runs")) == []
