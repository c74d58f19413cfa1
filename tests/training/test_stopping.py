"""What stops a run, and what it says."""

import pytest
import torch
from lightning.pytorch.callbacks import Callback


def last_line(capsys) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("gpstoken: ") for line in lines) == 1
    return lines[-1]


class Spoil(Callback):
    """Makes a weight of a network NaN before a step."""

    def __init__(self, step: int, network: str) -> None:
        self.step, self.network = step, network
        self.indices: list[int] = []

    def on_train_batch_start(self, trainer, pl_module, batch, *_):
        if trainer.global_step == self.step:
            self.indices = batch["index"].tolist()
            with torch.no_grad():
                next(getattr(pl_module, self.network).parameters()).flatten()[0] = torch.nan


@pytest.mark.parametrize(("step", "network"), [(0, "tokenizer"), (2, "tokenizer"), (3, "discriminator")])
def test_nan_weight(make_module, noise, fit, step, network):
    spoil = Spoil(step, network)
    with pytest.raises(FloatingPointError) as stopped:
        fit(make_module(adversarial_start=1), noise(), [spoil], max_steps=5)
    assert f"loss is nan at step {step}; batch indices {spoil.indices}; terms " in str(stopped.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_image_that_is_not_finite(make_module, noise, fit, value):
    seen: list[list[int]] = []

    class Spoilt(noise):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            if self.trainer.training:
                seen.append(batch["index"].tolist())
                batch["image"][batch["index"] == 3, 0, 5, 7] = value
            return batch

    with pytest.raises(FloatingPointError) as stopped:
        fit(make_module(), Spoilt(), max_steps=5)
    assert 3 in seen[-1]
    assert f"at step {len(seen) - 1}; batch indices {seen[-1]}" in str(stopped.value)


def test_missing_perceptual_network(tiny_arguments, run_cli, capsys):
    options = {"perceptual_weight": 1.0, "perceptual_weights": "data/networks/absent.safetensors"}
    assert run_cli(tiny_arguments(model={"init_args": options})) == 2
    line = last_line(capsys)
    assert "there is no data/networks/absent.safetensors" in line and "--model.init_args.perceptual_weight 0" in line
    assert "run `python -m datamodules.prepare -o data/embedded`" in line


def test_missing_data(tiny_arguments, run_cli, capsys):
    assert run_cli(tiny_arguments(data={"init_args": {"root": "data/absent"}})) == 2
    assert "run `python -m datamodules.prepare -o data/absent`" in last_line(capsys)


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        ({"tile_decoding": "foo"}, "tile_decoding: expected 'merged' or 'separate', got 'foo'"),
        ({"sigma_rule": "foo"}, "sigma_rule: expected 'released' or 'paper', got 'foo'"),
    ],
)
def test_value_that_no_tokenizer_takes(tiny_arguments, run_cli, capsys, tokenizer, message):
    assert run_cli(tiny_arguments(model={"init_args": {"tokenizer": {"init_args": tokenizer}}})) == 2
    assert message in last_line(capsys)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"model": {"init_args": {"tokenizer": {"init_args": {"lambada": 2.5}}}}}, "lambada"),
        ({"model": {"init_args": {"learning_rat": 1.0}}}, "learning_rat"),
        ({"trainer": {"max_step": 1}}, "max_step"),
        ({"data": {"init_args": {"image_sizes": 32}}}, "image_sizes"),
        ({"modle": {"learning_rate": 1.0}}, "modle"),
        ({"model": {"init_args": {"tokenizer": {"init_args": {"depth": "deep"}}}}}, "depth"),
    ],
)
def test_key_or_type_that_the_constructors_do_not_have(tiny_arguments, run_cli, capsys, changes, key):
    assert run_cli(tiny_arguments(**changes)) == 2
    assert key in capsys.readouterr().err
