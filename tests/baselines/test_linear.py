"""Linear maps of patches, and their principal components as scikit-learn finds them."""

import pytest
import torch
import torch.nn.functional as F
from lightning import Trainer
from lightning.pytorch.callbacks import Callback
from sklearn.decomposition import PCA
from torch.utils.data import DataLoader

from gpstoken.baselines.linear import LinearPatches
from gpstoken.training import AveragedWeights, PrincipalComponents

pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The '[a-z]+_dataloader' does not have many workers"),
]
STEPS, PATCH, CHANNELS = 4, 4, 5


def images():
    """Smooth random images, whose patches have a few large variances and many small ones; the second half repeats."""
    noise = torch.randn(16, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    return F.avg_pool2d(noise, 3, 1, 1).clamp(-1, 1).repeat(2, 1, 1, 1)


def patches_of(image):
    """float64[patches, 3 PATCH²], cut out one by one."""
    rows, columns = image.shape[2] // PATCH, image.shape[3] // PATCH
    patches = [
        each[:, PATCH * row : PATCH * (row + 1), PATCH * column : PATCH * (column + 1)].flatten()
        for each in image
        for row in range(rows)
        for column in range(columns)
    ]
    return torch.stack(patches).double().numpy()


def trained(*callbacks, checkpoint=None):
    torch.manual_seed(0)
    module = PrincipalComponents(LinearPatches(PATCH, CHANNELS), perceptual_weight=0.0, adversarial_start=None)
    batches = [
        {"image": image, "label": torch.zeros(len(image)), "index": torch.arange(len(image))}
        for image in images().split(len(images()) // STEPS)
    ]
    trainer = Trainer(
        max_steps=STEPS, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=list(callbacks),
    )  # fmt: skip
    loaders = [DataLoader(part, batch_size=None) for part in (batches, batches[:1])]
    trainer.fit(module, *loaders, ckpt_path=checkpoint)
    return trainer, module.tokenizer


class SavedInTheMiddle(Callback):
    def __init__(self, path):
        self.path = path

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == STEPS // 2:
            trainer.save_checkpoint(self.path)


def test_components_are_those_of_scikit_learn():
    _, tokenizer = trained()
    patches = patches_of(images())
    oracle = PCA(CHANNELS, svd_solver="full").fit(patches)
    expected = oracle.inverse_transform(oracle.transform(patches))
    with torch.no_grad():
        found = patches_of(tokenizer(images()))
    # The projection does not depend on the components' signs. The weights are rounded to float32, and both maps sum up
    # 3 PATCH² and CHANNELS products of numbers that are at most 7, the length of a patch.
    assert abs(found - expected).max() < 7 * (3 * PATCH**2 + CHANNELS) * 2**-23


def test_averaged_weights_are_a_copy(tmp_path):
    trainer, tokenizer = trained(AveragedWeights(0.98, 1, 2))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    averaged = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    for name, weight in tokenizer.state_dict().items():
        assert torch.equal(averaged[f"tokenizer.{name}"], weight)


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_a_resumed_training_keeps_its_sums(tmp_path):
    _, whole = trained(SavedInTheMiddle(tmp_path / "middle.ckpt"))
    _, resumed = trained(checkpoint=tmp_path / "middle.ckpt")
    for name, weight in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], weight)


def test_wrong_sizes():
    tokenizer = LinearPatches(PATCH, CHANNELS)
    assert tokenizer.code((16, 24)) == (24, (4, 6), CHANNELS, None)
    with pytest.raises(ValueError, match="image: sides must be multiples of 4 pixels, got 16x22"):
        tokenizer.encode(torch.zeros(1, 3, 16, 22))
    with pytest.raises(
        ValueError, match="num_tokens: LinearPatches has one token for every 4x4 pixels, cannot make 7; leave it out"
    ):
        tokenizer.code((16, 24), 7)
    with pytest.raises(ValueError, match=r"tokens: expected float\[B, 5, h, w\], got \[1, 6, 4, 4\]"):
        tokenizer.decode(torch.zeros(1, 6, 4, 4))
    with pytest.raises(ValueError, match="channels: a patch of 4x4 pixels has only 48 numbers, got 49"):
        LinearPatches(PATCH, 49)
