import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule
from PIL import Image, ImageOps

from datamodules import Embedded
from datamodules.crops import adm_centre_crop, to_tensor
from datamodules.prepare import COLUMNS
from datamodules.reading import read_rgb

DATA = Path(__file__).parents[2] / "data" / "embedded"
SPLIT_SIZES = {"train": 5, "val": 2, "test": 3}
FEW = {"train": 1, "test": 1}


@pytest.fixture
def root(tmp_path):
    """Noise photos 60 x 40 and 40 x 90 in turn, and two domains without validation."""
    random = np.random.default_rng(0)
    rows = []
    for domain, sizes in {"natural": SPLIT_SIZES, "satellite": FEW, "aerial": FEW}.items():
        (tmp_path / "images" / domain).mkdir(parents=True)
        for split, number in sizes.items():
            for i in range(number):
                path = f"images/{domain}/{split}{i}.png"
                shape = (40, 60, 3) if i % 2 == 0 else (90, 40, 3)
                Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / path)
                rows.append(dict.fromkeys(COLUMNS, "0") | {"path": path, "domain": domain, "split": split})
                rows[-1]["source_id"] = f"{domain}-{split}{i}"
                rows[-1]["label"] = {"natural": "0", "satellite": "3", "aerial": "4"}[domain]
    with (tmp_path / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path


@pytest.fixture
def embedded(root, tmp_path):
    return lambda **options: Embedded(**{"root": str(root), "prepared": str(tmp_path / "prepared"), **options})


def test_batch_contract(embedded):
    data = embedded(domain="satellite", image_size=16, batch_size=4)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert set(batch) == {"image", "label", "index"}
    assert batch["image"].shape == (4, 3, 16, 16) and batch["image"].dtype == torch.float32
    assert -1 <= batch["image"].min() < -0.5 and 0.5 < batch["image"].max() <= 1
    assert batch["label"].tolist() == [3] * 4 and batch["label"].dtype == torch.long
    assert batch["index"].dtype == torch.long
    assert data.val_dataloader() == []


def test_an_epoch_shows_every_photo_64_times_in_another_order(embedded):
    data = embedded(image_size=8, batch_size=32)
    loader = data.train_dataloader()
    assert len(loader) == 10 and len(data.sources("train")) == 320
    epochs = []
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        epochs.append(torch.cat([batch["index"] for batch in loader]))
    assert all(sorted(order.tolist()) == list(range(320)) for order in epochs)
    assert not torch.equal(*epochs)
    assert data.sources("train")[:6] == [f"natural-train{i}" for i in (0, 1, 2, 3, 4, 0)]


def test_samples_are_a_function_of_seed_epoch_and_index(embedded):
    first, same, other = (embedded(image_size=16, seed=seed).dataset("train") for seed in (1, 1, 2))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    assert torch.equal(first[3, 7]["image"], same[3, 7]["image"])
    assert torch.equal(first[0, 7]["image"], first[7]["image"])
    for key in ((4, 7), (3, 12)):  # index 12 shows the same photo
        assert not torch.equal(first[3, 7]["image"], first[key]["image"])
    assert not torch.equal(first[3, 7]["image"], other[3, 7]["image"])
    assert torch.equal(state, torch.get_rng_state())


def test_loading_draws_nothing_from_the_global_generator(embedded):
    data = embedded(image_size=8, batch_size=16)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for _ in loader:
            pass
    assert torch.equal(state, torch.get_rng_state())


def test_evaluation_views_and_their_photos(root, embedded):
    data = embedded(image_size=16, batch_size=5)
    # 40 x 60 at twice 16 is 32 x 48: six tiles; 90 x 40 is 72 x 32: eight; and a centre square each.
    assert data.sources("test") == ["natural-test0"] * 7 + ["natural-test1"] * 9 + ["natural-test2"] * 7
    batches = list(data.test_dataloader())
    assert torch.cat([batch["index"] for batch in batches]).tolist() == list(range(23))
    with Image.open(root / "images/natural/test1.png") as image:
        expected = to_tensor(adm_centre_crop(np.asarray(image), 16))
    assert torch.equal(torch.cat([batch["image"] for batch in batches])[7], expected)
    assert next(iter(data.predict_dataloader()))["index"].tolist() == [0, 1, 2, 3, 4]


def test_the_centre_alone_shows_the_same_content_at_every_size(root, embedded):
    for size in (8, 16):
        data = embedded(image_size=size, views="centre")
        assert data.sources("test") == ["natural-test0", "natural-test1", "natural-test2"]
        with Image.open(root / "images/natural/test1.png") as image:
            reduced = np.asarray(image) if size == 16 else np.asarray(image.resize((32, 72), Image.Resampling.BICUBIC))
        assert torch.equal(data.dataset("test")[1]["image"], to_tensor(adm_centre_crop(reduced, size)))


def test_overhead_is_satellite_and_aerial(embedded):
    data = embedded(image_size=16, batch_size=1, domain="overhead", views="centre")
    assert data.sources("test") == ["satellite-test0", "aerial-test0"]
    assert [data.dataset("test")[i]["label"] for i in (0, 1)] == [3, 4]
    assert data.dataset("train").photos.sources == ["satellite-train0", "aerial-train0"]


def test_all_is_every_domain_but_the_labelled_one_and_training_shows_rare_domains_more_often(root, embedded):
    with (root / "index.csv").open("a") as index:
        for row in ("faces,train", "retina,train", "labelled,test"):
            domain, split = row.split(",")
            values = {"path": "images/natural/train0.png", "domain": domain, "split": split, "source_id": domain}
            index.write(",".join({**dict.fromkeys(COLUMNS, "0"), **values}[column] for column in COLUMNS) + "\n")
    data = embedded(image_size=16, domain="all", views="centre")
    assert set(data.sources("test")) == {*(f"natural-test{i}" for i in range(3)), "satellite-test0", "aerial-test0"}
    shown = Counter(data.dataset("train").photos.sources)
    natural = {f"natural-train{i}": 16 for i in range(SPLIT_SIZES["train"])}
    assert shown == {**natural, "0": 1, "retina": 32, "satellite-train0": 48, "aerial-train0": 48}


def test_the_release_crop_cuts_the_centre_but_not_the_tiles(embedded):
    ours, released = (embedded(image_size=16, crop=crop).dataset("test").prepared for crop in ("adm", "release"))
    differ = [i for i in range(len(ours)) if not np.array_equal(ours.read(i), released.read(i))]
    assert differ == [0, 7, 16]  # the first view of each photo


def test_photos_are_kept_at_the_working_size(embedded):
    data = embedded(image_size=4)
    assert {min(picture.shape[:2]) for picture in data.dataset("train").photos.pictures} == {16}
    data = embedded(image_size=4, working_size=30)
    assert {min(picture.shape[:2]) for picture in data.dataset("train").photos.pictures} == {30}


def test_fingerprint_tells_the_pixels(root, embedded):
    fingerprints = {split: embedded(image_size=16).fingerprint(split) for split in ("val", "test")}
    assert fingerprints["val"] != fingerprints["test"]
    assert embedded(image_size=16, seed=5, batch_size=1).fingerprint("test") == fingerprints["test"]
    assert embedded(image_size=8).fingerprint("test") != fingerprints["test"]
    path = root / "images/natural/test0.png"
    with Image.open(path) as image:
        changed = np.array(image)
    changed[20, 30] ^= 128
    Image.fromarray(changed).save(path)
    assert embedded(image_size=16).fingerprint("test") != fingerprints["test"]


@pytest.mark.skipif(not (DATA / "index.csv").is_file(), reason="needs `python -m datamodules.prepare -o data/embedded`")
def test_the_fingerprint_of_the_results_in_this_repository(embedded):
    # As in reports/generated/reconstruction.md; bicubic filters and JPEG decoders of another Pillow may change it.
    fingerprint = embedded(root=str(DATA), image_size=64).fingerprint("test")
    assert fingerprint.startswith("fe6d6b66d051")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"root": "absent"}, r"found nothing at .*absent; run `python -m datamodules.prepare -o .*absent`"),
        ({"root": "images"}, "found a folder without index.csv"),
        ({"domain": "retina"}, r"no train photo of domain 'retina' \(it has 0 train, 0 val, 0 test\)"),
        ({"epoch_length": 31}, "an epoch of 31 images is below batch_size 32"),
    ],
)
def test_errors_say_how_to_go_on(root, embedded, options, message):
    options = options | {"root": str(root / options.get("root", ""))}
    with pytest.raises(ValueError, match=message):
        embedded(**options).setup("fit")


