import json
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from PIL import Image

from reports.publish import __main__ as publish
from reports.publish.store import EXPERIMENTS
from tests.reports import chrome

pytestmark = pytest.mark.skipif(chrome.BROWSER is None, reason="no chromium, chromium-browser or google-chrome")


# What `mlflow server` serves, without its further processes, each of which imports MLflow anew.
SERVER = """
import os
import sys
from mlflow.server import app, constants
from werkzeug.serving import make_server
folder = sys.argv[1]
os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = f"sqlite:///{folder}/server.db"
os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = "mlflow-artifacts:/"
os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = f"file://{folder}/artifacts"
os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
serving = make_server("127.0.0.1", 0, app, threaded=True)
print("port", serving.server_port, flush=True)
serving.serve_forever()
"""


@pytest.fixture
def server(tmp_path):
    # A process of its own: a server takes the stores of the one it runs in.
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(tmp_path)], stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        said = next((line for line in process.stdout if line.startswith("port ")), None)
        assert said, (tmp_path / "server.log").read_text()
        yield f"http://127.0.0.1:{said.split()[1]}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_remote_store_shows_runs_charts_artifacts_and_models(server, write_run, arm, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.chdir(tmp_path)
    write_run("gpstoken_m128", 0), write_run("gpstoken_m128", 1), arm("gpstoken_m128")
    tables = tmp_path / "reports" / "generated" / "laptop" / "tables"
    tables.mkdir(parents=True)
    (tables / "claims.md").write_text("# Claims of the paper\n")
    (tables.parent / "figures").mkdir()
    Image.new("RGB", (64, 32), (200, 0, 0)).save(tables.parent / "figures" / "ablation.png")
    assert publish.main(["--stamp", "stamp.json"]) == 0
    runs = {name: run["run_id"] for name, run in json.loads(Path("stamp.json").read_text())["published"].items()}
    training = runs["gpstoken_m128 seed0 (tokenizers, laptop)"]
    assert publish.main([]) == 0  # nothing new, over HTTP as well
    client = mlflow.MlflowClient(server)
    places = {kind: client.get_experiment_by_name(name).experiment_id for kind, name in EXPERIMENTS.items()}
    counts = {kind: len(client.search_runs([place])) for kind, place in places.items()}
    assert counts == {"training": 2, "evaluation": 1, "cost": 0, "profile": 0, "report": 1, "generators": 0}
    trainings, results, report = (places[kind] for kind in ("training", "evaluation", "report"))

    browser = chrome.Chrome(tmp_path / "profile")
    try:
        browser.width(1280)
        browser.open(server)

        def page(name: str, address: str, *texts: str, also: str = "true") -> None:
            # The pages are fragments of one address, which is loaded once.
            browser.run(f"location.hash = {json.dumps('#/' + address)}")
            said = " && ".join(f"document.body.innerText.includes({json.dumps(text)})" for text in texts)
            browser.wait_for(f"document.body && {said} && {also}")
            browser.picture(tmp_path / f"mlflow_{name}.png", whole=False)

        # Charts are drawn as they come into view: the first are those of the first metrics of the runs.
        charts = "document.querySelectorAll('.js-plotly-plot').length > 0"
        for experiment, metric in ((trainings, "train/loss"), (results, "test/psnr")):
            place = f"experiments/{experiment}/runs"
            shown = [name for name, run in runs.items() if client.get_run(run).info.experiment_id == experiment]
            page(f"runs_{experiment}", f"{place}?workflowType=machine_learning", *shown)
            view = f"{place}?workflowType=machine_learning&compareRunsMode=CHART"
            page(f"charts_{experiment}", view, metric, also=charts)
        place = f"experiments/{trainings}/runs"
        page("run", f"{place}/{training}", "train/loss", "model.tokenizer.lambda_", "laptop")
        # The steps 10 and 20 are on an axis.
        steps = "[...document.querySelectorAll('.js-plotly-plot')].some(each => /10.*20/s.test(each.textContent))"
        page("metrics", f"{place}/{training}/model-metrics", "loss", "psnr", also=steps)
        page("report", f"experiments/{report}/runs/{runs['report (laptop)']}", "Claims of the paper")
        page("artifacts", f"experiments/{report}/runs/{runs['report (laptop)']}/artifacts", "tables", "figures")
        page("model", "models/gpstoken_m128", "Version 2", "laptop-seed1", "laptop-seed0")
        elsewhere = [address for address in browser.requests if address.startswith("http") and server not in address]
        assert elsewhere == []
    finally:
        browser.close()
    version = client.get_model_version_by_alias("gpstoken_m128", "laptop")
    folder = client.download_artifacts(version.run_id, "checkpoint", str(tmp_path))
    assert (Path(folder) / "last.ckpt").read_bytes() == b"weights"
