"""MaskGIT from tokens to images by the same commands as a flow: nothing outside its own file knows what it is."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from gpstoken import load_generator
from gpstoken.baselines.maskgit import MaskGITAutoencoder
from gpstoken.loading import class_path_of
from tests.faults.forks import command as forked_command
from tests.faults.forks import forked
from tests.training.conftest import CACHED, REPOSITORY

TOKENIZER = {"codebook_size": 7, "latent_channels": 4, "block_out_channels": [4, 8, 8], "norm_num_groups": 2}
GENERATOR = {"shape": [8, 8], "codebook_size": 7, "num_classes": 1000, "width": 16, "depth": 1, "heads": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory, command) -> Path:
    """A folder with a tokenizer, the cache of its codes, the row of a generator and its run."""
    folder = tmp_path_factory.mktemp("masked")
    torch.manual_seed(0)
    tokenizer = MaskGITAutoencoder(**TOKENIZER)
    weights = {f"tokenizer.{name}": tensor for name, tensor in tokenizer.state_dict().items()}
    described = {"class_path": class_path_of(tokenizer), "init_args": tokenizer.config}
    torch.save({"tokenizer": described, "state_dict": weights, "global_step": 1}, folder / "tokenizer.ckpt")
    options = ["--data", "experiments/_data/embedded_faces.yaml", "--data.init_args.prepared", str(folder / "prepared")]
    options += [part for name, value in CACHED.items() for part in (f"--data.init_args.{name}", str(value))]
    assert command(["cache", "--tokenizer", str(folder / "tokenizer.ckpt"), "-o", str(folder / "cache"), *options]) == 0
    row = {
        "model": {
            "class_path": "gpstoken.training.generator_module.GeneratorModule",
            "init_args": {
                "generator": {"class_path": "gpstoken.generators.masked.MaskedGenerator", "init_args": GENERATOR}
            },
        },
        "data": {"class_path": "datamodules.TokenCache", "init_args": {"root": str(folder / "cache"), "batch_size": 4}},
        "trainer": yaml.safe_load((REPOSITORY / "experiments/laptop/generators.yaml").read_text())["trainer"],
    }
    (folder / "masked.yaml").write_text(yaml.safe_dump(row))
    fit = ["fit", "-c", str(folder / "masked.yaml"), "--output", str(folder / "run"), "--trainer.max_steps", "8"]
    assert command([*fit, "--trainer.val_check_interval", "4", "--trainer.limit_val_batches", "1"]) == 0
    return folder


def test_it_trains_and_is_seen_to(made):
    classes = json.loads((made / "cache" / "cache.json").read_text())["num_classes"]
    generator, tokenizer, record = load_generator(made / "run" / "last.ckpt")
    assert generator.num_classes == classes < 1000  # those of the cache
    assert record["stages"]["generator"]["steps"] == 8
    assert record["tokenizer"]["class_path"] == class_path_of(tokenizer)
    assert len(list((made / "run" / "pictures").glob("*.png"))) == 4
    assert len(list((made / "run" / "snapshots").glob("*.ckpt"))) == 2
    assert "validation/loss" in (made / "run" / "metrics.csv").read_text()


def test_it_samples_by_its_own_options(made, run_cli, tmp_path, capsys):
    sample = ["generate", str(made / "run" / "last.ckpt"), "-n", "5", "--classes", "0-2"]
    assert run_cli([*sample, "--steps", "3", "--temperature", "2", "-o", str(tmp_path / "new.npz")]) == 0
    with np.load(tmp_path / "new.npz") as archive:
        assert archive["arr_0"].shape == (5, 32, 32, 3) and archive["arr_1"].tolist() == [0, 1, 2, 0, 1]
    manifest = json.loads((tmp_path / "new.json").read_text())
    assert manifest["sampling"] == {"steps": 3, "temperature": 2.0, "seed": 0}
    assert manifest["network_calls"] == {"generator": 3}
    capsys.readouterr()
    assert run_cli([*sample, "--guidance", "2", "-o", str(tmp_path / "other")]) == 2
    expected = "gpstoken: --guidance: MaskedGenerator has no such option, only --steps, --temperature"
    assert capsys.readouterr().err.splitlines()[-1] == expected


def test_it_is_profiled_and_its_cost_measured(made, run_cli, tmp_path):
    head = ["--row", "masked", "--scale", "tiny"]
    profile = ["profile", str(made / "masked.yaml"), *head, "-o", str(tmp_path / "profiled" / "masked.json")]
    assert run_cli([*profile, "--batch-size", "1", "--repeats", "1"]) == 0
    profiled = json.loads((tmp_path / "profiled" / "masked.json").read_text())
    # 65 words of width w: in the block 12 w² and attention 2 · 65 w; in the head w² and w for each of 1,008 words
    w, words = 16, 65
    expected = words * (12 * w * w + 2 * words * w + w * w + w * 1008)
    assert profiled["counts"]["network"]["gmacs"] == pytest.approx(expected / 1e9, abs=5e-7)
    cost = ["cost", str(made / "run"), *head, "-o", str(tmp_path / "masked.json")]
    work = forked_command([*cost, "--iterations", "2", "--groups", "1"], REPOSITORY, tmp_path)
    assert forked(work, tmp_path / "log") == 0, (tmp_path / "log").read_text()
    measured = json.loads((tmp_path / "masked.json").read_text())
    assert measured["inference"]["network_calls"] == {"generator": 12}  # as published
    assert measured["inference"]["guidance"] is None and measured["inference"]["steps"] == 12


def test_codes_of_another_codebook_are_refused(made, run_cli, capsys):
    fit = ["fit", "-c", str(made / "masked.yaml"), "--trainer.callbacks", "[]"]
    assert run_cli([*fit, "--model.init_args.generator.init_args.codebook_size", "9"]) == 2
    said = "generator: makes [8, 8] codes of a codebook of 9, but the cache has [8, 8] tokens, 7 codes"
    assert capsys.readouterr().err.splitlines()[-1] == f"gpstoken: {said}"
