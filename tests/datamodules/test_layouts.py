import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import datamodules

REPOSITORY = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("layouts", Path(__file__).with_name("layouts.py"))
layouts = importlib.util.module_from_spec(_spec)
sys.modules["layouts"] = layouts
_spec.loader.exec_module(layouts)

DATA_SETS = [
    getattr(datamodules, name) for name in datamodules.__all__ if name not in ("ImageDataModule", "TokenCache")
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GPSTOKEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=layouts.LAYOUTS.values(), ids=layouts.LAYOUTS.keys())
def written(request, tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    request.param.write(root)
    return request.param, root


def test_splits_labels_and_pixels(written):
    layout, root = written
    data = layouts.load(layout, root)
    photos = {split: data.photos(split) for split in ("train", "val", "test")}
    assert {split: len(photos[split]) for split in photos} == layout.sizes
    assert layout.test_labels is None or list(photos["test"].labels) == layout.test_labels
    for split, own in photos.items():
        assert len(set(own.sources)) == len(own)
        assert all(isinstance(label, int) for label in own.labels)
        for i in range(len(own)):
            picture = own.read(i)
            assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3, (split, i)
    for split in ("val", "test"):
        assert not set(photos["train"].sources) & set(photos[split].sources)
    # Every picture of a fixture has colours of its own: a picture under two names would show.
    pixels = {split: {own.read(i).tobytes() for i in range(len(own))} for split, own in photos.items()}
    assert not pixels["train"] & pixels["test"]
    assert not pixels["train"] & pixels["val"]
    assert photos["val"].sources == data.photos("val").sources


def test_batches_of_every_split(written):
    layout, root = written
    data = layouts.load(layout, root)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        batch = next(iter(loader))
        assert batch["image"].shape[1:] == (3, 32, 32) and -1 <= batch["image"].min() <= batch["image"].max() <= 1
    assert len(data.dataset("test")) == layout.sizes["test"]
    assert not data.skipped("test")


def test_what_is_drawn_does_not_depend_on_the_seed_of_training(written):
    layout, root = written
    first, second = (layouts.load(layout, root, seed=seed).photos("test").sources for seed in (0, 1))
    assert first == second


def test_an_empty_folder_and_none_are_errors_that_say_how_to_get_the_data(written):
    layout, root = written
    empty = root.parent / "empty"
    empty.mkdir()
    for place, found in ((empty, "an empty folder"), (root.parent / "absent", "nothing")):
        data = layouts.load(layout, place)
        for split in ("train", "test"):
            with pytest.raises(ValueError) as raised:
                data.photos(split)
            message = str(raised.value)
            assert "\n" not in message
            if layout.data != "folder":
                assert message.startswith(f"{type(data).__name__}: found {found}"), message
                assert message.endswith(data.obtain.replace("{root}", str(place))), message


# What is taken away, or put in the place of it, and what the error must say; {root} is the folder.
DAMAGE = [
    ("imagenet folders", ["val"], {}, "test", "found a folder with train, no val image (val: nothing) at {root}; "),
    (
        "imagenet folders",
        ["train"],
        {},
        "train",
        "found a folder with val, no train image (train: nothing) at {root}; ",
    ),
    (
        "imagenet folders",
        [],
        {"val/cats/1.JPEG": b""},
        "test",
        "ImageNet: {root}/val/cats: expected folders of classes, named nXXXXXXXX",
    ),
    (
        "imagenet flat",
        ["ILSVRC2012_devkit_t12/data/meta.mat"],
        {},
        "test",
        "ImageNet: {root}/val is flat and has no {root}/ILSVRC2012_devkit_t12/data/meta.mat; "
        "unpack ILSVRC2012_devkit_t12.tar.gz there",
    ),
    (
        "imagenet flat",
        [],
        {"ILSVRC2012_devkit_t12/data/meta.mat": b"MATLAB 5.0"},
        "test",
        "ImageNet: {root}/ILSVRC2012_devkit_t12/data/meta.mat, or the ground truth beside it, is broken: ",
    ),
    (
        "imagenet flat",
        [],
        {"ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": b"4\n1\n1\n1\n1\n"},
        "test",
        "is broken: KeyError(4)",
    ),
    (
        "imagenet flat",
        [],
        {"val/ILSVRC2012_val_00000006.JPEG": b""},
        "test",
        "ImageNet: {root}/val/ILSVRC2012_val_00000006.JPEG: not one of the 5 validation images",
    ),
    ("imagenet shards", ["imagenet-val-000000.tar"], {}, "test", "no val image (val: nothing) at {root}; register at"),
    ("coco", ["val2017"], {}, "test", "COCO: found a folder with annotations, train2017, no picture in val2017 at"),
    ("coco", ["train2017"], {}, "train", "COCO: found a folder with annotations, val2017, no picture in train2017 at"),
    (
        "coco",
        ["train2017"],
        {},
        "val",
        "no picture in train2017 at {root}; unpack val2017.zip (1 GB), and train2017.zip",
    ),
    (
        "ffhq 256",
        [f"{i:05d}.png" for i in range(16)],
        {},
        "test",
        "FFHQ: found a folder with preview.png, no picture named NNNNN.png at {root}; fetch images1024x1024",
    ),
    (
        "stare",
        [f"im{i:04d}.ppm" for i in (1, 2, 3, 4, 5, 44, 77, 81, 82, 324)],
        {"im0001.jpg": b""},
        "test",
        "STARE: found a folder with im0001.jpg, no im0001.ppm or .ppm.gz at {root}; unpack stare-images.tar",
    ),
    (
        "whu rs19",
        ["Viaduct"],
        {},
        "test",
        "WHURS19: found a folder with Airport, Beach, Bridge, Commercial and 15 more, 18 folders with pictures instead "
        "of 19 at {root}; unpack WHU-RS19.zip",
    ),
    (
        "retinamnist",
        ["retinamnist_224.npz"],
        {"retinamnist.npz": b""},
        "test",
        "MedMNIST: found a folder with retinamnist.npz, no retinamnist_224.npz at {root}; set download, or fetch",
    ),
    (
        "retinamnist",
        [],
        {"retinamnist_224.npz": b"PK not a zip"},
        "test",
        "{root}/retinamnist_224.npz: no test split of MedMNIST can be read: ",
    ),
]


@pytest.mark.parametrize(("name", "removed", "put", "split", "message"), DAMAGE)
def test_what_was_found_instead_is_said(tmp_path, name, removed, put, split, message):
    layout = layouts.LAYOUTS[name]
    layout.write(tmp_path)
    for path in removed:
        where = tmp_path / path
        where.rename(tmp_path.parent / f"{tmp_path.name} removed {where.name}")
    for path, content in put.items():
        layouts.put(tmp_path / path, content)
    with pytest.raises(ValueError) as raised:
        layouts.load(layout, tmp_path).photos(split)
    assert message.replace("{root}", str(tmp_path)) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_every_yaml_names_a_data_set_and_has_a_layout():
    covered = {layout.data for layout in layouts.LAYOUTS.values()}
    for path in (REPOSITORY / "experiments/_data").glob("*.yaml"):
        config = yaml.safe_load(path.read_text())
        kind = getattr(datamodules, config["class_path"].removeprefix("datamodules."))
        assert kind in DATA_SETS and kind(**config["init_args"]).root.parts[0] == "data"
        # the embedded sets have one layout, tested in files of their own
        embedded = issubclass(kind, datamodules.Embedded)
        assert path.stem in covered or (
            embedded
            and path.stem
            in (f"embedded_{config['init_args'].get('domain')}", "embedded_classes", "embedded_people", "rendered_text")
        )


@pytest.mark.parametrize("kind", DATA_SETS, ids=lambda kind: kind.__name__)
def test_every_set_says_its_terms(kind):
    for text in (kind.licence, kind.citation, kind.obtain):
        assert text and "\n" not in text


@pytest.mark.parametrize("name", ["imagenet", "coco", "ffhq", "stare", "med_mnist", "whu_rs19"])
def test_a_data_set_is_fifty_lines_at_most(name):
    assert len((REPOSITORY / "datamodules" / f"{name}.py").read_text().splitlines()) <= 50