@pytest.mark.parametrize("name", ["image_size", "batch_size", "epoch_length", "num_workers", "seed"])
def test_numbers_below_the_limit(embedded, name):
    with pytest.raises(
        ValueError, match=f"{name}: expected a whole number of at least|{name}: expected a whole number from"
    ):
        embedded(**{name: -1})


def test_a_config_reaches_the_shared_options(root, tmp_path):
    parser = ArgumentParser()
    parser.add_subclass_arguments(LightningDataModule, "data")
    config = {"class_path": "datamodules.Embedded", "init_args": {"root": str(root), "image_size": 16, "batch_size": 2}}
    data = parser.instantiate(parser.parse_object({"data": config})).data
    assert isinstance(data, Embedded) and (data.image_size, data.batch_size, data.domain) == (16, 2, "natural")


def test_the_embedded_row_is_a_valid_config():
    parser = ArgumentParser()
    parser.add_subclass_arguments(LightningDataModule, "data")
    config = parser.parse_args(["--data", "experiments/_data/embedded_natural.yaml", "--data.image_size", "32"])
    data = parser.instantiate(config).data
    assert isinstance(data, Embedded) and data.image_size == 32


def test_the_embedded_photographs_have_the_pixels_that_pil_alone_reads():
    # What evaluation sets are made of: with another pixel here their fingerprints, and every result, would change.
    with (DATA / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"][::2]
    assert len(rows) > 20
    for row in rows:
        with Image.open(DATA / row["path"]) as photo:
            expected = np.asarray(ImageOps.exif_transpose(photo).convert("RGB"))
        np.testing.assert_array_equal(read_rgb(DATA / row["path"]), expected, err_msg=row["path"])
