import importlib.util
import io
import os
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules import ImageNet
from datamodules.shards import Member, shard_index, shard_photos

_spec = importlib.util.spec_from_file_location("layouts", Path(__file__).with_name("layouts.py"))
layouts = importlib.util.module_from_spec(_spec)
sys.modules["layouts"] = layouts
_spec.loader.exec_module(layouts)

LONG = "a folder with a long name/" * 8  # beyond the 100 bytes of the plain header


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GPSTOKEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "shards"


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "imagenet-val-000000.tar"
    layouts.write_shard(path, layouts.shard_members(0, [4, 0, 999, 31]))
    return path


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_that_tarfile_extracts(tmp_path, form):
    path = tmp_path / "0.tar"
    folder = "" if form == tarfile.USTAR_FORMAT else LONG
    members = {folder + name: content for name, content in layouts.shard_members(0, [4, 0, 999, 31]).items()}
    layouts.write_shard(path, members, format=form)
    photos = shard_photos(tmp_path, [path])
    assert photos.labels == [4, 0, 999, 31]
    with tarfile.open(path) as archive:
        for source, picture in zip(photos.sources, photos.pictures, strict=True):
            name = source.removeprefix("0.tar!")
            assert picture.read_bytes() == archive.extractfile(name).read()
            assert str(picture) == f"{path}!{name}"
    for i in range(4):
        decoded = np.asarray(Image.open(io.BytesIO(members[f"{folder}{i:06d}.jpg"])))
        assert np.array_equal(photos.read(i), decoded)


# webdataset leaves the file to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning")
def test_the_same_pictures_as_the_webdataset_package(shard):
    webdataset = pytest.importorskip("webdataset")
    theirs = list(webdataset.WebDataset(str(shard), shardshuffle=False))
    photos = shard_photos(shard.parent, [shard])
    assert [int(sample["cls"]) for sample in theirs] == photos.labels
    assert [sample["jpg"] for sample in theirs] == [picture.read_bytes() for picture in photos.pictures]


def test_the_index_is_kept_and_follows_the_file(shard, cache, monkeypatch):
    first = shard_index(shard)
    (kept,) = cache.iterdir()
    assert kept.suffix == ".json"
    with monkeypatch.context() as patch:
        patch.setattr("datamodules.shards.tarfile.open", None)  # would be a TypeError
        assert shard_index(shard) == first
    layouts.write_shard(shard, layouts.shard_members(0, [4, 0, 999, 31, 8]))
    assert [label for *_, label in shard_index(shard)] == [4, 0, 999, 31, 8]
    assert len(list(cache.iterdir())) == 2
    assert list(shard.parent.glob("*")) == sorted([cache.parent, shard])


def test_a_cache_that_cannot_be_written_is_no_error(shard, cache):
    cache.parent.parent.mkdir(exist_ok=True)
    cache.parent.write_text("a file where the folder should be")
    assert len(shard_index(shard)) == 4


def test_a_shard_cut_short_anywhere_is_named(shard):
    content = shard.read_bytes()
    index = shard_index(shard)
    end = max(offset + size for _, offset, size, _ in index)
    # In a header, in a picture, at the end of a member (which tarfile takes for the end of the archive), in nothing.
    cuts = [100, index[1][1] - 200, index[1][1] + 10, index[2][1] - 512, end - end % 512 + 512, 0]
    assert len(shard_photos(shard.parent, [shard])) == 4
    for cut in cuts:
        shard.write_bytes(content[:cut])
        with pytest.raises(ValueError) as raised:
            shard_index(shard)
        assert str(raised.value).startswith(f"{shard}: damaged or cut short ("), cut
        assert str(raised.value).endswith("; fetch this shard again") and "\n" not in str(raised.value)


