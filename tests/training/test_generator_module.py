"""Training of the generator's stages through the command line, on a cache that the command line made."""

import os
import shutil
import signal
import time

import pytest
import torch
import yaml

from gpstoken import load_generator
from gpstoken.commands.cost import alone
from gpstoken.commands.generate import parse_classes
from gpstoken.files.digests import DIGEST
from gpstoken.training.files import read_metrics
from tests.faults.forks import command, ended, forked, started, together
from tests.training.conftest import REPOSITORY, STAGES

SAVER = [{"class_path": "gpstoken.training.LastCheckpoint"}]


@pytest.fixture
def arguments(stage_arguments):
    """Of `gpstoken fit` for a stage."""
    return stage_arguments


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_trains_and_leaves_what_a_generator_is_made_of(stage, arguments, run_cli, tmp_path):
    run = tmp_path / "run"
    assert run_cli([*arguments(stage, max_steps=20), "--output", str(run)]) == 0
    names = {name for _, name, _ in read_metrics(run / "metrics.csv")}
    assert {"train/loss", "validation/loss"} <= names
    assert [path.name for path in sorted((run / "snapshots").iterdir())] == [
        f"step_{step:07d}.ckpt" for step in (10, 20)
    ]
    assert len(list((run / "pictures").glob("step_*.png"))) == 4
    last = torch.load(run / "last.ckpt", weights_only=True)
    snapshot = torch.load(run / "snapshots" / "step_0000020.ckpt", weights_only=True)
    assert last["generator"] == snapshot["generator"]
    for name, tensor in snapshot["state_dict"].items():
        assert torch.equal(tensor, last["state_dict"][name])
    if stage in ("one_stage", "grid"):
        generator, tokenizer, record = load_generator(run / "last.ckpt")
        assert record["stages"]["generator"]["steps"] == 20
        assert record["stages"]["generator"]["batch_size"] == 4
        parts = generator.sample(torch.tensor([0, 4]), range(2), 0, generator.options(steps=3))
        with torch.no_grad():
            assert tokenizer.decode(tokenizer.unpack(parts)).shape == (2, 3, 32, 32)


def test_the_average_is_that_of_the_weights_after_every_step(arguments, run_cli, tmp_path):
    # With decay 0.99: average_1 = weights_1, then average = .99 average + .01 weights, from the raw weights of runs
    # that were stopped after 1, 2 and 3 steps.
    raw, averaged = [], None
    for steps in (1, 2, 3):
        run = tmp_path / str(steps)
        assert run_cli([*arguments("layout", max_steps=steps), "--output", str(run)]) == 0
        weights = torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
        raw.append(weights["generator.network.x_embedder.proj.weight"].double())
        averaged = weights["averaged.module.network.x_embedder.proj.weight"].double()
    expected = raw[0]
    for weights in raw[1:]:
        expected = 0.99 * expected + 0.01 * weights
    # float32 rounding of weights below 1
    torch.testing.assert_close(averaged, expected, rtol=0, atol=1e-6)
    assert (raw[2] - raw[0]).abs().max() > 1e-4


def test_a_killed_fit_goes_on_to_the_same_bytes(arguments, run_cli, tmp_path, repository):
    options = arguments("texture", max_steps=100, val_check_interval=40)
    (tmp_path / "often.yaml").write_text(
        yaml.safe_dump(
            {
                "trainer": {
                    "callbacks": [
                        {"class_path": "gpstoken.training.MetricsFile", "init_args": {"every_n_steps": 1}},
                        {"class_path": "gpstoken.training.LastCheckpoint", "init_args": {"every_n_steps": 7}},
                    ]
                }
            }
        )
    )
    options += ["-c", str(tmp_path / "often.yaml")]
    assert run_cli([*options, "--output", str(tmp_path / "unbroken")]) == 0
    work = command([*options, "--output", str(tmp_path / "resumed")], repository, tmp_path / "killed")
    log = tmp_path / "log"
    process = started(work, log)
    while not list((tmp_path / "killed").glob("*/last.ckpt")):
        assert process.exitcode is None, log.read_text()
        time.sleep(0.01)
    process.kill()
    assert ended(process) == -signal.SIGKILL
    assert not (tmp_path / "resumed").exists()
    assert forked(work, log) == 0, log.read_text()
    assert "resuming from" in log.read_text()
    first, second = (tmp_path / name for name in ("unbroken", "resumed"))
    assert (first / "metrics.csv").read_bytes() == (second / "metrics.csv").read_bytes()
    states = [torch.load(folder / "last.ckpt", weights_only=True)["state_dict"] for folder in (first, second)]
    for name in states[0]:
        assert torch.equal(states[0][name], states[1][name]), name


