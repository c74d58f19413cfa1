import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image

import datamodules
from datamodules import Folder, ImageDataModule
from datamodules.crops import adm_centre_crop, release_centre_crop, to_tensor
from datamodules.samples import Photos


class Numbers(ImageDataModule):
    """`count` grey pictures of every split, whose level is their number."""

    def __init__(self, count: int = 5, **options) -> None:
        super().__init__(**{"image_size": 2, "batch_size": 2, **options})
        self.count = count

    def photos(self, split: str) -> Photos:
        pictures = [np.full((2, 2, 3), i, dtype=np.uint8) for i in range(self.count)]
        return Photos([f"{split} {i}" for i in range(self.count)], [0] * self.count, pictures)


@pytest.fixture
def numbers(tmp_path):
    return lambda count=5, **options: Numbers(count, prepared=str(tmp_path / "prepared"), **options)


@pytest.fixture
def damaged(tmp_path):
    """A folder with eight photos to train on and to test on; of each, 2 and 3 are damaged."""
    for split in ("train", "test"):
        for i in range(8):
            path = tmp_path / "photos" / split / str(i) / f"{i}.png"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (9, 9), (i, i, i)).save(path)
            if i in (2, 3):
                path.write_bytes(path.read_bytes()[:50])
    options = {"image_size": 4, "batch_size": 2, "prepared": str(tmp_path / "prepared")}
    return lambda **changes: Folder(str(tmp_path / "photos"), **options | changes)


def indices(loader) -> list[int]:
    return [index for batch in loader for index in batch["index"].tolist()]


@pytest.mark.parametrize("devices", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 9])
def test_every_image_is_evaluated_on_exactly_one_device(numbers, count, devices):
    data = numbers(count)
    for loader in (data.val_dataloader, data.test_dataloader, data.predict_dataloader):
        shares = []
        for rank in range(devices):
            data.trainer = SimpleNamespace(world_size=devices, global_rank=rank)
            if count < devices:
                # On every device, or the others would wait for ever.
                with pytest.raises(ValueError, match=f"{count} images of .* for {devices} devices; use {count}"):
                    loader()
            else:
                shares.append(indices(loader()))
        if count >= devices:
            assert sorted(itertools.chain(*shares)) == list(range(count))
            assert all(share == sorted(share) and share for share in shares)


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("done", [(), (0,), (6, 2, 4), {3, 8}, range(7), range(9)])
def test_an_evaluation_goes_on_with_what_is_not_done(numbers, done, devices, monkeypatch):
    data = numbers(9)
    monkeypatch.setattr(type(data), "evaluation_group", 1)
    left = []
    for rank in range(devices):
        data.trainer = SimpleNamespace(world_size=devices, global_rank=rank)
        for batch in data.evaluation_loader("test", done):
            left += batch["index"].tolist()
            expected = torch.stack([to_tensor(np.full((2, 2, 3), i, dtype=np.uint8)) for i in batch["index"]])
            assert torch.equal(batch["image"], expected)
    assert sorted(left) == [i for i in range(9) if i not in done]
    assert devices > 1 or left == sorted(left)


def test_a_device_without_a_group_gets_that_of_another_for_company(numbers, monkeypatch):
    data = numbers(9)
    monkeypatch.setattr(type(data), "evaluation_group", 4)
    shares, company = [], []
    for rank in range(5):
        data.trainer = SimpleNamespace(world_size=5, global_rank=rank)
        shares.append(indices(data.evaluation_loader("test", range(4))))
        company.append(data.is_company("test", range(4)))
    # two groups are left, the second filled up by the last image
    assert shares == [[4, 5, 6, 7], [8, 8, 8, 8], [4, 5, 6, 7], [8, 8, 8, 8], [4, 5, 6, 7]]
    assert company == [False, False, True, True, True]


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(
    ("done", "groups"), [((), [0, 1, 2]), (range(4), [1, 2]), ((0, 1, 2), [0, 1, 2]), ((8,), [0, 1])]
)
def test_an_image_is_always_evaluated_in_the_same_company(numbers, done, groups, devices, monkeypatch):
    data = numbers(9)
    monkeypatch.setattr(type(data), "evaluation_group", 4)
    batches = []
    for rank in range(devices):
        data.trainer = SimpleNamespace(world_size=devices, global_rank=rank)
        batches += [batch["index"].tolist() for batch in data.evaluation_loader("test", done)]
    whole = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 8, 8, 8]]
    assert sorted(batches) == [whole[group] for group in groups]


def test_what_is_done_belongs_to_the_set(numbers):
    with pytest.raises(ValueError, match="Numbers: test has 5 images, but 7 is marked as done"):
        numbers().evaluation_loader("test", (3, 7))


