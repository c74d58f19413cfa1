import numpy as np
import pytest
from PIL import Image

from datamodules import Folder


@pytest.fixture
def folder(tmp_path_factory):
    # Not in tmp_path, which is the folder of photos in some tests.
    sets = str(tmp_path_factory.mktemp("prepared"))
    return lambda root, **options: Folder(str(root), prepared=sets, **options)


def save(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 30, 3), value, dtype=np.uint8)).save(path)


def test_a_folder_of_photos_is_split(tmp_path, folder):
    for i in range(20):
        save(tmp_path / ("cats" if i < 10 else "dogs") / f"{i:02}.jpg", i)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "cats" / "._00.jpg").write_bytes(b"a file manager's")
    data = folder(tmp_path, image_size=8, batch_size=4)
    names = {split: set(data.sources(split)) for split in ("train", "val", "test")}
    assert [len(names[split]) for split in names] == [16, 2, 2]
    assert set.union(*names.values()) == {f"{'cats' if i < 10 else 'dogs'}/{i:02}.jpg" for i in range(20)}
    assert len(data.dataset("train")) == 16
    for split in names:
        dataset = data.dataset(split)
        for i, name in enumerate(data.sources(split)):
            assert dataset[i]["label"] == name.startswith("dogs")
            assert dataset[i]["image"].shape == (3, 8, 8)


def test_the_split_does_not_depend_on_where_the_folder_lies(tmp_path, folder):
    for place in ("a", "b/c"):
        for i in range(20):
            save(tmp_path / place / f"{i}.png")
    assert folder(tmp_path / "a").sources("test") == folder(tmp_path / "b/c").sources("test")


def test_folders_named_as_splits_are_the_splits(tmp_path, folder):
    save(tmp_path / "train" / "dog" / "1.png")
    save(tmp_path / "test" / "cat" / "2.PNG")
    save(tmp_path / "test" / "dog" / "3.webp")
    data = folder(tmp_path, image_size=8, batch_size=1)
    assert data.sources("train") == ["train/dog/1.png"]
    assert data.sources("test") == ["test/cat/2.PNG", "test/dog/3.webp"]
    assert data.dataset("train")[0]["label"] == data.dataset("test")[1]["label"] == 1
    assert data.val_dataloader() == []


def test_a_list_of_paths(tmp_path, folder):
    for name in ("x/a.png", "x/b.png", "c.png"):
        save(tmp_path / name)
    (tmp_path / "list.txt").write_text(f"x/a.png\n\n{tmp_path / 'x/b.png'}\nc.png\n")
    data = folder(tmp_path / "list.txt", image_size=8, batch_size=1)
    assert sum(len(data.dataset(split)) for split in ("train", "val", "test")) == 3
    for split in ("train", "val", "test"):
        assert data.dataset(split)[0]["image"].shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "found a folder without pictures at .*empty; expected a folder of pictures"),
        ("absent", "found nothing at .*absent; expected a folder of pictures"),
        ("empty.txt", "found an empty list at .*; expected .* or a text file with one path a line"),
    ],
)
def test_nothing_there(tmp_path, folder, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ValueError, match=message):
        folder(tmp_path / name).setup("test")


def test_an_unreadable_file_is_named(tmp_path, folder):
    save(tmp_path / "test" / "good.png")
    (tmp_path / "test" / "bad.png").write_bytes((tmp_path / "test" / "good.png").read_bytes()[:40])
    with pytest.raises(ValueError, match=r"test.bad\.png: cannot be read as a picture"):
        list(folder(tmp_path, image_size=8).test_dataloader())