def test_the_tokens_of_another_tokenizer_are_refused(arguments, run_cli, tmp_path, caches, capsys):
    run = tmp_path / "run"
    assert run_cli([*arguments("layout"), "--output", str(run)]) == 0
    other = tmp_path / "other"
    shutil.copytree(caches / "tokenizer", other)
    text = (other / "cache.json").read_text()
    sha256 = yaml.safe_load(text)["tokenizer"]["sha256"]
    (other / "cache.json").write_text(text.replace(sha256, "0" * 64))
    # by the callback that draws samples with the tokenizer
    assert run_cli(arguments("layout", other)) == 2
    assert "not the tokenizer of the token cache" in capsys.readouterr().err
    # and by the module that goes on from a checkpoint
    command = [*arguments("layout", other, callbacks=[]), "--ckpt_path", str(run / "last.ckpt")]
    assert run_cli(command) == 2
    message = f"gpstoken: resume: trained on tokens of tokenizer {sha256[:12]}, but the cache is of {'0' * 12}"
    assert capsys.readouterr().err.strip().endswith(message)
    # which must be one of a generator
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    del checkpoint["generator"]["tokenizer"], checkpoint[DIGEST]
    torch.save(checkpoint, tmp_path / "forged.ckpt")
    assert run_cli([*arguments("layout", callbacks=[]), "--ckpt_path", str(tmp_path / "forged.ckpt")]) == 2
    message = "forged.ckpt: not a generator checkpoint, or a damaged one (it has no 'tokenizer')"
    assert capsys.readouterr().err.strip().endswith(message)


@pytest.mark.parametrize(
    "stage, cache, message",
    [
        ("texture", "autoencoder", "generator: needs residual, features, but the cache holds latent"),
        ("grid", "tokenizer", "generator: needs latent, but the cache holds"),
    ],
)
def test_a_cache_of_another_kind_is_refused(stage, cache, message, arguments, run_cli, caches, capsys):
    assert run_cli(arguments(stage, caches / cache, callbacks=[])) == 2
    assert f"gpstoken: {message}" in capsys.readouterr().err


def test_a_network_of_another_width_is_refused(arguments, run_cli, capsys):
    wrong = ["--model.init_args.generator.init_args.network.init_args.channels", "7"]
    assert run_cli([*arguments("one_stage", callbacks=[]), *wrong]) == 2
    assert "gpstoken: network: 7 channels, but geometry and features have 9" in capsys.readouterr().err


def test_a_generator_has_the_classes_of_its_cache(arguments, run_cli, tmp_path, capsys):
    states = {}
    for count in (1000, 5):
        run, flag = (
            tmp_path / str(count),
            ["--model.init_args.generator.init_args.network.init_args.num_classes", str(count)],
        )
        assert run_cli([*arguments("one_stage", max_steps=1, callbacks=SAVER), *flag, "--output", str(run)]) == 0
        said = "the generator has the 5 classes of "
        assert (said in capsys.readouterr().err) == (count == 1000)
        generator = load_generator(run / "last.ckpt").generator
        assert generator.num_classes == 5 and parse_classes("all", generator.num_classes) == [0, 1, 2, 3, 4]
        assert (
            yaml.safe_load((run / "config.yaml").read_text())["model"]["init_args"]["generator"]["init_args"][
                "network"
            ]["init_args"]["num_classes"]
            == generator.num_classes
        )
        states[count] = torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
    for name, value in states[5].items():
        assert torch.equal(value, states[1000][name]), name
    flag = ["--model.init_args.generator.init_args.network.init_args.num_classes", "4"]
    assert run_cli([*arguments("one_stage", callbacks=[]), *flag]) == 2
    assert "gpstoken: generator: 4 classes, but the cache has 5" in capsys.readouterr().err


