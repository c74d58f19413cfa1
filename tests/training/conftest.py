"""Networks of a few thousand weights, noise to train them on, and the command line at that size."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Trainer

from datamodules import ImageDataModule
from datamodules.crops import random_square
from datamodules.samples import Photos
from gpstoken import GPSToken, cli
from gpstoken.commands.declared import configuration_files, file_options, find_row
from gpstoken.training import TokenizerModule
from tests.threads import torch_threads

REPOSITORY = Path(__file__).parents[2]
TOKENIZER = {
    "num_tokens": 8,
    "feature_channels": 4,
    "image_size": 32,
    "grid_size": 16,
    "width": 16,
    "depth": 1,
    "heads": 2,
    "roi_size": 2,
    "stem_channels": 4,
    "decoder_channels": 4,
    "decoder_multipliers": [1, 2],
    "decoder_blocks": 1,
    "norm_groups": 2,
    "min_region_size": 4,
}
MODULE = {"learning_rate": 1e-3, "perceptual_weight": 0.0, "adversarial_start": None}
DISCRIMINATOR = {"discriminator_channels": 4, "discriminator_levels": 1}
STAGES = {
    "layout": {"channels": 5, "shape": [8]},
    "texture": {"channels": 9, "shape": [8], "layout_channels": 5},
    "one_stage": {"channels": 9, "shape": [8]},
    "grid": {"channels": 4, "shape": [4, 4], "patch_size": 2},
}
CACHED = {"image_size": 32, "epoch_length": 20, "batch_size": 8, "working_size": 48, "views": "centre"}
WARNINGS = (
    # Lightning 2.6 against torch 2.14.
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning",
    # LightningCLI 2.6 against jsonargparse 4.53.
    "ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning",
    # Lightning's advice on speed, for data of a few noise images.
    "ignore:The '[a-z]+_dataloader' does not have many workers",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for warning in WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    # Bitwise equality needs equal thread counts, and nets this small gain nothing from a second one. It holds for a
    # whole module, so that what its fixtures compute is computed as its tests compute it.
    with torch_threads(1):
        yield


@pytest.fixture
def repository() -> Path:
    """Where experiments/ and data/ lie."""
    return REPOSITORY


class Noise(ImageDataModule):
    """Six noise photographs to train on, `validation` others to validate on."""

    training_view = staticmethod(random_square)

    def __init__(self, validation: int = 2, **options) -> None:
        super().__init__(**{"image_size": 32, "batch_size": 2, "epoch_length": 10, **options})
        self.validation = validation

    def photos(self, split: str) -> Photos:
        count = 6 if split == "train" else self.validation
        generator = np.random.default_rng({"train": 0, "val": 1, "test": 2}[split])
        pictures = list(generator.integers(0, 256, (count, 48, 40, 3), dtype=np.uint8))
        return Photos([f"{split} {i}" for i in range(count)], [0] * count, pictures)


@pytest.fixture
def noise():
    """The data module: five batches of two images an epoch."""
    return Noise


@pytest.fixture
def make_module():
    """TokenizerModule of a tiny tokenizer with seeded weights; `tokenizer` holds overrides of its arguments."""

    def make(tokenizer: dict | None = None, **options) -> TokenizerModule:
        torch.manual_seed(0)
        return TokenizerModule(GPSToken(**TOKENIZER | (tokenizer or {})), **MODULE | DISCRIMINATOR | options)

    return make


@pytest.fixture
def fit(tmp_path):
    """Trains a module on the CPU and returns the trainer; the run's folder is tmp_path / `name`."""

    def train(module, data, callbacks=(), name="run", ckpt_path=None, **options) -> Trainer:
        trainer = Trainer(
            default_root_dir=tmp_path / name,
            callbacks=list(callbacks),
            **{
                "accelerator": "cpu",
                "logger": False,
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "enable_checkpointing": any(type(each).__name__ == "LastCheckpoint" for each in callbacks),
                "max_epochs": -1,
                "num_sanity_val_steps": 0,
                "check_val_every_n_epoch": None,
                "val_check_interval": 4,
                **options,
            },
        )
        trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
        return trainer

    return train