def test_a_broken_header_is_not_the_end(shard):
    content = bytearray(shard.read_bytes())
    header = shard_index(shard)[2][1] - 512
    content[header : header + 512] = b"x" * 512
    shard.write_bytes(content)
    os.utime(shard, ns=(0, 0))  # a coarse clock could give both writes one time
    with pytest.raises(ValueError, match="damaged or cut short"):
        shard_index(shard)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"1.txt": b"", "1.cls": b"3"},
            "no picture in this shard; expected members like 0001.jpg with 0001.cls beside",
        ),
        ({"a/1.jpg": b"", "1.cls": b"3"}, "a/1.jpg has no class number beside it in a .cls member"),
        ({"1.jpg": b"", "1.cls": b"dog"}, "expected a class number, got b'dog'"),
        ({"1.jpg": b"", "1.png": b"", "1.cls": b"3"}, "two pictures under one key, 1.jpg and 1.png"),
    ],
)
def test_other_contents_are_refused(tmp_path, members, message):
    layouts.write_shard(tmp_path / "1.tar", members)
    with pytest.raises(ValueError) as raised:
        shard_index(tmp_path / "1.tar")
    assert str(raised.value).startswith(f"{tmp_path}/1.tar") and message in str(raised.value)


def test_a_compressed_shard_is_refused(tmp_path):
    with tarfile.open(tmp_path / "1.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("1.cls"))
    with pytest.raises(ValueError, match=r"1\.tar: damaged or cut short"):
        shard_index(tmp_path / "1.tar")


def test_links_folders_and_hidden_files_are_no_pictures(tmp_path):
    path = tmp_path / "1.tar"
    layouts.write_shard(path, layouts.shard_members(0, [3]) | {"._000000.jpg": b"a file manager's"})
    with tarfile.open(path, "a") as archive:
        for name, kind in (("folder.jpg", tarfile.DIRTYPE), ("secret.jpg", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    assert [name for name, *_ in shard_index(path)] == ["000000.jpg"]


def test_a_damaged_picture_is_named_by_shard_and_member(tmp_path):
    members = layouts.shard_members(0, [3, 4])
    members["000001.jpg"] = members["000001.jpg"][:100]
    layouts.write_shard(tmp_path / "val" / "0.tar", members)
    data = ImageNet(str(tmp_path), image_size=16, prepared=str(tmp_path / "prepared"))
    with pytest.raises(ValueError, match=r"val/0\.tar!000001\.jpg: cannot be read as a picture"):
        data.dataset("test")
    skipping = ImageNet(str(tmp_path), image_size=16, prepared=str(tmp_path / "prepared"), on_error="skip")
    assert skipping.sources("test") == ["val/0.tar!000000.jpg"]
    assert skipping.skipped("test") == ["val/0.tar!000001.jpg"]


def test_shards_and_files_give_the_same_batches(tmp_path):
    layouts.imagenet_folders(tmp_path / "files")
    for side in ("train", "val"):
        members = {}
        for label, wnid in enumerate(layouts.WNIDS):
            for path in sorted((tmp_path / "files" / side / wnid).iterdir()):
                members |= {f"{path.stem}.cls": str(label).encode(), path.name: path.read_bytes()}
        layouts.write_shard(tmp_path / "shards" / f"imagenet-{side}-000000.tar", members)
    loaded = []
    for folder in ("files", "shards"):
        options = {"image_size": 16, "batch_size": 2, "prepared": str(tmp_path / "prepared"), "seed": 3}
        data = ImageNet(str(tmp_path / folder), **options)
        loader = data.train_dataloader()
        loader.sampler.set_epoch(5)
        loaded.append([*loader, *data.test_dataloader()])
    assert len(loaded[0]) == len(loaded[1]) == 4 + 3
    for one, other in zip(*loaded, strict=True):
        assert all((one[key] == other[key]).all() for key in ("image", "label", "index"))


def test_a_member_is_small_and_can_be_sent_to_a_worker(shard):
    import pickle

    member = shard_photos(shard.parent, [shard]).pictures[1]
    assert not hasattr(member, "__dict__")
    assert pickle.loads(pickle.dumps(member)) == member
    assert member == Member(shard, "000001.jpg", member.offset, len(member.read_bytes()))