def test_two_processes_train_one_network(arguments, repository, tmp_path):
    run = tmp_path / "run"
    flags = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.callbacks", "[]"]
    options = [*arguments("texture", max_steps=2, val_check_interval=1), *flags]
    options += ["--trainer.callbacks+", "gpstoken.training.LastCheckpoint", "--output", str(run)]
    together(command(options, repository, tmp_path / "scratch"), tmp_path)
    last = torch.load(run / "last.ckpt", weights_only=True)
    assert last["global_step"] == 2
    assert last["generator"]["training"]["batch_size"] == 8  # of both


def test_bf16_compile_and_clipping_are_flags(arguments, run_cli, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: calls.append(type(self).__name__))
    calls: list[str] = []
    flags = ["--trainer.precision", "bf16-mixed", "--model.init_args.compile", "true"]
    flags += [
        "--trainer.enable_model_summary",
        "false",
        "--trainer.gradient_clip_val",
        "0.5",
        "--trainer.accumulate_grad_batches",
        "2",
    ]
    command = [*arguments("texture", max_steps=2), *flags, "--output", str(tmp_path / "run")]
    assert run_cli(command) == 0
    assert calls == ["SiT"]
    last = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert last["generator"]["training"]["batch_size"] == 8
    assert all(value.dtype != torch.bfloat16 for value in last["state_dict"].values())


def test_a_measurement_that_is_killed_is_one_line():
    with pytest.raises(ValueError, match="the measuring process was killed; was there enough memory"):
        alone(os._exit, 9)


def test_the_cost_of_a_generator_is_measured(arguments, run_cli, tmp_path):
    runs = {stage: tmp_path / stage for stage in ("layout", "texture")}
    for stage, run in runs.items():
        assert run_cli([*arguments(stage, max_steps=4), "--output", str(run)]) == 0
    options = ["--iterations", "2", "--groups", "1", "--steps", "6", "--row", "cost", "--scale", "tiny"]
    options += [str(runs["texture"]), "--layout", str(runs["layout"]), "-o", str(tmp_path / "cost.json")]
    # in a process of its own: it forks, which a process with threads at work must not
    assert forked(command(["cost", *options], REPOSITORY, tmp_path), tmp_path / "log") == 0, (
        tmp_path / "log"
    ).read_text()
    cost = yaml.safe_load((tmp_path / "cost.json").read_text())
    assert (cost["row"], cost["group"], cost["scale"]) == ("cost", "cost", "tiny")
    assert list(cost["training"]) == ["layout", "texture"]
    for stage in cost["training"].values():
        assert stage["slowest_iterations_per_second"] <= stage["iterations_per_second"]
        assert stage["iterations_per_second"] <= stage["fastest_iterations_per_second"]
        assert stage["iterations"] == 2
        assert 100 < stage["peak_memory_mb"] < 10_000
    # width 16, one block, 8 tokens, by hand: qkv, projection and MLP 12 w^2 a token; attention 2 N w a token; adaLN
    # 6 w^2 and 2 w^2 (last layer), times 256 w + w^2; embedding 5 w, layout 5 w + w^2, output 18 w a token of texture.
    tokens, w = 8, 16
    a_token = 12 * w * w + 2 * tokens * w + 9 * w + (5 * w + w * w) + 18 * w
    expected = tokens * a_token + 6 * w * w + 2 * w * w + 256 * w + w * w
    assert cost["training"]["texture"]["gmacs"] == pytest.approx(expected / 1e9, rel=1e-12)
    inference = cost["inference"]
    assert inference["network_calls"] == {"layout": 6, "texture": 6}
    assert inference["network_rows_a_sample"]["layout"] == 6  # no guidance
    assert inference["network_rows_a_sample"]["texture"] > 6
    assert inference["samples_per_second"] > 0
    rows, gmacs = inference["network_rows_a_sample"], {name: stage["gmacs"] for name, stage in cost["training"].items()}
    by_calls = 2 * sum(rows[name] * gmacs[name] for name in rows)
    assert inference["gflops_a_sample"] == pytest.approx(by_calls, rel=1e-12)  # no gradient, nothing kept
