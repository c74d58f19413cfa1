"""Every layout of every data set trains and is tested through the command line, from the YAML that users name."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("layouts", REPOSITORY / "tests/datamodules/layouts.py")
layouts = importlib.util.module_from_spec(_spec)
sys.modules["layouts"] = layouts
_spec.loader.exec_module(layouts)


def options(layout, root, prepared) -> list[str]:
    """The YAML of the data set, its place and sizes, on the command line."""
    settings = {"root": root / layout.root, "image_size": 32, "batch_size": 2, "prepared": prepared, **layout.options}
    arguments = (part for name, value in settings.items() for part in (f"--data.init_args.{name}", str(value).lower()))
    return ["--data", f"experiments/_data/{layout.data}.yaml", *arguments]


@pytest.mark.parametrize("layout", layouts.LAYOUTS.values(), ids=layouts.LAYOUTS.keys())
def test_fit_and_test(tmp_path, tiny_arguments, run_cli, monkeypatch, capsys, layout):
    monkeypatch.setenv("GPSTOKEN_CACHE", str(tmp_path / "cache"))
    root, prepared, run = tmp_path / "data", tmp_path / "prepared", tmp_path / "run"
    layout.write(root)
    # The checkpoint alone: pictures, averages and progress bars know nothing of data sets, and take their time.
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = {"max_steps": 2, "callbacks": [{"class_path": "gpstoken.training.LastCheckpoint"}], **quiet}
    changes = {"model": {"init_args": {"evaluation_networks": None}}, "trainer": trainer}
    data = options(layout, root, prepared)
    assert run_cli([*tiny_arguments(**changes), *data, "--output", str(run)]) == 0, capsys.readouterr().err
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2
    assert run_cli(["test", "-c", str(run / "config.yaml"), "--ckpt_path", str(run / "last.ckpt")]) == 0
    assert "test/psnr" in capsys.readouterr().out
    (tested,) = prepared.glob("*-test-adm32-*")
    assert len(list(tested.glob("*.png"))) == layout.sizes["test"]


def test_absent_data_is_one_line(tmp_path, tiny_arguments, run_cli, capsys):
    arguments = options(layouts.LAYOUTS["coco"], tmp_path / "absent", tmp_path / "prepared")
    assert run_cli([*tiny_arguments(), *arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gpstoken: ")]
    assert lines == [
        f"gpstoken: COCO: found nothing, no picture in train2017 at {tmp_path / 'absent'}; unpack val2017.zip (1 GB), "
        f"and train2017.zip (18 GB) to train, from cocodataset.org to {tmp_path / 'absent'}"
    ]
