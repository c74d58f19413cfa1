import json
from pathlib import Path

import mlflow
import pytest

from reports import publish

# MLflow 3.17 against SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """A store of 65 tables takes seconds to make: made once, copied for each test."""
    path = tmp_path_factory.mktemp("store") / "mlruns.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns.db").write_bytes(empty_store.read_bytes())
    # absolute: MLflow keeps one open store a URI and process, whatever folder it was opened in
    return mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns.db")


def run(*arguments: str) -> None:
    uri = f"sqlite:///{Path.cwd()}/mlruns.db"
    assert publish.main(["--tracking-uri", uri, "--stamp", "stamp.json", *arguments]) == 0


def published(client) -> dict[str, mlflow.entities.Run]:
    experiment = client.get_experiment_by_name(publish.EXPERIMENT)
    runs = client.search_runs([experiment.experiment_id])
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
    report = tmp_path / "reports" / "generated"
    report.mkdir(parents=True)
    (report / "ablation.md").write_text("# Spatial adaptivity\n")
    run()
    found = published(store)
    assert set(found) == {"uniform evaluation (tokenizers, laptop)", "report"}
    evaluation = found["uniform evaluation (tokenizers, laptop)"].data
    expected = {"kind": "evaluation", "row": "uniform", "scale": "laptop", "seed": "0 1", "commit": "0123456789ab"}
    assert expected.items() <= evaluation.tags.items()
    record = json.loads(path.read_text())["metrics"]["psnr"]
    assert evaluation.metrics["test/psnr"] == record["mean"]
    assert evaluation.metrics["test/psnr_standard_error"] == record["standard_error"]
    assert evaluation.params["tokenizer.lambda_"] == "2.5"
    assert found["report"].data.tags["mlflow.note.content"] == "# Spatial adaptivity\n"
    assert "ablation.md" in {file.path for file in store.list_artifacts(found["report"].info.run_id)}


def test_second_publish_adds_nothing_from_whichever_folder(store, write_run, arm, tmp_path, capsys):
    write_run("uniform", 0), write_run("uniform", 1), arm("uniform")
    run()
    first, stamp = published(store), (tmp_path / "stamp.json").read_text()
    assert json.loads(stamp)["runs"] == 3
    run("--runs", "runs/laptop", "--results", "results/laptop")  # as the pipeline calls it
    assert {name: found.info.run_id for name, found in published(store).items()} == {
        name: found.info.run_id for name, found in first.items()
    }
    assert (tmp_path / "stamp.json").read_text() == stamp
    assert capsys.readouterr().out.splitlines() == [
        f"3 runs in sqlite:///{tmp_path}/mlruns.db, 3 of them new",
        f"3 runs in sqlite:///{tmp_path}/mlruns.db, 0 of them new",
    ]


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
    experiment = store.get_experiment_by_name(publish.EXPERIMENT).experiment_id
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
    assert store.get_experiment_by_name(publish.EXPERIMENT) is None


def test_flatten_drops_only_the_level_of_constructor_arguments():
    nested = {"model": {"class_path": "M", "init_args": {"tokenizer": {"init_args": {"lambda_": 2.5}}}}, "list": [1, 2]}
    assert publish.flatten(nested) == {"model.class_path": "M", "model.tokenizer.lambda_": 2.5, "list": [1, 2]}
