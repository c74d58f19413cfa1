"""Whose turn it is, and what gradient accumulation adds up."""

import pytest
import torch
from lightning.pytorch.callbacks import Callback


class Turns(Callback):
    """Which networks each step changed, and the count of autoencoder updates after it."""

    def __init__(self) -> None:
        self.turns = ""
        self.updates: list[int] = []

    def on_train_batch_start(self, trainer, pl_module, *_):
        self.before = [self.weights(network) for network in (pl_module.tokenizer, pl_module.discriminator)]

    def on_train_batch_end(self, trainer, pl_module, *_):
        networks = (pl_module.tokenizer, pl_module.discriminator)
        changed = [not torch.equal(self.weights(each), old) for each, old in zip(networks, self.before, strict=True)]
        self.turns += {(True, False): "A", (False, True): "D"}[tuple(changed)]
        self.updates.append(pl_module.autoencoder_updates)
        assert pl_module.autoencoder_stepped == (self.turns[-1] == "A")
        # Both networks start the next step without gradients.
        assert all(p.grad is None for p in pl_module.parameters())

    @staticmethod
    def weights(network: torch.nn.Module) -> torch.Tensor:
        return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


@pytest.mark.parametrize(
    ("start", "turns", "updates"),
    [
        (0, "ADADADAD", [1, 1, 2, 2, 3, 3, 4, 4]),
        (1, "ADADADAD", [1, 1, 2, 2, 3, 3, 4, 4]),
        (3, "AAADADAD", [1, 2, 3, 3, 4, 4, 5, 5]),
        (4, "AAAAADAD", [1, 2, 3, 4, 5, 5, 6, 6]),
        (8, "AAAAAAAA", [1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
def test_turns(make_module, noise, fit, start, turns, updates):
    recorder = Turns()
    fit(make_module(adversarial_start=start), noise(), [recorder], max_steps=8)
    assert recorder.turns == turns
    assert recorder.updates == updates


def test_without_a_discriminator(make_module, noise, fit):
    module = make_module()
    assert module.discriminator is None
    fit(module, noise(), max_steps=3)
    assert module.autoencoder_updates == 3


class Gradients(Callback):
    """The autoencoder's gradient at each optimizer step."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        parameters = pl_module.tokenizer.parameters()
        self.seen.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))


def test_two_batches_of_two_are_a_batch_of_four(make_module, noise, fit):
    accumulated, whole = Gradients(), Gradients()
    fit(make_module(accumulate=2), noise(epoch_length=8), [accumulated], max_steps=2)
    fit(make_module(), noise(epoch_length=8, batch_size=4), [whole], max_steps=2)
    assert len(accumulated.seen) == len(whole.seen) == 2
    error = (accumulated.seen[0] - whole.seen[0]).norm() / whole.seen[0].norm()
    # Rounding of float32 sums of some 10^4 terms; one of the two batches alone is off by a third and more.
    assert error < 1e-5
    # Adam divides gradients that are nothing but rounding by themselves, so that the second step agrees less.
    assert (accumulated.seen[1] - whole.seen[1]).norm() / whole.seen[1].norm() < 1e-2


def test_accumulation_that_straddles_epochs_is_refused(make_module, noise, fit):
    with pytest.raises(ValueError, match="accumulate: 2 does not divide the 5 batches of an epoch"):
        fit(make_module(accumulate=2), noise(), max_steps=2)
