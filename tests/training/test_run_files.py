"""What a run leaves, where, and what happens to what was there before."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image

from gpstoken import GPSToken
from gpstoken.commands.fit import RunCLI
from gpstoken.training import ReconstructionPictures
from gpstoken.training.files import read_metrics
from gpstoken.training.origins import read_origin


def test_a_run_and_the_next(tmp_path, tiny_arguments, run_cli, capsys):
    output = tmp_path / "runs" / "row"
    before = datetime.now(UTC)
    # The cadences of the laptop scale are 10 for metrics, 100 for checkpoints: 12 is no multiple of either.
    assert run_cli([*tiny_arguments(trainer={"max_steps": 12}), "--output", str(output)]) == 0
    names = {path.name for path in output.iterdir()}
    assert names == {"config.yaml", "last.ckpt", "metrics.csv", "origin.json", "pictures"}
    assert not list((tmp_path / "scratch").iterdir())
    started, finished = (datetime.fromisoformat(read_origin(output)[name]) for name in ("started", "finished"))
    # Twelve steps take longer than the millisecond that times are rounded down to.
    assert before - timedelta(milliseconds=1) <= started < finished <= datetime.now(UTC)

    rows = read_metrics(output / "metrics.csv")
    steps = {name: [step for step, other, _ in rows if other == name] for name in {row[1] for row in rows}}
    assert steps["train/loss"] == steps["discriminator/loss"] == [10]
    assert steps["validation/psnr"] == steps["validation/ssim"] == [5, 10]
    # A tenth of the training each: 12 / 10, 24 / 10, ... rounded up.
    pictures = sorted((output / "pictures").iterdir())
    assert [path.name for path in pictures] == [f"step_{step:07d}.png" for step in (2, 3, 4, 5, 6, 8, 9, 10, 11, 12)]
    with Image.open(pictures[-1]) as picture:
        width, height = picture.size
        assert width > 4 * 250  # four columns of 32 px images shown 8 times as large
        assert height > 250

    checkpoint = torch.load(output / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 12
    tokenizer = GPSToken.from_checkpoint(output / "last.ckpt")
    averaged = checkpoint["state_dict"]
    assert all(torch.equal(value, averaged[f"tokenizer.{name}"]) for name, value in tokenizer.state_dict().items())

    # What is not of a run is never replaced, and that is said before anything is trained.
    (output / "notes.txt").write_text("precious")
    assert run_cli([*tiny_arguments(trainer={"max_steps": 1}), "--output", str(output)]) == 2
    assert f"{output}: holds config.yaml, last.ckpt, metrics.csv, notes.txt" in capsys.readouterr().err
    assert torch.load(output / "last.ckpt", weights_only=True)["global_step"] == 12
    assert not list((tmp_path / "scratch").iterdir())
    (output / "notes.txt").unlink()

    # Another run with the same --output replaces it whole.
    assert run_cli([*tiny_arguments(trainer={"max_steps": 1}), "--output", str(output)]) == 0
    assert {path.name for path in output.iterdir()} == names
    assert torch.load(output / "last.ckpt", weights_only=True)["global_step"] == 1
    assert [path.name for path in output.parent.iterdir()] == ["row"]


def test_an_interrupted_run_stays_in_scratch(tmp_path):
    scratch, output = tmp_path / "scratch", tmp_path / "row"
    scratch.mkdir()
    trainer = SimpleNamespace(is_global_zero=True, interrupted=True)
    RunCLI.after_fit(SimpleNamespace(output=str(output), scratch=scratch, trainer=trainer))
    assert scratch.exists()
    assert not output.exists()


@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")  # Lightning's, of no validation
def test_no_held_out_image_no_picture(tmp_path, make_module, noise, fit):
    batches: list[int] = []

    class Batches(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            batches.append(batch_idx)

    fit(make_module(), noise(validation=0), [ReconstructionPictures(), Batches()], max_steps=7)
    # A StopIteration of an empty loader would have ended every epoch of 5 batches early.
    assert batches == [0, 1, 2, 3, 4, 0, 1]
    assert not (tmp_path / "run" / "pictures").exists()


def test_each_tenth_once_when_gradients_accumulate(tmp_path, make_module, noise, fit):
    module = make_module(accumulate=2)
    fit(module, noise(epoch_length=8), [ReconstructionPictures(images=1, times=2)], max_steps=4)
    names = sorted(path.name for path in (tmp_path / "run" / "pictures").iterdir())
    assert names == ["step_0000002.png", "step_0000004.png"]
