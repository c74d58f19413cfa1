import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule
from PIL import Image

from datamodules import Embedded, EmbeddedClasses
from datamodules.embedded_classes import CLASSES
from datamodules.prepare import COLUMNS

# Domain -> photos to train on, to validate on, to test on.
COUNTS = {"natural": (4, 2, 3), "faces": (6, 1, 1), "retina": (3, 1, 1), "satellite": (1, 0, 1), "aerial": (2, 1, 0)}
LABELS = {"natural": 0, "faces": 1, "retina": 2, "satellite": 3, "aerial": 4}
ROUNDS = 12  # the least common multiple of the photos to train on


@pytest.fixture
def root(tmp_path):
    """Pictures of one grey each, and some that are of none of the five classes."""
    rows = []
    for domain, counts in {**COUNTS, "labelled": (0, 0, 2)}.items():
        (tmp_path / "images" / domain).mkdir(parents=True)
        for split, count in zip(("train", "val", "test"), counts, strict=True):
            for i in range(count):
                path = f"images/{domain}/{split}{i}.png"
                Image.fromarray(np.full((16, 16, 3), len(rows), np.uint8)).save(tmp_path / path)
                rows.append(dict.fromkeys(COLUMNS, "7") | {"path": path, "domain": domain, "split": split})
                rows[-1] |= {"source_id": f"{domain}-{split}{i}", "group_id": f"person {split}{i}"}
    with (tmp_path / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path


@pytest.fixture
def classes(root, tmp_path):
    return lambda **options: EmbeddedClasses(
        str(root), **{"image_size": 8, "batch_size": 5, "prepared": str(tmp_path / "prepared"), **options}
    )


def test_labels_are_the_domains():
    assert CLASSES == ("natural", "face", "retina", "satellite", "aerial")
    assert EmbeddedClasses.class_names == CLASSES


def test_training_is_balanced_at_every_epoch_length(classes):
    for length in (None, 5, 23, 60, 137):
        samples = classes(epoch_length=length).dataset("train")
        assert len(samples) == (length or 5 * ROUNDS)
        counts = Counter(samples[i]["label"] for i in range(len(samples)))
        assert max(counts.values()) - min(counts[label] for label in range(5)) <= 1
        assert [samples[i]["label"] for i in range(5)] == [0, 1, 2, 3, 4]


def test_within_a_class_photos_come_equally_often(classes):
    data = classes(epoch_length=3 * 5 * ROUNDS)
    counts = Counter(data.sources("train"))
    for domain, (train, *_) in COUNTS.items():
        own = [f"person train{i}" if domain == "faces" else f"{domain}-train{i}" for i in range(train)]
        assert [counts.pop(source) for source in own] == [3 * ROUNDS // train] * train
    assert not counts


def test_pictures_are_in_memory_once_and_of_their_class(classes, root):
    photos = classes().photos("train")
    assert len({id(picture) for picture in photos.pictures}) == sum(train for train, *_ in COUNTS.values())
    with (root / "index.csv").open() as file:  # a picture's grey is its row
        domains = [row["domain"] for row in csv.DictReader(file)]
    assert [LABELS[domains[picture[0, 0, 0]]] for picture in photos.pictures] == list(photos.labels)


@pytest.mark.parametrize(("split", "labels"), [("val", {0: 2, 1: 1, 2: 1, 4: 1}), ("test", {0: 3, 1: 1, 2: 1, 3: 1})])
def test_evaluation_sees_every_photo_of_the_classes_that_have_some_once(classes, split, labels):
    samples = classes(views="centre").dataset(split)
    assert Counter(samples[i]["label"] for i in range(len(samples))) == labels
    assert len(classes(views="centre").sources(split)) == sum(labels.values())


def test_views_are_those_of_each_domain(classes, root, tmp_path):
    # 16 pixels at image_size 8: the centre square and four tiles.
    data = classes()
    alone = Embedded(str(root), "retina", image_size=8, prepared=str(tmp_path / "prepared"))
    ours = [data.dataset("test")[i] for i in range(len(data.dataset("test")))]
    theirs = [alone.dataset("test")[i]["image"] for i in range(5)]
    found = [sample["image"] for sample in ours if sample["label"] == 2]
    assert all((a == b).all() for a, b in zip(found, theirs, strict=True))
    assert data.name == "classes"


def test_a_class_without_photos_to_train_on(classes, root):
    index = root / "index.csv"
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join(line for line in lines if "satellite" not in line))
    with pytest.raises(ValueError, match="no train photo of domain 'satellite'"):
        classes().dataset("train")


def test_absent_data_says_how_to_get_it(tmp_path):
    for split in ("train", "test"):
        with pytest.raises(ValueError, match=r"python -m datamodules\.prepare -o .*absent") as caught:
            EmbeddedClasses(str(tmp_path / "absent")).dataset(split)
        assert "\n" not in str(caught.value)


def test_the_config_reaches_the_options_of_embedded_but_its_domain():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    path = str(Path(__file__).parents[2] / "experiments/_data/embedded_classes.yaml")
    config = parser.parse_args(["--data", path, "--data.image_size", "32", "--data.views", "centre"])
    data = parser.instantiate(config).data
    assert isinstance(data, EmbeddedClasses) and (data.image_size, data.views) == (32, "centre")
    assert "domain" not in json.dumps(config.data.init_args.as_dict())


def test_the_real_photographs_have_all_five_classes():
    root = Path(__file__).parents[2] / "data" / "embedded"
    data = EmbeddedClasses(str(root), image_size=16, working_size=32)
    photos = data.photos("train")
    assert list(photos.labels[:10]) == [0, 1, 2, 3, 4] * 2
    assert set(data.photos("test").labels) == {0, 1, 2, 3, 4}
