"""Token caches and shards of pictures: what hostile ones did before it was mended."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from datamodules import TokenCache
from datamodules.shards import shard_index
from gpstoken.commands.classes import take_classes
from tests.faults.hostile.lines import DEEP_LIST, one_line
from tests.faults.hostile.mutations import safetensors, split_safetensors
from tests.faults.hostile.seeds import CACHE, IDENTITY, tar, write_cache

WRONG = {
    "splits a list": {"splits": []}, "split a number": {"splits": {"train": 3}},
    "no shards": {"splits": {"train": {"samples": 4}}}, "shards a text": {"splits": {"train": {"shards": "four"}}},
    "shard a text": {"splits": {"train": {"shards": ["train/shard-00000.safetensors"]}}},
    "classes a text": {"num_classes": "ten"}, "classes NaN": {"num_classes": float("nan")},
    "no class": {"num_classes": 0}, "classes below none": {"num_classes": -3}, "classes a flag": {"num_classes": True},
    "identity a number": {"identity": 7}, "tokenizer a list": {"tokenizer": [1]},
    "statistics a text": {"statistics": "x"},
    "statistics of numbers": {"statistics": {"layout": 3}}, "no std": {"statistics": {"layout": {"mean": [0.0]}}},
    "std NaN": {"statistics": {"layout": {"mean": [0.0], "std": [float("nan")]}}},
    "std of nothing": {"statistics": {"layout": {"mean": [0.0], "std": [0.0]}}},
    "mean a text": {"statistics": {"layout": {"mean": ["zero"], "std": [1.0]}}},
    "mean without end": {"statistics": {"layout": {"mean": [float("inf")], "std": [1.0]}}},
    "fewer stds": {"statistics": {"layout": {"mean": [0.0, 0.0], "std": [1.0]}}}, "format a list": {"format": []},
    "tokenizer's hash a number": {"tokenizer": CACHE["tokenizer"] | {"sha256": 3}},
    "tokenizer's path a list": {"tokenizer": CACHE["tokenizer"] | {"path": []}},
    "tokenizer without a hash": {"tokenizer": {"path": "last.ckpt", "class_path": "gpstoken.tokenizer.GPSToken"}},
    "tokenizer without a path": {"tokenizer": {"sha256": "00", "class_path": "gpstoken.tokenizer.GPSToken"}},
}  # fmt: skip
SHARDS = [
    {"file": "/etc/passwd", "samples": 4}, {"file": "../elsewhere.safetensors", "samples": 4},
    {"file": "train/../../x.safetensors", "samples": 4}, {"file": 3, "samples": 4}, {"file": "", "samples": 4},
    {"samples": 4}, {"file": "train/shard-00000.safetensors"}, {"file": "train/shard-00000.safetensors", "samples": -4},
    {"file": "train/shard-00000.safetensors", "samples": 4.0}, {"file": "train/a\0b", "samples": 4},
    {"file": "train/shard-00000.safetensors", "samples": float("nan")}, {"file": "a" * 5000, "samples": 4},
]  # fmt: skip


@pytest.mark.parametrize("change", WRONG)
def test_a_cache_of_wrong_values(tmp_path, change):
    root = write_cache(tmp_path / "cache", **WRONG[change])
    with one_line(root / "cache.json"):
        TokenCache(str(root), batch_size=1).setup("fit")


@pytest.mark.parametrize("shard", SHARDS, ids=lambda shard: str(shard)[:50])
def test_a_cache_of_wrong_shards(tmp_path, shard):
    root = write_cache(tmp_path / "cache", splits={"train": {"samples": 4, "shards": [shard]}})
    with one_line(root / "cache.json"):
        TokenCache(str(root), batch_size=1).setup("fit")


def test_a_shard_outside_through_a_name_is_not_read(tmp_path):
    """The shard is there and whole, but not in the cache."""
    root = write_cache(tmp_path / "cache")
    (root / "train").rename(tmp_path / "elsewhere")
    shard = {"file": "../elsewhere/shard-00000.safetensors", "samples": 4}
    write_cache(root, splits={"train": {"samples": 4, "shards": [shard]}})
    with one_line("cache.json"):
        TokenCache(str(root), batch_size=1).setup("fit")


@pytest.mark.parametrize("text", ['"ten"', "[]", "nothing", DEEP_LIST, "NaN"])
def test_classes_of_a_damaged_cache_are_left_to_the_reader_of_caches(tmp_path, text):
    (tmp_path / "cache.json").write_text(f'{{"num_classes": {text}}}')
    config = {
        "model.init_args.generator.init_args.network.init_args.num_classes": 10,
        "data.init_args.root": str(tmp_path),
    }
    take_classes(config)
    assert config["model.init_args.generator.init_args.network.init_args.num_classes"] == 10


def shard_with(root, **tensors):
    """Writes the first shard of a cache without a digest, with other tensors."""
    described = json.dumps({"identity": IDENTITY, "samples": 4})
    save_file(load_file(root / SHARD) | tensors, root / SHARD, {"gpstoken.cache": described})


SHARD = "train/shard-00000.safetensors"
TENSORS = {
    "features of 8 bits": {"features": torch.ones(4, 3, 2).to(torch.float8_e5m2)},
    "features not finite": {"features": torch.full((4, 3, 2), torch.nan)},
    "complex features": {"features": torch.ones(4, 3, 2, dtype=torch.complex64)},
    "labels of 8 bits": {"label": torch.ones(4).to(torch.float8_e4m3fn)},
    "complex labels": {"label": torch.ones(4, dtype=torch.complex64)},
    "labels of two": {"label": torch.ones(4, 2, dtype=torch.long)},
    "flags for labels": {"label": torch.ones(4, dtype=torch.bool)},
    "an index that is none": {"index": torch.ones(4)},
}


@pytest.mark.parametrize("change", TENSORS)
def test_a_shard_of_wrong_tensors(tmp_path, change):
    root = write_cache(tmp_path / "cache")
    shard_with(root, **TENSORS[change])
    with one_line(root / SHARD):
        data = TokenCache(str(root), batch_size=1)
        data.setup("fit")
        data.dataset("train")[0]


def test_a_shard_that_only_half_of_the_reader_knows(tmp_path):
    """Two numbers of four bits are one byte, which an odd last side has none of."""
    root = write_cache(tmp_path / "cache")
    header, data = split_safetensors((root / SHARD).read_bytes())
    header["features"] = {"dtype": "F4", "shape": [4, 0, 1], "data_offsets": [len(data), len(data)]}
    old = split_safetensors((root / SHARD).read_bytes())[0]["features"]["data_offsets"]
    header["filler"] = {"dtype": "U8", "shape": [4, (old[1] - old[0]) // 4], "data_offsets": old}
    (root / SHARD).write_bytes(safetensors(header, data))
    with one_line(root / SHARD):
        data = TokenCache(str(root), batch_size=1)
        data.setup("fit")
        data.dataset("train")[0]


@pytest.mark.parametrize(
    "words", [{"version": "a\nb"}, {"format": "x" * 5000}, {"version": {"a": [1] * 3000}}], ids=str
)
def test_the_format_of_a_cache_is_said_in_one_short_line(tmp_path, words):
    root = write_cache(tmp_path / "cache", **words)
    with one_line(root / "cache.json"):
        TokenCache(str(root), batch_size=1).setup("fit")


def test_an_epoch_without_samples_names_its_cache(tmp_path):
    root = write_cache(tmp_path / "cache", splits={"train": {"samples": 0, "shards": []}})
    with one_line(root):
        TokenCache(str(root), batch_size=1).setup("fit")


def test_a_damaged_index_of_a_shard_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "a.tar").write_bytes(tar())
    whole = shard_index(tmp_path / "a.tar")
    for kept in (tmp_path / "cache").rglob("*.json"):
        for content in ("[", "[1]", '{"a": 1}', "[" * 100_000, "\xff"):
            kept.write_text(content, encoding="latin-1")
            assert shard_index(tmp_path / "a.tar") == whole
    assert len(whole) == 2
