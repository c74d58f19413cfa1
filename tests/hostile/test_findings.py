"""What hostile files have done before it was mended, each once and by hand."""

import json
import resource
import time
import zipfile
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from datamodules import TokenCache
from datamodules.prepared import prepare
from datamodules.samples import Photos
from datamodules.shards import shard_index
from gpstoken import Gaussians, GPSToken, Tokens
from gpstoken.checkpoints import check, read_plain, read_safetensors
from gpstoken.cli import main
from gpstoken.features import features_of
from gpstoken.files.digests import DIGEST
from gpstoken.files.plain_text import read_json, read_yaml
from gpstoken.loading import load_tokenizer
from gpstoken.metrics.frechet import read_statistics as read_reference
from gpstoken.metrics.labelled import read_array
from gpstoken.metrics.samples import read_batches
from gpstoken.profiling.rows import read_row
from gpstoken.released_generator import read_statistics
from gpstoken.sample_files import SampleFiles
from gpstoken.training.classes import take_classes
from gpstoken.training.fit_help import show
from gpstoken.training.origins import read_data_of, read_origin
from reports.publish.mirrored import trainings
from tests.hostile.mutations import DEEP, safetensors, split_safetensors
from tests.hostile.seeds import CACHE, IDENTITY, plain_checkpoint, statistics, tar, token_file, write_cache

BOMB = "\n".join(
    ["a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]"]
    + [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 9)]
)
DEEP_LIST = "[" * 5000 + "]" * 5000
DEEP_MAPPING = "\n".join(" " * level + f"k{level}:" for level in range(2000))
ITSELF = "a: &a\n  b: *a\n"
YAML = {
    "aliases that multiply": BOMB,
    "deep list": f"a: {DEEP_LIST}",
    "deep mapping": DEEP_MAPPING,
    "in itself": ITSELF,
}
YAML |= {"a list": "[1]", "no UTF-8": "\xff", "no date": "a: 2001-99-99", "empty": "", "unhashable": "{[1]: 2}"}
YAML |= {"a tag": "a: !!python/object/apply:os.getcwd []", "no flag": "a: !!bool maybe", "NUL": "a: \0"}
YAML |= {"long number": "a: 1" + ":1" * 300_000}
YAML |= {"nothing stamped": "a: !!timestamp word"}
PLACES = {
    "a row": read_row,
    "a run": lambda path: read_data_of(path.parent),
    "statistics": lambda path: read_statistics(path, 3),
    "help of fit": lambda path: show(["fit", "-c", str(path)]),
}


@contextmanager
def one_line(place, seconds=5.0, megabytes=200):
    """Expects a ValueError of one line that names the place, soon and in little memory."""
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError) as caught:
        yield caught
    assert str(place) in str(caught.value) and "\n" not in str(caught.value).strip()
    assert len(str(caught.value)) < 1500
    assert time.process_time() - began < seconds
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < megabytes * 1024


@pytest.mark.parametrize("reader", PLACES)
@pytest.mark.parametrize("content", YAML)
def test_yaml_that_is_none_is_one_line_wherever_it_is_read(tmp_path, content, reader):
    path = tmp_path / "config.yaml"
    path.write_text(YAML[content], encoding="latin-1")
    with one_line(path):
        PLACES[reader](path)


