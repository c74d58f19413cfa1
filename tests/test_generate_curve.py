import json
import shutil

import numpy as np
import pytest
import torch

from gpstoken import cli


@pytest.fixture
def runs(narrow_generator, tmp_path):
    """A texture and a layout run of two snapshots each, of other weights at each."""
    for stage in ("texture", "layout", "one_stage"):
        folder = tmp_path / stage / "snapshots"
        folder.mkdir(parents=True)
        checkpoint = torch.load(narrow_generator[stage], weights_only=True)
        for step in (5, 10):
            weights = {name: tensor + step / 100 for name, tensor in checkpoint["state_dict"].items()}
            torch.save(checkpoint | {"state_dict": weights, "global_step": step}, folder / f"step_{step:07d}.ckpt")
    return tmp_path


def command(runs, stage="texture", *more):
    layout = ["--layout", str(runs / "layout")] if stage == "texture" else []
    return ["generate-curve", str(runs / stage), *layout, "-o", str(runs / "out"), "-n", "5", "--steps", "3", *more]


def test_every_snapshot_is_sampled_with_the_layouts_of_the_same_share_of_training(runs):
    assert cli.main(command(runs)) == 0
    steps = {}
    for step in (5, 10):
        manifest = json.loads((runs / "out" / f"step_{step:07d}.json").read_text())
        steps[step] = {name: stage["steps"] for name, stage in manifest["generator"]["stages"].items()}
    assert steps == {5: {"layout": 5, "texture": 5}, 10: {"layout": 10, "texture": 10}}
    pixels = [np.load(runs / "out" / f"step_{step:07d}.npz")["arr_0"] for step in (5, 10)]
    assert not np.array_equal(*pixels)


def test_the_last_one_alone_is_that_of_the_whole_curve(runs):
    assert cli.main(command(runs, "one_stage")) == 0
    whole = (runs / "out" / "step_0000010.npz").read_bytes()
    shutil.rmtree(runs / "out")
    assert cli.main(command(runs, "one_stage", "--last")) == 0
    assert [path.name for path in sorted((runs / "out").glob("*.npz"))] == ["step_0000010.npz"]
    assert (runs / "out" / "step_0000010.npz").read_bytes() == whole


def test_runs_that_do_not_fit_are_refused(runs, capsys):
    (runs / "layout" / "snapshots" / "step_0000005.ckpt").unlink()
    assert cli.main(command(runs)) == 2
    assert "layout: 1 snapshots, but" in capsys.readouterr().err
    shutil.rmtree(runs / "texture" / "snapshots")
    assert cli.main(command(runs)) == 2
    assert "texture: no snapshots/step_*.ckpt" in capsys.readouterr().err
    assert not list(runs.glob("out/*.npz"))
