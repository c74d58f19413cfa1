"""A fit that is cut off anywhere and restarted sees exactly the batches, pixels and losses of the unbroken one."""

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint

from datamodules.base import ImageDataModule, Photos
from datamodules.crops import random_square

pytestmark = [
    # Lightning 2.6 against torch 2.14.
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
    # Lightning's advice on speed, for data of 20 noise images.
    pytest.mark.filterwarnings("ignore:The '[a-z]+_dataloader' does not have many workers"),
    # Resumed runs here do not go on saving.
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    # Several fits write checkpoints of different runs into one folder on purpose.
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]
BATCHES = 5  # an epoch: 21 samples in batches of 4, the last one dropped


class Noise(ImageDataModule):
    training_view = staticmethod(random_square)

    def photos(self, split: str) -> Photos:
        pictures = list(np.random.default_rng(0).integers(0, 256, (7, 12, 16, 3), dtype=np.uint8))
        return Photos([f"photo {i}" for i in range(7)], [0] * 7, pictures)


class Recorder(LightningModule):
    """One weight that learns from every pixel, by two optimizer steps a batch as a GAN does, or by one."""

    def __init__(self, manual: bool = False, fail_at: int = -1) -> None:
        super().__init__()
        self.automatic_optimization = not manual
        self.fail_at = fail_at
        self.weight = torch.nn.Parameter(torch.zeros(3, 8, 8))
        self.seen: list[tuple] = []

    def training_step(self, batch, batch_idx):
        if len(self.seen) == self.fail_at:
            raise RuntimeError("cut off")
        loss = (batch["image"] - self.weight).square().mean()
        self.seen.append(
            (self.current_epoch, tuple(batch["index"].tolist()), batch["image"].numpy().tobytes(), loss.item())
        )
        if self.automatic_optimization:
            return loss
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward((batch["image"] - self.weight).square().mean())
            optimizer.step()
        return None

    def validation_step(self, batch, batch_idx):
        assert batch["index"].tolist() == list(range(4 * batch_idx, min(4 * batch_idx + 4, 7)))

    def configure_optimizers(self):
        optimizer = torch.optim.Adam([self.weight], lr=0.1)
        return optimizer if self.automatic_optimization else [optimizer, torch.optim.SGD([self.weight], lr=0.1)]


def fit(folder, callbacks, ckpt_path=None, manual=False, fail_at=-1, seed=0, num_workers=0, **options):
    model = Recorder(manual, fail_at)
    data = Noise(
        image_size=8, batch_size=4, seed=seed, epoch_length=21, num_workers=num_workers, prepared=f"{folder}/prepared"
    )
    options = {"max_epochs": 3, **options}
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=callbacks,
        **options,
    )
    # Checkpoints of the test itself: its own plain tensors and counters.
    trainer.fit(model, data, ckpt_path=ckpt_path, weights_only=True)
    return model.seen


def every_batch(folder):
    return ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, range(1, 16)),
        ({"limit_val_batches": 0}, (1, 4, 5, 6, 10)),
        ({"val_check_interval": 2}, (1, 2, 3, 4, 5)),
        ({"max_epochs": -1, "max_steps": 15}, (1, 4, 5, 6, 14)),
        ({"limit_train_batches": 3}, (2, 3, 4)),
    ],
)
def test_cut_off_after_any_batch(tmp_path, options, steps):
    unbroken = fit(tmp_path, [every_batch(tmp_path)], **options)
    assert len(unbroken) == min(options.get("limit_train_batches", BATCHES), BATCHES) * 3
    for step in steps:
        resumed = fit(tmp_path, [], tmp_path / f"step={step}.ckpt", enable_checkpointing=False, **options)
        assert resumed == unbroken[step:], f"resumed after step {step}"


@pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization and every_n_train_steps")
def test_two_optimizer_steps_a_batch(tmp_path):
    # global_step counts optimizer steps, so that batch k is step 2 k.
    unbroken = fit(tmp_path, [every_batch(tmp_path)], manual=True)
    for batches in (1, 4, 5, 7):
        path = tmp_path / f"step={2 * batches}.ckpt"
        assert fit(tmp_path, [], path, manual=True, enable_checkpointing=False) == unbroken[batches:]


def test_saved_at_the_end_of_an_epoch(tmp_path):
    for limit_val_batches in (0, 1.0):
        saved = tmp_path / str(limit_val_batches)
        saver = ModelCheckpoint(
            saved, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=limit_val_batches == 0
        )
        unbroken = fit(tmp_path, [saver], limit_val_batches=limit_val_batches)
        for epoch in (0, 1):
            path = saved / f"epoch={epoch}.ckpt"
            options = {"limit_val_batches": limit_val_batches, "enable_checkpointing": False}
            assert fit(tmp_path, [], path, **options) == unbroken[(epoch + 1) * BATCHES :]


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_resumed_twice_within_one_epoch(tmp_path):
    unbroken = fit(tmp_path / "a", [every_batch(tmp_path / "a")])
    fit(tmp_path / "b", [every_batch(tmp_path / "b")], tmp_path / "a" / "step=6.ckpt")
    assert fit(tmp_path, [], tmp_path / "b" / "step=8.ckpt", enable_checkpointing=False) == unbroken[8:]


# Lightning looks for an earlier on_exception.ckpt, finds none, and says that it starts without one.
@pytest.mark.filterwarnings("ignore:`.fit.ckpt_path=None.` was called without", 'ignore:.fit.ckpt_path="last". is set')
def test_a_batch_that_failed_is_seen_again(tmp_path):
    unbroken = fit(tmp_path, [], enable_checkpointing=False)
    with pytest.raises(RuntimeError, match="cut off"):
        fit(tmp_path, [OnExceptionCheckpoint(tmp_path)], fail_at=7)
    resumed = fit(tmp_path, [], tmp_path / "on_exception.ckpt", enable_checkpointing=False)
    assert resumed == unbroken[7:]


def test_worker_processes_change_nothing(tmp_path):
    unbroken = fit(tmp_path, [every_batch(tmp_path)], limit_val_batches=0)
    options = {"limit_val_batches": 0, "enable_checkpointing": False, "num_workers": 2, "max_epochs": 2}
    for step in (5, 7):
        assert fit(tmp_path, [], tmp_path / f"step={step}.ckpt", **options) == unbroken[step:10]


def test_another_order_cannot_be_resumed(tmp_path):
    fit(tmp_path, [every_batch(tmp_path)], max_epochs=1)
    with pytest.raises(ValueError, match="made with seed 0, this run has 1"):
        fit(tmp_path, [], tmp_path / "step=2.ckpt", seed=1, enable_checkpointing=False)


@pytest.mark.filterwarnings("ignore:You requested to overfit but enabled train dataloader shuffling")
def test_one_batch_for_ever(tmp_path):
    # Lightning replaces the sampler by a sequential one.
    seen = fit(tmp_path, [], overfit_batches=1, enable_checkpointing=False)
    assert [indices for _, indices, _, _ in seen] == [(0, 1, 2, 3)] * 3
    assert len({pixels for _, _, pixels, _ in seen}) == 1