@pytest.mark.parametrize("arguments", [["-c", "x"], ["--config=x"], ["-c", "ours.yaml"], ["--data", "x.yaml"]], ids=str)
@pytest.mark.parametrize("content", ["aliases that multiply", "deep list"])
def test_fit_looks_at_its_files_first(tmp_path, monkeypatch, capsys, content, arguments):
    monkeypatch.chdir(tmp_path)
    for name in ("x", "x.yaml"):
        (tmp_path / name).write_text(YAML[content])
    (tmp_path / "ours.yaml").write_text("data: x.yaml\n")
    assert main(["fit", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith("gpstoken: x") and len(told.splitlines()) == 1


@pytest.mark.parametrize("text", ["means: [.nan, 0]", "means: [0, .inf]", "means: [true, 0]", "means: [1, 2, 3]"])
def test_means_that_are_no_numbers(tmp_path, text):
    path = tmp_path / "statistics.yaml"
    path.write_text(f"{text}\nstds: [1, 1]\n")
    with one_line(path):
        read_statistics(path, 2)


@pytest.mark.parametrize("text", ["stds: [.nan, 1]", "stds: [1, .inf]", "stds: [1]", f"stds: [1, 1{'0' * 400}]"])
def test_stds_that_are_no_numbers(tmp_path, text):
    path = tmp_path / "statistics.yaml"
    path.write_text(f"means: [0, 0]\n{text}\n")
    with one_line(path):
        read_statistics(path, 2)


def test_aliases_that_do_not_multiply_are_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: &a [1, 2]\nb: *a\nc: {<<: {d: 1}}\n")
    assert read_yaml(path) == {"a": [1, 2], "b": [1, 2], "c": {"d": 1}}


@pytest.mark.parametrize("text", [DEEP_LIST, f'{{"a": {DEEP_LIST}}}', "[1]", "1" * 5000, "", '{"a": ', "\xff"])
def test_json_that_is_none(tmp_path, text):
    path = tmp_path / "origin.json"
    path.write_text(text, encoding="latin-1")
    for reader in (read_json, lambda path: read_origin(path.parent)):
        with one_line(path):
            reader(path)


def test_files_of_text_have_a_limit_of_bytes(tmp_path):
    path = tmp_path / "config.yaml"
    with path.open("wb") as file:
        file.truncate(2**33)
    for reader in (read_json, read_yaml):
        with one_line(path):
            reader(path)


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
    config = {"model.init_args.network.init_args.num_classes": 10, "data.init_args.root": str(tmp_path)}
    take_classes(config)
    assert config["model.init_args.network.init_args.num_classes"] == 10


@pytest.fixture
def tokenizer():
    torch.manual_seed(0)
    return GPSToken(
        4, image_size=32, grid_size=8, width=8, depth=1, stem_channels=4, decoder_channels=4, norm_groups=2,
        feature_channels=4,
    )  # fmt: skip


def tokens(size, canvas=None):
    return Tokens(Gaussians.from_tensor(torch.full((1, 4, 5), 0.5)), torch.ones(1, 4, 4), size, canvas)


def test_a_small_token_file_of_a_huge_picture(tmp_path, tokenizer, monkeypatch):
    path = tmp_path / "huge.safetensors"
    tokens((65536, 65536)).save(path)
    assert path.stat().st_size < 1024
    with one_line(path) as caught:
        Tokens.load(path)
    assert "--max-pixels" in str(caught.value) and "65536" in str(caught.value)
    assert Tokens.load(path, max_pixels=2**32).size == (65536, 65536)
    monkeypatch.setenv("GPSTOKEN_MAX_PIXELS", str(2**32))
    assert Tokens.load(path).size == (65536, 65536)


def test_a_huge_picture_is_not_decoded(tokenizer, monkeypatch):
    for huge in (tokens((65536, 65536)), tokens((65530, 65536), (65536, 65536))):
        for step in (tokenizer.decode, tokenizer.render):
            with one_line("tokens"):
                step(huge)
    monkeypatch.setenv("GPSTOKEN_MAX_PIXELS", "1000")
    with one_line("tokens"):
        tokenizer.decode(tokens((32, 32)))
    assert tokenizer.decode(tokens((32, 32)), max_pixels=1024).shape == (1, 3, 32, 32)


def test_decode_has_the_option_of_encode(tmp_path, tokenizer, capsys):
    from gpstoken.checkpoints import write_plain
    from gpstoken.loading import class_path_of

    described = {"class_path": class_path_of(tokenizer), "init_args": tokenizer.config}
    weights = {f"tokenizer.{name}": tensor for name, tensor in tokenizer.state_dict().items()}
    write_plain(tmp_path / "last.ckpt", {"tokenizer": described, "state_dict": weights})
    tokens((64, 64)).save(tmp_path / "a.safetensors")
    command = ["decode", str(tmp_path / "a.safetensors"), "--checkpoint", str(tmp_path / "last.ckpt"), "-o"]
    assert main([*command, str(tmp_path / "out"), "--max-pixels", "4095"]) == 2
    assert "64 x 64" in (told := capsys.readouterr().err) and "--max-pixels" in told
    assert main([*command, str(tmp_path / "out"), "--max-pixels", "4096"]) == 0


def bomb(path, name, shape, dtype="<f8", method=zipfile.ZIP_DEFLATED, content=None):
    """An npz whose member `name` is of a shape, all zero or the content given."""
    with zipfile.ZipFile(path, "w", method) as archive, archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        left = int(np.prod(shape)) * np.dtype(dtype).itemsize if content is None else 0
        while left:
            left -= stream.write(bytes(min(left, 2**20)))
        stream.write(content or b"")
    return path


def test_statistics_that_unpack_to_much_more(tmp_path):
    path = bomb(tmp_path / "statistics.npz", "sigma", (6000, 6000))
    assert path.stat().st_size < 400_000
    with one_line(path, megabytes=100) as caught:
        read_reference(path)
    assert "288,000" in str(caught.value)


def test_an_array_larger_than_its_member(tmp_path):
    path = bomb(tmp_path / "statistics.npz", "mu", (10**11,), content=b"12345678")
    with one_line(path, megabytes=100):
        read_reference(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_unpack_at_once_are_not_read(tmp_path, method):
    """Of these Python unpacks all that a piece of the file holds, however much that is."""
    path = bomb(tmp_path / "images.npz", "arr_0", (300, 256, 256, 3), "|u1", method)
    for read in (lambda: next(read_batches(path, 4)), lambda: read_array(path, "arr_0")):
        with one_line(path, megabytes=100):
            read()


def test_a_run_without_its_configuration(tmp_path):
    with one_line(tmp_path / "config.yaml") as caught:
        read_data_of(tmp_path)
    assert "no such file" in str(caught.value) and "gpstoken fit" in str(caught.value)


# What `python -m tests.hostile.fuzz` has found, or what was looked for where it had.


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


@pytest.mark.parametrize("name", ["size", "version", "format"])
def test_long_words_of_a_token_file_are_not_repeated(tmp_path, name):
    path = tmp_path / "tokens.safetensors"
    header, data = split_safetensors(token_file())
    header["__metadata__"][name] = "x" * 5000
    path.write_bytes(safetensors(header, data))
    with one_line(path):
        Tokens.load(path)


@pytest.mark.parametrize("reader", [Tokens.load, read_safetensors])
def test_long_words_of_a_header_are_not_repeated(tmp_path, reader):
    path = tmp_path / "tokens.safetensors"
    header, data = split_safetensors(token_file())
    header["geometry"]["dtype"] = "x" * 5000
    path.write_bytes(safetensors(header, data))
    with one_line(path):
        reader(path)


def test_tokens_of_8_bits_are_refused(tmp_path):
    path = tmp_path / "tokens.safetensors"
    eight = torch.ones(1, 4, 4).to(torch.float8_e4m3fn)
    header = {"format": "gpstoken.tokens", "version": "1"}
    save_file({"geometry": torch.full((1, 4, 5), 0.5), "features": eight}, path, header)
    with one_line(path):
        Tokens.load(path)


@pytest.mark.parametrize(
    "count", [np.timedelta64(3, "s"), np.array(0), np.array(-4), np.array([3]), np.array(True)], ids=str
)
def test_a_count_of_statistics_that_is_none(tmp_path, count):
    path = tmp_path / "statistics.npz"
    np.savez(path, mu=np.zeros(2), sigma=np.eye(2), count=count)
    with one_line(path):
        read_reference(path)


@pytest.mark.parametrize("name", ["mu", "sigma", "mu_s", "sigma_s"])
def test_statistics_that_are_not_finite(tmp_path, name):
    path, arrays = tmp_path / "statistics.npz", statistics()
    np.savez(path, **arrays | {name: arrays[name] + np.inf})
    with one_line(path):
        read_reference(path)


def repeated():
    value = [1.0]
    for _ in range(12):
        value = [value] * 9
    return value


def in_itself():
    value = []
    value.append(value)
    return value


CONTENTS = {
    "one number repeated": lambda: torch.ones(1).expand(10**10),
    "sparse": lambda: torch.sparse_coo_tensor([[0]], [1.0], (10**10,), check_invariants=True),
    "without content": lambda: torch.ones(10**10, device="meta"),
    "complex": lambda: torch.ones(2, dtype=torch.complex64),
    "lists that multiply": repeated,
    "in itself": in_itself,
    "deep": lambda: DEEP,
}


@pytest.mark.parametrize("content", CONTENTS)
def test_a_small_checkpoint_of_much(tmp_path, content):
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"a": CONTENTS[content]()}, DIGEST: "00"}, path)
    assert path.stat().st_size < 10_000
    with one_line(path):
        read_plain(path)


