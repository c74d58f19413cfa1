"""`gpstoken images`: real images as an npz of ADM's form."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import Folder
from gpstoken.commands import images as real_images
from gpstoken.metrics import samples

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def photos(tmp_path):
    random = np.random.default_rng(0)
    for split, count in {"train": 5, "test": 4}.items():
        for i in range(count):
            path = tmp_path / "photos" / split / f"class{i % 2}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (40, 32, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


@pytest.fixture
def data(photos, tmp_path):
    return Folder(str(photos), image_size=16, batch_size=2, prepared=str(tmp_path / "prepared"))


@pytest.fixture
def images(photos, tmp_path):
    """Runs the command; returns arr_0, arr_1 and the description."""

    def run(output, *options):
        sizes = {"root": photos, "image_size": 16, "batch_size": 2, "prepared": tmp_path / "prepared"}
        data = (part for name, value in sizes.items() for part in (f"--data.init_args.{name}", str(value)))
        file = str(REPOSITORY / "experiments/_data/folder.yaml")
        assert real_images.main(["-o", str(output), "--data", file, *data, *options]) == 0
        with np.load(output, allow_pickle=False) as arrays:
            assert arrays.files == ["arr_0", "arr_1"]
            return arrays["arr_0"], arrays["arr_1"], json.loads(output.with_suffix(".json").read_text())

    return run


def test_all_prepared_views_are_their_files(images, data, tmp_path):
    pictures, labels, record = images(tmp_path / "out" / "test.npz", "--split", "test")
    (folder,) = (tmp_path / "prepared").iterdir()
    files = [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]
    assert pictures.dtype == np.uint8 and np.array_equal(pictures, files)
    # Sorted by their paths: the two of class0, then those of class1.
    assert labels.dtype == np.int64 and labels.tolist() == [0, 0, 1, 1]
    assert record["data"]["fingerprint"] == data.fingerprint("test")
    assert record["sources"] == data.sources("test")
    assert record["sha256"] == hashlib.sha256((tmp_path / "out" / "test.npz").read_bytes()).hexdigest()
    assert (record["images"], record["split"], record["labels"]) == (4, "test", {"0": 2, "1": 2})
    assert (record["data"]["class_path"], record["data"]["photographs"]) == ("datamodules.Folder", 4)


def test_the_first_training_views_epoch_after_epoch(images, data, tmp_path):
    pictures, labels, record = images(tmp_path / "train.npz", "--split", "train", "--count", "12")
    views = [data.dataset("train")[divmod(i, 5)] for i in range(12)]
    expected = [np.rint((view["image"].numpy() + 1) * 127.5).transpose(1, 2, 0) for view in views]
    assert np.array_equal(pictures, expected)
    assert labels.tolist() == [view["label"] for view in views]
    assert record["sources"] == [data.sources("train")[i % 5] for i in range(12)]
    # Not one mirror image twice: epochs differ.
    assert not np.array_equal(pictures[:5], pictures[5:10])


def test_the_same_command_writes_the_same_bytes(images, tmp_path):
    for name in ("first", "second"):
        images(tmp_path / f"{name}.npz", "--split", "train", "--data.init_args.num_workers", str(len(name) % 5))
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "second.npz").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_the_reader_of_samples_reads_it(images, tmp_path):
    pictures, _, _ = images(tmp_path / "train.npz", "--split", "train", "--count", "7")
    read = torch.cat(list(samples.read_batches(tmp_path / "train.npz", 3)))
    assert np.array_equal(read.permute(0, 2, 3, 1).numpy(), pictures)


def test_names_of_classes_where_the_data_has_them(tmp_path):
    arguments = ["--split", "test", "-o", str(tmp_path / "out.npz"), "--data.init_args.image_size", "16"]
    arguments += ["--data.init_args.working_size", "32", "--data.init_args.prepared", str(tmp_path / "prepared")]
    arguments += ["--data.init_args.root", str(REPOSITORY / "data" / "embedded")]
    file = str(REPOSITORY / "experiments/_data/embedded_classes.yaml")
    real_images.main([*arguments[:4], "--data", file, *arguments[4:]])
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["classes"] == ["natural", "face", "retina", "satellite", "aerial"]
    assert sum(record["labels"].values()) == record["images"]


@pytest.mark.parametrize("options", [["--split", "test", "--count", "5"], ["--split", "train", "--count", "0"]])
def test_counts_that_cannot_be_met(images, tmp_path, options):
    with pytest.raises(ValueError, match=r"--count: (test|train) has [45] images, got [50]"):
        images(tmp_path / "out.npz", *options)
    assert not list(tmp_path.glob("*out*"))


def test_a_split_that_is_empty(images, photos, tmp_path):
    with pytest.raises(ValueError, match="--count: val has 0 images, got 0"):
        images(tmp_path / "out.npz", "--split", "val")


def test_a_damaged_picture_leaves_no_file(images, photos, tmp_path):
    (photos / "train" / "class1" / "3.png").write_bytes(b"cut short")
    with pytest.raises(ValueError, match=r"3\.png: cannot be read"):
        images(tmp_path / "out.npz", "--split", "train")
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


@pytest.mark.parametrize(
    ("options", "message"), [(["-o", "out.png"], "ending in .npz"), (["-o", "out.npz"], "--data FILE.yaml is missing")]
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        real_images.main(["--split", "test", *options])


def test_images_through_a_tokenizer_are_its_reconstructions(command, tmp_path, narrow_generator):
    from gpstoken.loading import load_tokenizer
    from gpstoken.metrics import to_uint8

    data = ["--data", "experiments/_data/embedded_classes.yaml", "--data.init_args.image_size", "32"]
    data += ["--data.init_args.prepared", str(tmp_path / "prepared"), "--split", "test", "--count", "5"]
    assert command(["images", *data, "-o", str(tmp_path / "plain.npz")]) == 0
    through = ["--through", str(narrow_generator["tokenizer"])]
    assert command(["images", *data, *through, "-o", str(tmp_path / "coded.npz")]) == 0
    plain, coded = (np.load(tmp_path / f"{name}.npz") for name in ("plain", "coded"))
    images = torch.from_numpy(plain["arr_0"]).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        expected = to_uint8(load_tokenizer(narrow_generator["tokenizer"])(images)).permute(0, 2, 3, 1).numpy()
    # float32 sums of one batch or another: a level may round the other way
    assert np.abs(expected.astype(int) - coded["arr_0"]).max() <= 1
    assert (plain["arr_1"] == coded["arr_1"]).all()
    assert not np.array_equal(plain["arr_0"], coded["arr_0"])