class Counter(LightningModule):
    """Counts what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[int] = []

    def training_step(self, batch, batch_idx):
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.seen += batch["index"].tolist()

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


# Lightning 2.6 against torch 2.14, and its advice on speed.
@pytest.mark.filterwarnings(
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning",
    "ignore:The '[a-z]+_dataloader' does not have many workers",
)
@pytest.mark.parametrize(("stage", "split"), [("fit", "val"), ("validate", "val"), ("test", "test")])
def test_a_stage_prepares_its_split_alone_before_it_is_set_up(numbers, tmp_path, stage, split):
    class Watched(Numbers):
        def setup(self, stage):
            before.extend(path.name for path in (tmp_path / "prepared").iterdir())
            super().setup(stage)

    before = []
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, num_sanity_val_steps=0, enable_checkpointing=False,
        default_root_dir=tmp_path, **options,
    )  # fmt: skip
    module, data = Counter(), Watched(prepared=str(tmp_path / "prepared"))
    getattr(trainer, stage)(module, data)
    assert len(before) == 1 and before[0].startswith(f"Watched-{split}-adm2-")
    assert module.seen == [0, 1, 2, 3, 4]


def test_training_takes_the_next_readable_picture(damaged, tmp_path, capsys):
    (tmp_path / "photos" / "train" / "7" / "7.png").write_bytes(b"")  # after the last one comes the first
    dataset = damaged(on_error="skip").dataset("train")
    images = [dataset[i] for i in range(8)]
    shown = [round((sample["image"].mean().item() + 1) * 127.5) for sample in images]
    assert shown == [0, 1, 4, 4, 4, 5, 6, 0]
    assert [sample["label"] for sample in images] == shown
    assert [sample["index"] for sample in images] == list(range(8))
    assert dataset[3]["image"].equal(images[3]["image"])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(f"{i}.png: cannot be read as a picture: " in line for i, line in zip((2, 3, 7), lines, strict=True))
    with pytest.raises(ValueError, match=r"train.2.2\.png: cannot be read as a picture"):
        damaged().dataset("train")[2]


def test_training_pictures_that_all_are_damaged(damaged, tmp_path):
    for path in (tmp_path / "photos" / "train").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="none of the 8 training pictures can be read"):
        damaged(on_error="skip").dataset("train")[5]


def test_evaluation_counts_what_it_leaves_out(damaged):
    data = damaged(on_error="skip")
    assert data.skipped("test") == ["test/2/2.png", "test/3/3.png"]
    assert data.sources("test") == [f"test/{i}/{i}.png" for i in (0, 1, 4, 5, 6, 7)]
    assert indices(data.test_dataloader()) == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match=r"test.2.2\.png: cannot be read as a picture"):
        damaged().dataset("test")


def test_the_option_crop_reaches_both_sides(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    for split in ("train", "test"):
        (tmp_path / "photos" / split).mkdir(parents=True)
        Image.fromarray(picture).save(tmp_path / "photos" / split / "a.png")
    for name, crop in (("adm", adm_centre_crop), ("release", release_centre_crop)):
        data = Folder(str(tmp_path / "photos"), image_size=8, batch_size=1, crop=name, prepared=str(tmp_path / "sets"))
        centre = to_tensor(crop(picture, 8))
        assert torch.equal(data.dataset("test")[0]["image"], centre)
        assert any(torch.equal(data.dataset("train")[0]["image"], view) for view in (centre, centre.flip(-1)))


def test_only_evaluation_splits_are_prepared(numbers):
    for question in (numbers().fingerprint, numbers().skipped, numbers().evaluation_loader):
        with pytest.raises(ValueError, match="only the splits val and test are prepared, not 'train'"):
            question("train")


def test_an_empty_validation_split_is_no_error(numbers):
    data = numbers(0)
    assert data.val_dataloader() == [] and data.sources("val") == data.skipped("val") == []
    with pytest.raises(ValueError, match="the split 'test' has no picture"):
        data.test_dataloader()


@pytest.mark.parametrize(("name", "choices"), [("crop", "'adm' or 'release'"), ("on_error", "'stop' or 'skip'")])
def test_words_that_are_no_choice(numbers, name, choices):
    with pytest.raises(ValueError, match=f"{name}: expected {choices}, got 'foo'"):
        numbers(**{name: "foo"})


def test_the_error_for_missing_data_is_one_line():
    class Flowers(Numbers):
        obtain = "fetch {root}/flowers.tar from example.org"
        root = "data/flowers"

    expected = "Flowers: found nothing at data/flowers; fetch data/flowers/flowers.tar from example.org"
    assert str(Flowers().missing("nothing")) == expected


# The terms of cached tokens are those of the images that they were made from.
@pytest.mark.parametrize("name", sorted(set(datamodules.__all__) - {"ImageDataModule", "TokenCache"}))
def test_every_data_set_says_its_terms(name):
    for text in ("licence", "citation", "obtain"):
        assert getattr(getattr(datamodules, name), text).strip()
