import importlib.util
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torchvision
from torchvision.datasets import ImageFolder

_spec = importlib.util.spec_from_file_location("layouts", Path(__file__).with_name("layouts.py"))
layouts = importlib.util.module_from_spec(_spec)
sys.modules["layouts"] = layouts
_spec.loader.exec_module(layouts)


# torchvision 0.26 unpacks as Python before 3.12 did.
@pytest.mark.filterwarnings("ignore:Python 3.14 will, by default, filter extracted tar:DeprecationWarning")
def test_flat_validation_labels_are_those_of_torchvision(tmp_path, monkeypatch):
    layout = layouts.LAYOUTS["imagenet flat"]
    layout.write(tmp_path)
    ours = layouts.load(layout, tmp_path).photos("test")
    # torchvision reads archives, whose hashes ours cannot have; it moves the images into folders of classes.
    module = torchvision.datasets.imagenet
    monkeypatch.setattr(module, "_verify_archive", lambda *_: None)
    theirs = tmp_path / "torchvision"
    theirs.mkdir()
    with tarfile.open(theirs / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12")
    with tarfile.open(theirs / "ILSVRC2012_img_val.tar", "w") as archive:
        for path in (tmp_path / "val").iterdir():
            archive.add(path, path.name)
    module.parse_devkit_archive(theirs)
    module.parse_val_archive(theirs)
    found = {Path(path).name: label for path, label in ImageFolder(theirs / "val").samples}
    assert {Path(source).name: label for source, label in zip(ours.sources, ours.labels, strict=True)} == found


def test_class_folders_are_labelled_as_torchvision_does(tmp_path):
    layouts.imagenet_folders(tmp_path)
    data = layouts.load(layouts.LAYOUTS["imagenet folders"], tmp_path)
    for split, folder in (("train", "train"), ("test", "val")):
        theirs = {Path(path).name: label for path, label in ImageFolder(tmp_path / folder).samples}
        photos = data.photos(split)
        assert {Path(source).name: label for source, label in zip(photos.sources, photos.labels, strict=True)} == theirs


def test_classes_are_numbered_alike_however_their_names_are_written(tmp_path):
    layouts.whu_rs19(tmp_path / "downloaded")
    for name in layouts.WHU_CLASSES:
        layouts.put(tmp_path / "renamed" / name.upper() / "1.PNG", layouts.encoded(1, "png"))
    for folder in ("downloaded", "renamed"):
        photos = layouts.load(layouts.LAYOUTS["whu rs19"], tmp_path / folder, test_on_all=True).photos("test")
        found = {
            source.split("/")[0].lower(): label for source, label in zip(photos.sources, photos.labels, strict=True)
        }
        assert [found[name] for name in ("airport", "footballfield", "forest", "park", "parking", "viaduct")] == [
            0, 6, 7, 11, 12, 18,
        ]  # fmt: skip
        assert sorted(found.values()) == list(range(19))


def test_train_folders_alone_do_not_shift_the_labels_of_val(tmp_path):
    layouts.imagenet_folders(tmp_path)
    layouts.put(tmp_path / "train" / "n01443537" / "n01443537_0.JPEG", layouts.encoded(7, "JPEG"))
    data = layouts.load(layouts.LAYOUTS["imagenet folders"], tmp_path)
    assert sorted(set(data.photos("train").labels)) == [0, 1, 2, 3]
    assert data.photos("test").labels == [0, 0, 2, 2, 3, 3]


def test_gzip_and_plain_photographs_are_the_same(tmp_path):
    for name in ("stare", "stare gz"):
        layouts.LAYOUTS[name].write(tmp_path / name)
    plain, packed = (
        layouts.load(layouts.LAYOUTS[name], tmp_path / name, test_on_all=True).photos("test")
        for name in ("stare", "stare gz")
    )
    assert plain.sources == packed.sources == [f"im{i:04d}" for i in (1, 2, 3, 4, 5, 44, 77, 81, 82, 324)]
    assert all(np.array_equal(plain.read(i), packed.read(i)) for i in range(10))
    assert plain.read(0).shape == (605, 700, 3)


def test_a_damaged_gzip_file_is_named(tmp_path):
    layouts.stare_gz(tmp_path)
    path = tmp_path / "im0044.ppm.gz"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"im0044\.ppm\.gz: cannot be read as a picture"):
        photos = layouts.load(layouts.LAYOUTS["stare gz"], tmp_path, test_on_all=True).photos("test")
        photos.read(5)