def test_the_class_of_a_checkpoint_is_said_in_one_line(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save(plain_checkpoint() | {"tokenizer": {"class_path": torch.ones(3, 3)}}, path)
    with one_line(path):
        load_tokenizer(path)


def test_weights_of_8_bits_are_refused(tmp_path):
    weights = {"a": torch.ones(2).to(torch.float8_e4m3fn)}
    with one_line("file.ckpt"):
        check("file.ckpt", weights, {"a": torch.ones(2)})


@pytest.mark.parametrize("content", [b"", b"\0" * 100, safetensors({"__metadata__": {"gpstoken.features": "["}}, b"")])
def test_damaged_features_beside_images(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(b"")
    (tmp_path / "a.features.safetensors").write_bytes(content)
    network = SimpleNamespace(name="inception", path=tmp_path / "a.npz")  # whose features they are is all that is asked
    with one_line(tmp_path / "a.features.safetensors"):
        features_of(tmp_path / "a.npz", network, "a", {})


def test_a_damaged_index_of_a_shard_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "a.tar").write_bytes(tar())
    whole = shard_index(tmp_path / "a.tar")
    for kept in (tmp_path / "cache").rglob("*.json"):
        for content in ("[", "[1]", '{"a": 1}', "[" * 100_000, "\xff"):
            kept.write_text(content, encoding="latin-1")
            assert shard_index(tmp_path / "a.tar") == whole
    assert len(whole) == 2


def test_a_damaged_description_of_a_prepared_set(tmp_path):
    photos = Photos(["a"], [0], [np.zeros((8, 8, 3), np.uint8)])
    folder = prepare(photos, tmp_path, "Set-test", "adm", 8).folder
    (folder / "meta.json").write_text(f'{{"skipped": {DEEP_LIST}}}')
    with one_line(folder):
        prepare(photos, tmp_path, "Set-test", "adm", 8)


def test_a_damaged_manifest_of_samples(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "samples.json").write_text(f'{{"a": {DEEP_LIST}}}')
    with one_line(tmp_path / "out"):
        SampleFiles(tmp_path / "out", {"seed": 0}, [0], 1)


@pytest.mark.parametrize("text", ["a: 1", f"a: {DEEP_LIST}", "model: [1]", BOMB])
def test_a_damaged_run_is_not_published(tmp_path, text):
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(text)
    (run / "last.ckpt").write_bytes(b"")
    with one_line(run / "config.yaml"):
        list(trainings(tmp_path / "runs"))


@pytest.mark.parametrize("text", ["a: 1", f"a: {DEEP_LIST}", "model: [1]"])
def test_the_cost_of_a_damaged_run(tmp_path, text, capsys):
    for name, content in (("config.yaml", text), ("last.ckpt", "")):
        (tmp_path / name).write_text(content)
    options = ["--row", "row", "--scale", "tiny", "-o", str(tmp_path / "row.json")]
    assert main(["cost", str(tmp_path), *options]) == 2
    told = capsys.readouterr().err
    assert str(tmp_path / "config.yaml") in told and len(told.splitlines()) == 1
