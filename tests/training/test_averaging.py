"""The average of the weights follows the released schedule and counts the autoencoder's updates only."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Callback

from gpstoken.training import AveragedWeights, LastCheckpoint


class Counter(LightningModule):
    """One weight that equals the number of updates it has had."""

    autoencoder_stepped = True

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    @property
    def autoencoder_updates(self) -> int:
        return int(self.weight)


def averages(callback: AveragedWeights, updates: int) -> dict[int, float]:
    """The average after each of `updates` updates at which it changed."""
    module = Counter()
    callback.setup(SimpleNamespace(), module, "fit")
    found, last = {}, 0.0
    for step in range(1, updates + 1):
        module.weight.data.fill_(step)
        callback.on_train_batch_end(SimpleNamespace(global_step=step), module, None, None, step - 1)
        saved = {"state_dict": module.state_dict()}
        callback.on_save_checkpoint(SimpleNamespace(), module, saved)
        average = saved["state_dict"]["weight"].item()
        if average != last:
            found[step] = last = average
    return found


def test_released_schedule():
    # Every tenth update; a copy up to 100, then decay 1 - (1 + e)^(-2/3), e = 10, 20, 30:
    # 1 - 11^(-2/3) = 0.7978200, 1 - 21^(-2/3) = 0.8686227, 1 - 31^(-2/3) = 0.8986651.
    expected = {n: float(n) for n in range(10, 101, 10)}
    expected |= {110: 102.0218001, 120: 104.3837282, 130: 106.9795495}
    assert averages(AveragedWeights(), 135) == pytest.approx(expected, rel=1e-6)  # float32, three updates


def test_decay_stops_at_its_limit():
    # 0.8686227 at 120 and 0.8986651 at 130 become 0.85.
    expected = {n: float(n) for n in range(10, 101, 10)} | {110: 102.0218001, 120: 104.7185301, 130: 108.5107506}
    assert averages(AveragedWeights(decay=0.85), 130) == pytest.approx(expected, rel=1e-6)


def test_statistics_of_the_tokenizer_are_averaged_and_the_others_copied():
    module, callback = Counter(), AveragedWeights(decay=0.85)
    norms = {name: torch.nn.BatchNorm2d(1) for name in ("tokenizer", "discriminator")}
    for name, norm in norms.items():
        module.add_module(name, norm)
    callback.setup(SimpleNamespace(), module, "fit")
    for step in range(1, 131):
        for value in (module.weight.data, *module.buffers()):
            value.fill_(step)
        callback.on_train_batch_end(SimpleNamespace(global_step=step), module, None, None, step - 1)
    saved = {"state_dict": module.state_dict()}
    callback.on_save_checkpoint(SimpleNamespace(), module, saved)
    found = {name: value.item() for name, value in saved["state_dict"].items() if "running" in name or "num" in name}
    # As the weight of `test_decay_stops_at_its_limit`, which equals them at every step.
    assert found == {
        "tokenizer.running_mean": pytest.approx(108.5107506, rel=1e-6),
        "tokenizer.running_var": pytest.approx(108.5107506, rel=1e-6),
        "tokenizer.num_batches_tracked": 130,
        "discriminator.running_mean": 130,
        "discriminator.running_var": 130,
        "discriminator.num_batches_tracked": 130,
    }


class Recorder(Callback):
    """Copies of the tokenizer's weights after each of its updates."""

    def __init__(self) -> None:
        self.weights: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        if pl_module.autoencoder_stepped:
            self.weights.append({name: value.clone() for name, value in pl_module.tokenizer.state_dict().items()})


def test_discriminator_steps_do_not_count(tmp_path, make_module, noise, fit):
    recorder = Recorder()
    module = make_module(adversarial_start=3)
    # No buffer is averaged; the only ones belong to the discriminator's batch norm.
    assert {name.split(".")[0] for name, _ in module.named_buffers()} == {"discriminator"}
    callbacks = [AveragedWeights(decay=0.7, every=2, copy_until=2), recorder, LastCheckpoint()]
    fit(module, noise(), callbacks, max_steps=12)
    # 12 steps of which 3, 5, 7, 9 and 11 are the discriminator's: 7 updates. At the second a copy; then e = 2, 4:
    # 1 - 3^(-2/3) = 0.519250 and 1 - 5^(-2/3) = 0.658005.
    assert len(recorder.weights) == 7
    checkpoint = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    for name in recorder.weights[0]:
        second, fourth, sixth = (recorder.weights[n - 1][name].double() for n in (2, 4, 6))
        expected = 0.658005 * (0.519250 * second + 0.480750 * fourth) + 0.341995 * sixth
        # The decays above have six digits, the weights are below 2.
        torch.testing.assert_close(checkpoint["state_dict"][f"tokenizer.{name}"].double(), expected, rtol=0, atol=4e-6)
        assert torch.equal(checkpoint["current_model_state"][f"tokenizer.{name}"], recorder.weights[-1][name])
    raw = checkpoint["current_model_state"]
    assert any(not torch.equal(value, raw[name]) for name, value in checkpoint["state_dict"].items())
