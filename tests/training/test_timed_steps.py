"""The number of steps of a training that has a time instead."""

import math
from types import SimpleNamespace

import pytest
from lightning.pytorch.callbacks import Callback

from gpstoken.training import TimedSteps, timed_steps


class Clock(Callback):
    """Each step takes as long as `seconds(step)` says; keeps the learning rate of each step."""

    def __init__(self, monkeypatch, seconds):
        self.now, self.seconds, self.rates = 1000.0, seconds, []
        monkeypatch.setattr(timed_steps, "time", SimpleNamespace(monotonic=lambda: self.now))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.now += self.seconds(trainer.global_step)
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.parametrize("guess", [7, 1000])
def test_ends_in_time_with_the_cosine_at_its_end(guess, make_module, noise, fit, monkeypatch):
    # The first three steps take 10 s each and do not count; 30 s are left for steps of 2 s: three and fifteen.
    clock = Clock(monkeypatch, lambda step: 10.0 if step <= 3 else 2.0)
    module = make_module(schedule="cosine", learning_rate=1.0e-3)
    trainer = fit(module, noise(), [clock, TimedSteps(60.0, every=3)], max_steps=guess)
    assert trainer.global_step == 18 and clock.now == 1060.0
    # From the sixth step on the number of steps is known: the cosine over eighteen steps, without a jump at the end.
    expected = [1.0e-3 * (1 + math.cos(math.pi * step / 18)) / 2 for step in range(6, 18)]
    assert clock.rates[6:] == pytest.approx(expected, rel=1e-12)


def test_follows_a_rate_that_changes(make_module, noise, fit, monkeypatch):
    # Ten steps of 1 s, then of 4 s: seven of them fit into the 30 s that are left, not the thirty of the first rate.
    clock = Clock(monkeypatch, lambda step: 1.0 if step <= 10 else 4.0)
    trainer = fit(make_module(), noise(), [clock, TimedSteps(40.0, every=2)], max_steps=1000)
    assert clock.now - 1040.0 <= 2 * 4.0  # by less than the steps between two estimates
    assert 10 + 30 // 4 <= trainer.global_step <= 10 + 30 // 4 + 2


def test_a_time_that_is_over_ends_the_training(make_module, noise, fit, monkeypatch):
    clock = Clock(monkeypatch, lambda step: 100.0)
    assert fit(make_module(), noise(), [clock, TimedSteps(1.0, every=2)], max_steps=1000).global_step == 4


@pytest.mark.parametrize(("seconds", "every"), [(0.0, 1), (math.inf, 1), (1.0, 0)])
def test_bad_arguments(seconds, every):
    with pytest.raises(ValueError, match=r"(seconds|every): expected .*, got "):
        TimedSteps(seconds, every)
