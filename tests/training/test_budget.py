"""The number of steps of a training that has a number of multiply-adds instead."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from gpstoken.baselines.linear import LinearPatches
from gpstoken.files.checkpoints import read_plain
from gpstoken.profiling.counting import product_counter
from gpstoken.training import AveragedWeights, Budget, LastCheckpoint, PrincipalComponents, TokenizerModule, budget
from tests.training.conftest import MODULE

PATCH, CHANNELS, SIDE, BATCH = 8, 6, 32, 2
# A patch of 3 x 8 x 8 numbers becomes 6 and is made from 6, once in the forward pass. Going back, each map has a
# product for the gradient of its weights, and the second one for that of its input; the image needs none. Five in all.
STEP = 5 * BATCH * (SIDE // PATCH) ** 2 * CHANNELS * 3 * PATCH**2


@pytest.fixture
def linear():
    def make(**options) -> TokenizerModule:
        torch.manual_seed(0)
        return TokenizerModule(LinearPatches(PATCH, CHANNELS), **MODULE | options)

    return make


@pytest.mark.parametrize(("share", "steps"), [(9.4, 9), (9.6, 10), (1.0, 3)])
def test_steps_spend_the_multiply_adds(share, steps, linear, noise, fit):
    trainer = fit(linear(), noise(), [Budget(share * STEP, counted=3), LastCheckpoint(5)], max_steps=100)
    assert trainer.global_step == steps  # at least those that were counted
    training = read_plain(f"{trainer.default_root_dir}/last.ckpt")["training"]
    assert training == {"batch_size": BATCH, "multiply_adds": steps * STEP}


class Changing(LinearPatches):
    """Its n-th training step encodes `times(n)` times, so that it costs 2 times(n) + 3 products of the map."""

    def __init__(self, times) -> None:
        super().__init__(PATCH, CHANNELS)
        self.times, self.steps = times, 0

    def encode(self, image):
        self.steps += self.training
        return sum(super(Changing, self).encode(image) for _ in range(self.times(self.steps) if self.training else 1))


@pytest.mark.parametrize(
    ("times", "products", "steps", "spent"),
    [
        (lambda step: 1, 200, 40, 200),
        (lambda step: 4 if step == 1 else 1, 206, 40, 206),  # a first step that looks for the codes of a book
        (lambda step: 1 + step % 2, 240, 40, 240),  # numbers of tokens that are drawn: the mean
        (lambda step: 1 + step if step <= 6 else 1, 40, 11, 97),  # never fewer steps than are counted
    ],
)
def test_steps_that_differ_are_counted_until_they_are_alike(times, products, steps, spent, noise, fit):
    torch.manual_seed(0)
    module, product = TokenizerModule(Changing(times), **MODULE), STEP // 5
    trainer = fit(module, noise(), [Budget(products * product), LastCheckpoint(5)], max_steps=100)
    training = read_plain(f"{trainer.default_root_dir}/last.ckpt")["training"]
    assert trainer.global_step == steps and training["multiply_adds"] == spent * product


@pytest.mark.parametrize(("times", "counted"), [(lambda step: 1, 5), (lambda step: 1 + step % 2, 32)])
def test_only_first_steps_are_counted(times, counted, noise, fit, monkeypatch):
    entered = []
    monkeypatch.setattr(budget, "product_counter", lambda: entered.append(1) or product_counter())
    fit(TokenizerModule(Changing(times), **MODULE, multiply_adds=40.0 * STEP), noise(), max_steps=35)
    assert len(entered) == counted


def test_the_training_of_a_teacher_counts(linear, noise, fit):
    first = fit(linear(), noise(), [Budget(4 * STEP, counted=3), LastCheckpoint(5)], "teacher", max_steps=100)
    module = linear()
    module.tokenizer.teacher = f"{first.default_root_dir}/last.ckpt"
    trainer = fit(module, noise(), [Budget(10 * STEP, counted=3), LastCheckpoint(5)], max_steps=100)
    assert (first.global_step, trainer.global_step) == (4, 6)
    assert read_plain(f"{trainer.default_root_dir}/last.ckpt")["training"]["multiply_adds"] == 10 * STEP


def test_the_limit_of_steps_stays(linear, noise, fit):
    trainer = fit(linear(), noise(), [Budget(50 * STEP, counted=3), LastCheckpoint(5)], max_steps=7)
    assert trainer.global_step == 7
    assert read_plain(f"{trainer.default_root_dir}/last.ckpt")["training"]["multiply_adds"] == 7 * STEP


def test_batches_of_one_step_count_together(linear, noise, fit):
    module = linear(accumulate=2)
    trainer = fit(module, noise(epoch_length=8), [Budget(10 * STEP, counted=2)], max_steps=100)
    assert trainer.global_step == 5


def test_a_training_that_goes_on_keeps_its_number_of_steps(linear, noise, fit):
    budget = Budget(8 * STEP, counted=3)
    first = fit(linear(), noise(), [budget, LastCheckpoint(5)], max_steps=5)
    again = fit(
        linear(), noise(), [Budget(8 * STEP, counted=3), LastCheckpoint(5)], "again",
        f"{first.default_root_dir}/last.ckpt", max_steps=100,
    )  # fmt: skip
    assert (first.global_step, again.global_step) == (5, 8)


@pytest.mark.parametrize("kernel", [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH])
def test_fused_attention_counts_on_the_cpu(kernel):
    # Two products of 8 x 8 tokens with 4 numbers in each of 2 x 3 heads; back, two for each of them, and the fused
    # kernel computes the scores a second time.
    queries, keys, values = (torch.randn(2, 3, 8, 4, requires_grad=True) for _ in range(3))
    with sdpa_kernel(kernel), product_counter() as counter:
        F.scaled_dot_product_attention(queries, keys, values).sum().backward()
    product = 2 * 3 * 8 * 8 * 4
    assert counter.get_total_flops() // 2 == product * (7 if kernel is SDPBackend.FLASH_ATTENTION else 6)


def test_principal_components_keep_their_steps(noise, fit):
    module = PrincipalComponents(LinearPatches(PATCH, CHANNELS), **MODULE, multiply_adds=1.0)
    callbacks = [AveragedWeights(every=1, copy_until=9), LastCheckpoint(5)]
    trainer = fit(module, noise(), callbacks, max_steps=6)
    assert trainer.global_step == 6
    assert "multiply_adds" not in read_plain(f"{trainer.default_root_dir}/last.ckpt")["training"]


def test_two_kinds_of_steps_are_refused(make_module, noise, fit):
    with pytest.raises(ValueError, match=r"multiply_adds: counted are steps of one kind, but from step 8 on"):
        fit(make_module(adversarial_start=8, multiply_adds=1e9), noise(), max_steps=100)


@pytest.mark.parametrize(("multiply_adds", "counted"), [(0.0, 1), (math.inf, 1), (1.0, 0)])
def test_bad_arguments(multiply_adds, counted):
    with pytest.raises(ValueError, match=r"(multiply_adds|counted): expected .*, got "):
        Budget(multiply_adds, counted)
