"""The parts of a recipe: the learning rate over time, drawn numbers of tokens, limited gradients, trained weights."""

import math
from collections import Counter

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR

from gpstoken import GPSToken
from gpstoken.commands.export import phases
from gpstoken.files.weights import read_origin_of
from gpstoken.training import LastCheckpoint
from gpstoken.training.recipe import drawn_count, rate_share


def test_the_warm_up_is_that_of_torch():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = LinearLR(optimizer, start_factor=1 / 8, total_iters=7)
    for step in range(12):
        assert rate_share("constant", 8, step, math.inf) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()


def test_the_cosine_is_that_of_torch():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = CosineAnnealingLR(optimizer, T_max=20)
    for step in range(21):
        assert rate_share("cosine", 0, step, 20) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        schedule.step()


def test_the_released_rate_is_constant():
    assert {rate_share("constant", 0, step, 100) for step in (0, 1, 50, 99)} == {1.0}


def test_a_cosine_needs_a_last_step():
    with pytest.raises(ValueError, match=r"schedule: cosine needs a number of steps; set --trainer\.max_steps"):
        rate_share("cosine", 0, 0, math.inf)


def test_counts_are_uniform_in_log_scale():
    counts = [drawn_count((64, 512), step) for step in range(3000)]
    assert min(counts) >= 64 and max(counts) <= 512
    octaves = Counter(int(math.log2(count / 64)) for count in counts if count < 512)
    # Each of three octaves has 1,000 of 3,000 draws; the standard deviation of a binomial is 26, and this is five.
    assert all(abs(octaves[octave] - 1000) < 130 for octave in range(3))


def test_counts_are_in_proportion_to_the_area():
    for step in range(50):
        whole = drawn_count((64, 512), step)
        assert abs(drawn_count((64, 512), step, 0.25) - whole / 4) <= 0.5 + 0.125


def test_counts_from_most_to_fewest_are_refused():
    with pytest.raises(ValueError, match="token_range: expected the fewest tokens, then the most, got 9 and 4"):
        drawn_count((9, 4), 0)


def test_training_encodes_with_the_drawn_number(make_module, noise, fit, monkeypatch):
    module, counts = make_module(token_range=(4, 16)), []
    encode = GPSToken.encode

    def counted(self, image, num_tokens=None, **options):
        if self.training:
            counts.append(num_tokens)
        return encode(self, image, num_tokens, **options)

    monkeypatch.setattr(GPSToken, "encode", counted)
    fit(module, noise(), max_steps=6)
    assert counts == [drawn_count((4, 16), step) for step in range(6)]
    assert len(set(counts)) > 2


def test_gradients_are_limited(make_module, noise, fit, monkeypatch):
    norms = []
    step = torch.optim.Adam.step

    def measured(self, *arguments, **options):
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(torch.linalg.vector_norm(torch.cat([gradient.flatten() for gradient in gradients])).item())
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.Adam, "step", measured)
    fit(make_module(), noise(), max_steps=3, name="free")
    fit(make_module(gradient_clip=1e-3), noise(), max_steps=3, name="limited")
    assert min(norms[:3]) > 2e-3
    # torch divides by the norm plus 1e-6.
    assert norms[3:] == pytest.approx([1e-3] * 3, rel=2e-3)


def test_training_starts_from_the_average_of_another(make_module, noise, fit, tmp_path):
    fit(make_module(), noise(), [LastCheckpoint(2)], max_steps=2, name="first")
    trained = GPSToken.from_checkpoint(tmp_path / "first" / "last.ckpt")
    module = make_module(weights=str(tmp_path / "first" / "last.ckpt"))
    fit(module, noise(), max_steps=1, limit_train_batches=1, name="second", val_check_interval=1)
    # One step of Adam moves a weight by at most its learning rate.
    moved = [
        (module.tokenizer.state_dict()[name] - tensor).abs().max().item()
        for name, tensor in trained.state_dict().items()
    ]
    assert 0 < max(moved) < 1.01e-3


def test_export_tells_every_phase_of_a_training(tiny_arguments, run_cli, tmp_path):
    first, second = tmp_path / "runs" / "first", tmp_path / "runs" / "second"
    assert run_cli([*tiny_arguments(trainer={"max_steps": 3}), "--output", str(first)]) == 0
    start = {"init_args": {"weights": str(first / "last.ckpt")}}
    assert run_cli([*tiny_arguments(trainer={"max_steps": 2}, model=start), "--output", str(second)]) == 0
    for run, names, steps in ((first, ["first"], [3]), (second, ["first", "second"], [3, 2])):
        output = tmp_path / f"{run.name}.safetensors"
        assert run_cli(["export", str(run / "last.ckpt"), "-o", str(output)]) == 0
        told = read_origin_of(output)["phases"]
        assert [phase["run"] for phase in told] == names and [phase["steps"] for phase in told] == steps
        assert all(
            {"batch_size", "image_size", "commit", "machine", "started", "finished"} <= phase.keys() for phase in told
        )
    # a further training that starts from the file has the phases that the file tells
    start = {"init_args": {"weights": str(tmp_path / "second.safetensors")}}
    third = tmp_path / "runs" / "third"
    assert run_cli([*tiny_arguments(trainer={"max_steps": 1}, model=start), "--output", str(third)]) == 0
    assert [phase["run"] for phase in phases(third)] == ["first", "second", "third"]


def test_weights_of_another_size_are_refused(make_module, noise, fit, tmp_path):
    fit(make_module(), noise(), [LastCheckpoint(1)], max_steps=1, name="first")
    module = make_module({"width": 8}, weights=str(tmp_path / "first" / "last.ckpt"))
    with pytest.raises(ValueError, match=r"last\.ckpt: tensor '.*' has shape .*, expected"):
        fit(module, noise(), max_steps=1, name="second")