def arguments_of_a_tiny_fit(folder: Path, **changes) -> list[str]:
    """Arguments of `gpstoken fit`: gpstoken_m128 at laptop scale cut down to seconds, `changes` laid over it."""
    tiny = {
        "model": {
            "init_args": {
                "tokenizer": {"init_args": TOKENIZER},
                "perceptual_weight": 0.0,
                "adversarial_start": 8,
                "multiply_adds": None,
                # Not VGG, whose 138 M weights torchvision draws at random before ours are read.
                "evaluation_networks": {"alexnet": "data/networks/lpips_alexnet.safetensors"},
                **DISCRIMINATOR,
            }
        },
        "data": {
            "init_args": {
                "domain": "faces",  # the quickest to decode
                "image_size": 32,
                "batch_size": 2,
                "epoch_length": 10,
                "working_size": 48,
            }
        },
        "trainer": {"max_steps": 12, "val_check_interval": 5, "limit_val_batches": 1},
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(_merge(tiny, changes)))
    return ["fit", *file_options([*configuration_files(find_row("gpstoken_m128", ["tokenizers"]), "laptop"), path])]


@pytest.fixture
def tiny_arguments(tmp_path):
    """`arguments_of_a_tiny_fit`."""
    return partial(arguments_of_a_tiny_fit, tmp_path)


def _merge(first: dict, second: dict) -> dict:
    both = first.keys() & second.keys()
    nested = {
        key: _merge(first[key], second[key])
        for key in both
        if isinstance(first[key], dict) and isinstance(second[key], dict)
    }
    return {**first, **second, **nested}


def run_command(arguments: list[str]) -> int:
    """`gpstoken` in this process, in the repository, with a scratch folder of its own: the exit code."""
    with TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)
        patch.setattr("gpstoken.commands.fit.SCRATCH", Path(scratch))
        patch.setattr("sys.argv", ["gpstoken"])  # else LightningCLI warns of pytest's own arguments
        return exit_code(arguments)


def exit_code(arguments: list[str]) -> int:
    try:
        return cli.main(arguments)
    except SystemExit as stop:  # the parser's
        return stop.code


@pytest.fixture(scope="session")
def command():
    """`run_command`, for fixtures that outlive a test."""
    return run_command


@pytest.fixture
def run_cli(tmp_path, monkeypatch):
    """`gpstoken` in this process, in the repository, with its scratch folder in tmp_path: the exit code."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr("gpstoken.commands.fit.SCRATCH", tmp_path / "scratch")
    monkeypatch.setattr("sys.argv", ["gpstoken"])
    return exit_code


@pytest.fixture(scope="session")
def tiny_runs(tmp_path_factory) -> list[Path]:
    """Two seeds of a tiny row, trained for two steps; not to be written to."""
    folder = tmp_path_factory.mktemp("tiny")
    arguments = arguments_of_a_tiny_fit(folder, trainer={"max_steps": 2, "val_check_interval": 3})
    runs = [folder / "runs" / "row" / f"seed{seed}" for seed in (0, 1)]
    for seed, run in enumerate(runs):
        assert run_command([*arguments, "--seed_everything", str(seed), "--output", str(run)]) == 0
    return runs


@pytest.fixture(scope="session")
def caches(tmp_path_factory, narrow_generator, command):
    """Caches of the two narrow tokenizers on the embedded photographs, by the name of the tokenizer."""
    folder = tmp_path_factory.mktemp("caches")
    options = ["--data", "experiments/_data/embedded_classes.yaml"]
    options += [part for name, value in CACHED.items() for part in (f"--data.init_args.{name}", str(value))]
    options += ["--data.init_args.prepared", str(folder / "prepared")]
    for name in ("tokenizer", "autoencoder"):
        arguments = ["cache", "--tokenizer", str(narrow_generator[name]), "-o", str(folder / name), *options]
        assert command(arguments) == 0
    return folder


@pytest.fixture
def stage_arguments(tmp_path, caches):
    """Of `gpstoken fit` for a stage: its row at laptop scale cut down to seconds."""

    def make(stage: str, cache: Path | None = None, **trainer) -> list[str]:
        network = STAGES[stage] | {"width": 16, "depth": 1, "heads": 2, "num_classes": 5}
        tiny = {
            "model": {"init_args": {"generator": {"init_args": {"network": {"init_args": network}}}}},
            "data": {
                "init_args": {
                    "root": str(cache or caches / ("autoencoder" if stage == "grid" else "tokenizer")),
                    "batch_size": 4,
                }
            },
            "trainer": {"max_steps": 12, "val_check_interval": 5, "limit_val_batches": 2} | trainer,
        }
        path = tmp_path / f"{stage}.yaml"
        path.write_text(yaml.safe_dump(tiny))
        return ["fit", *file_options([*configuration_files(find_row(stage, ["networks"]), "laptop"), path])]

    return make
