"""`gpstoken cache`: what is in the shards, killed and gone on with, and read by the data module."""

import json
import os
import shutil
import signal
import sys
import types
from functools import partial
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file

from datamodules import Folder, TokenCache
from gpstoken import GPSToken
from gpstoken import tokenizer as tokenizer_module
from gpstoken.base import Code, Tokenizer
from gpstoken.commands import cache
from gpstoken.loading import load_tokenizer, tokenizer_hash
from tests.faults.forks import forked

REPOSITORY = Path(__file__).parents[2]
PHOTOS = {"train": 5, "val": 3}
VIEWS = 2


class Grid(Tokenizer):
    """Means over cells of 8 pixels: latents [B, 2, 4, 4] of two channels, or codes [B, 4, 4] of the first."""

    def __init__(self, codes: int | None = None) -> None:
        super().__init__()
        self.config = {"codes": codes}
        self.weight = torch.nn.Parameter(torch.ones(1))

    def encode(self, image):
        latent = torch.nn.functional.avg_pool2d(image, 8)[:, :2] * self.weight
        codes = self.config["codes"]
        return latent if codes is None else ((latent[:, 0] + 1) / 2 * codes).long().clamp(0, codes - 1)

    def decode(self, tokens):
        raise NotImplementedError

    def code(self, size, num_tokens=None):
        codes = self.config["codes"]
        return Code(16, (4, 4), 2 if codes is None else 1, codes)

    @property
    def last_layer(self):
        return self.weight


@pytest.fixture
def photos(tmp_path):
    """Noise of two classes."""
    random = np.random.default_rng(0)
    for split, count in PHOTOS.items():
        for i in range(count):
            path = tmp_path / "photos" / split / f"class{i % 2}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(random.integers(0, 256, (6, 5, 3), dtype=np.uint8))
            coarse.resize((40, 48), Image.Resampling.BICUBIC).save(path)
    return tmp_path / "photos"


@pytest.fixture
def save(tmp_path):
    """Writes a tokenizer as a training checkpoint has it."""

    def write(tokenizer, name="last.ckpt"):
        kind = type(tokenizer)
        described = {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": tokenizer.config}
        weights = {f"tokenizer.{key}": tensor for key, tensor in tokenizer.state_dict().items()}
        torch.save({"tokenizer": described, "state_dict": weights}, tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def tokenizer(make_module):
    tokenizer = make_module().tokenizer.eval()
    # Untrained, the geometry is that of the layout: then nothing would tell one from the other.
    with torch.no_grad():
        tokenizer.refine.to_offset.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(1))
    return tokenizer


@pytest.fixture
def grid(save, monkeypatch):
    """The checkpoint of a tokenizer that is none of Gaussians."""
    module = types.ModuleType("gpstoken.grid_of_a_test")
    module.Grid = Grid
    monkeypatch.setitem(sys.modules, "gpstoken.grid_of_a_test", module)
    monkeypatch.setattr(Grid, "__module__", "gpstoken.grid_of_a_test")
    return lambda **options: save(Grid(**options), "grid.ckpt")


@pytest.fixture
def arguments(photos, tmp_path, save, tokenizer):
    """Of the command: shards of eight samples in batches of two images."""
    path = save(tokenizer)

    def make(output, *more, checkpoint=path):
        data = {"root": photos, "image_size": 32, "batch_size": 2, "prepared": tmp_path / "prepared"}
        options = (part for name, value in data.items() for part in (f"--data.init_args.{name}", str(value)))
        sizes = ["--views", str(VIEWS), "--batch-size", "2", "--shard-size", "8"]
        return [
            "--tokenizer", str(checkpoint), "-o", str(output), *sizes,
            "--data", str(REPOSITORY / "experiments/_data/folder.yaml"), *options, *more,
        ]  # fmt: skip

    return make


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def whole(folder: Path, split="train") -> dict[str, np.ndarray]:
    """All arrays of a split, read without any code of ours."""
    files = [load_file(path) for path in sorted((folder / split).iterdir())]
    return {name: np.concatenate([file[name] for file in files]) for name in files[0]}


def test_tokens_are_those_of_the_tokenizer_and_the_data(arguments, tokenizer, photos, tmp_path):
    output = tmp_path / "cache"
    assert cache.main(arguments(output)) == 0
    data = Folder(str(photos), image_size=32, batch_size=2, prepared=str(tmp_path / "prepared"))
    cached = TokenCache(str(output), batch_size=4)
    train, val = cached.dataset("train"), cached.dataset("val")
    assert (len(train), len(val)) == (5 * VIEWS * 2, 3)
    for samples, mirrored in ((train, 2), (val, 1)):
        for index in range(len(samples)):
            view = index // mirrored
            image = data.dataset("train")[divmod(view, 5)] if samples is train else data.dataset("val")[view]
            pixels = image["image"].flip(-1) if mirrored == 2 and index % 2 else image["image"]
            with torch.no_grad():
                tokens, layout = tokenizer.encode(pixels[None]), tokenizer.layout(pixels[None])
            sample = samples[index]
            # The regions are equal. The network sums float32 in batches of four and of one: a sum of 100 numbers below
            # 1 is off by sqrt(100) 2^-24 = 6e-7 in another order, and a dozen such layers follow each other.
            assert torch.equal(sample["layout"], layout.to_tensor()[0])
            torch.testing.assert_close(sample["geometry"], tokens.gaussians.to_tensor()[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(sample["features"], tokens.features[0], rtol=1e-4, atol=1e-5)
            assert (sample["label"], sample["index"]) == (image["label"], index)
            assert not torch.allclose(sample["geometry"], sample["layout"], atol=1e-3)


def test_what_a_cache_says_of_itself(arguments, tokenizer, save, tmp_path):
    output = tmp_path / "cache"
    cache.main(arguments(output))
    record = json.loads((output / "cache.json").read_text())
    assert record["tokenizer"] == {
        "class_path": "gpstoken.tokenizer.GPSToken",
        "init_args": json.loads(json.dumps(tokenizer.config)),
        "sha256": tokenizer_hash(tokenizer),
        "path": str(tmp_path / "last.ckpt"),
    }
    files = [f"train/shard-0000{i}.safetensors" for i in range(3)]
    assert record["splits"] == {
        "train": {
            "samples": 20,
            "shards": [{"file": file, "samples": n} for file, n in zip(files, (8, 8, 4), strict=True)],
            "labels": {"0": 12, "1": 8},  # of five photos three are of the first class
        },
        "val": {
            "samples": 3,
            "shards": [{"file": "val/shard-00000.safetensors", "samples": 3}],
            "labels": {"0": 2, "1": 1},
        },
    }
    assert (record["format"], record["version"], record["views"], record["mirror"]) == ("gpstoken.cache", 2, 2, True)
    assert (record["num_classes"], record["data"]["class_path"]) == (2, "datamodules.Folder")
    assert record["data"]["init_args"]["image_size"] == 32
    assert {"commit", "versions", "machine"} <= record.keys()
    assert set(content(output)) == {"cache.json", *files, "val/shard-00000.safetensors"}
    with safe_open(output / files[0], framework="np") as file:
        assert json.loads(file.metadata()["gpstoken.cache"])["identity"] == record["identity"]


def test_statistics_are_those_of_numpy(arguments, tmp_path):
    cache.main(arguments(tmp_path / "cache"))
    statistics = json.loads((tmp_path / "cache" / "cache.json").read_text())["statistics"]
    arrays = {name: array.astype(np.float64) for name, array in whole(tmp_path / "cache").items()}
    arrays["residual"] = arrays["geometry"] - arrays["layout"]
    assert set(statistics) == {"geometry", "layout", "features", "residual"}
    for name, found in statistics.items():
        expected = arrays[name].std(axis=(0, 1))
        if name == "layout":  # an initial Gaussian has no correlation
            assert expected[2] == 0
            expected[2] = 1
        # Both in float64; the sums run in another order.
        np.testing.assert_allclose(found["mean"], arrays[name].mean(axis=(0, 1)), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found["std"], expected, rtol=1e-9)


def test_grid_latents(arguments, grid, photos, tmp_path):
    cache.main(arguments(tmp_path / "cache", "--no-mirror", checkpoint=grid()))
    arrays = whole(tmp_path / "cache")
    assert {name: array.shape for name, array in arrays.items()} == {
        "latent": (10, 2, 4, 4),
        "label": (10,),
        "index": (10,),
    }
    data = Folder(str(photos), image_size=32, batch_size=2)
    for index in range(10):
        pixels = data.dataset("train")[divmod(index, 5)]["image"][:2].numpy()
        means = pixels.reshape(2, 4, 8, 4, 8).mean(axis=(2, 4))
        # sums of 64 numbers of float32, off by sqrt(64) 2^-24 = 5e-7 on either side
        np.testing.assert_allclose(arrays["latent"][index], means, atol=1e-6)
    statistics = json.loads((tmp_path / "cache" / "cache.json").read_text())["statistics"]
    assert set(statistics) == {"latent"}
    latent = arrays["latent"].astype(np.float64)
    np.testing.assert_allclose(statistics["latent"]["mean"], latent.mean(axis=(0, 2, 3)), rtol=1e-9)
    np.testing.assert_allclose(statistics["latent"]["std"], latent.std(axis=(0, 2, 3)), rtol=1e-9)
    batch = next(iter(TokenCache(str(tmp_path / "cache"), batch_size=5).train_dataloader()))
    assert batch["latent"].shape == (5, 2, 4, 4)


def killed_in_its_second_shard(arguments):
    """`gpstoken cache`, whose process kills itself."""
    pack, calls = GPSToken.pack, []

    def pack_and_die(*both):
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return pack(*both)

    GPSToken.pack = pack_and_die
    return cache.main(arguments)


def test_killed_and_gone_on_with_gives_the_bytes_of_the_unbroken_call(arguments, tmp_path, monkeypatch, capsys):
    unbroken, killed = tmp_path / "unbroken" / "cache", tmp_path / "killed" / "cache"
    cache.main(arguments(unbroken))
    assert forked(partial(killed_in_its_second_shard, arguments(killed)), tmp_path / "log") == -signal.SIGKILL
    (parts,) = killed.parent.glob(".cache.*.parts")
    first = parts / "train" / "shard-00000.safetensors"
    assert [path for path in parts.rglob("*") if path.is_file()] == [first]
    written = first.stat().st_mtime_ns
    images = []
    pack = GPSToken.pack
    monkeypatch.setattr(GPSToken, "pack", lambda *both: images.append(len(both[1])) or pack(*both))
    cache.main(arguments(killed))
    assert sum(images) == 12 + 3  # all but the eight samples of the first shard
    assert "resuming after 8 of 20 samples of train" in capsys.readouterr().out
    assert content(killed) == content(unbroken)
    assert (killed / "train" / "shard-00000.safetensors").stat().st_mtime_ns == written
    assert list(killed.parent.iterdir()) == [killed]


def test_workers_batches_and_a_moved_checkpoint(arguments, tmp_path, capsys):
    cache.main(arguments(tmp_path / "cache"))
    cache.main(arguments(tmp_path / "other", "--data.init_args.num_workers", "2", "--batch-size", "3"))
    one, other = whole(tmp_path / "cache"), whole(tmp_path / "other")
    for name in one:
        # other batches round otherwise: see test_tokens_are_those_of_the_tokenizer_and_the_data
        np.testing.assert_allclose(one[name], other[name], rtol=1e-4, atol=1e-5)
    before = content(tmp_path / "cache")
    moved = shutil.copy(tmp_path / "last.ckpt", tmp_path / "moved.ckpt")
    capsys.readouterr()
    cache.main(arguments(tmp_path / "cache", checkpoint=moved))
    assert "already exists" in capsys.readouterr().out
    assert content(tmp_path / "cache") == before


def test_shards_of_another_cache_are_never_taken(arguments, save, make_module, tmp_path, capsys):
    output = tmp_path / "caches" / "cache"
    cache.main(arguments(output))
    first = content(output)
    other = make_module().tokenizer
    with torch.no_grad():
        other.refine.to_features.bias += 1
    path = save(other, "other.ckpt")
    # As if a killed call had left shards of the first tokenizer where those of the second belong.
    cache.main(arguments(tmp_path / "clean", checkpoint=path))
    identity = json.loads((tmp_path / "clean" / "cache.json").read_text())["identity"]
    parts = output.with_name(f".cache.{identity[:16]}.parts")
    shutil.copytree(output, parts)
    (parts / "val" / "shard-00000.safetensors").write_bytes(b"cut sh")
    cache.main(arguments(output, checkpoint=path))
    assert "replacing a cache" in capsys.readouterr().out
    assert content(output) == content(tmp_path / "clean")
    assert all(content(output)[name] != first[name] for name in first)
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize(
    "change",
    [["--views", "1"], ["--no-mirror"], ["--shard-size", "4"], ["--data.init_args.seed", "1"], ["--splits", "train"]],
)
def test_other_options_are_another_cache(arguments, tmp_path, change):
    cache.main(arguments(tmp_path / "cache"))
    cache.main(arguments(tmp_path / "other", *change))
    identities = [json.loads((tmp_path / name / "cache.json").read_text())["identity"] for name in ("cache", "other")]
    assert identities[0] != identities[1]


def test_a_damaged_cache_is_made_anew_and_a_folder_of_something_else_is_not(arguments, tmp_path):
    output = tmp_path / "cache"
    output.mkdir()  # empty
    cache.main(arguments(output))
    first = content(output)
    (output / "train" / "shard-00001.safetensors").unlink()
    cache.main(arguments(output))
    assert content(output) == first
    (output / "cache.json").unlink()
    with pytest.raises(ValueError, match="cache: holds train, val, not only files of this command"):
        cache.main(arguments(output))
    with pytest.raises(ValueError, match=r"last\.ckpt: is a file, expected a new folder"):
        cache.main(arguments(tmp_path / "last.ckpt"))


def test_regions_are_found_once_a_batch_and_tiles_are_kept(tokenizer, monkeypatch):
    image = torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1  # two tiles
    with torch.no_grad():
        tokens, layout = tokenizer.encode(image), tokenizer.layout(image)
        counted = []
        find = tokenizer_module.partition
        monkeypatch.setattr(tokenizer_module, "partition", lambda *all: counted.append(1) or find(*all))
        found = tokenizer.pack(image)
    assert counted == [1]
    assert torch.equal(found["layout"], layout.to_tensor()) and found["layout"].shape == (2, 16, 5)
    assert torch.equal(found["geometry"], tokens.gaussians.to_tensor())
    assert torch.equal(found["features"], tokens.features)
    back = tokenizer.unpack(found)
    assert torch.equal(back.features, tokens.features)
    assert torch.equal(back.gaussians.to_tensor(), tokens.gaussians.to_tensor())  # they are valid as they are


def test_data_without_validation(arguments, photos, tmp_path):
    shutil.rmtree(photos / "val")
    cache.main(arguments(tmp_path / "cache"))
    record = json.loads((tmp_path / "cache" / "cache.json").read_text())
    assert record["splits"]["val"] == {"samples": 0, "shards": [], "labels": {}}
    assert TokenCache(str(tmp_path / "cache"), batch_size=4).val_dataloader() == []


def test_tokens_that_are_no_numbers(arguments, save, make_module, tmp_path):
    broken = make_module().tokenizer
    with torch.no_grad():
        broken.refine.to_features.bias[1] = torch.nan
    with pytest.raises(ValueError, match=r"tensor 'refine\.to_features\.bias' is not finite"):
        cache.main(arguments(tmp_path / "cache", checkpoint=save(broken)))
    assert not (tmp_path / "cache").exists()


def test_codes_are_whole_numbers_without_statistics(arguments, grid, tmp_path):
    path = grid(codes=3)
    cache.main(arguments(tmp_path / "cache", "--no-mirror", checkpoint=path))
    record = json.loads((tmp_path / "cache" / "cache.json").read_text())
    assert record["code"] == {"tokens": 16, "shape": [4, 4], "channels": 1, "codebook_size": 3}
    assert record["statistics"] == {}
    arrays = whole(tmp_path / "cache")
    assert arrays["codes"].dtype == np.int32 and arrays["codes"].shape == (10, 4, 4)
    tokenizer = load_tokenizer(path)
    samples = TokenCache(str(tmp_path / "cache"), batch_size=5).dataset("val")
    data = Folder(str(tmp_path / "photos"), image_size=32, batch_size=2, prepared=str(tmp_path / "prepared"))
    for index in range(3):
        (expected,) = tokenizer.encode(data.dataset("val")[index]["image"][None])
        assert samples[index]["codes"].dtype == torch.long and torch.equal(samples[index]["codes"], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--views", "0"], "--views: expected at least 1, got 0"),
        (["--shard-size", "7"], "--shard-size: expected an even number with mirror images, got 7"),
        (["--splits", "val"], "--splits: must include train"),
        (["--nonsense", "2"], "unrecognized arguments: --nonsense"),
        (["--data.init_args.nonsense", "2"], "nonsense"),
    ],
)
def test_wrong_options(arguments, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        cache.main(arguments(tmp_path / "cache", *options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "nonsense"], "--device nonsense: "),
        (["--data.init_args.image_size", "0"], "image_size: expected a whole number from 1 to 65536, got 0"),
        (["--data.init_args.root", "absent"], "Folder: found nothing at absent"),
    ],
)
def test_what_cannot_be_met_is_one_line(arguments, tmp_path, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        cache.main(arguments(tmp_path / "cache", *options))
    assert "\n" not in str(caught.value)


def test_no_data_and_no_tokenizer(tmp_path):
    with pytest.raises(ValueError, match=r"--data FILE\.yaml is missing"):
        cache.main(["--tokenizer", "none.ckpt", "-o", str(tmp_path / "cache")])
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt: no such tokenizer checkpoint"):
        cache.main(
            [
                "--tokenizer",
                "none.ckpt",
                "-o",
                str(tmp_path / "cache"),
                "--data",
                "datamodules.Folder",
                "--data.root",
                "x",
            ]
        )


def test_published_statistics_are_those_of_the_cache(arguments, grid, tmp_path, capsys):
    output, checkpoint = tmp_path / "cache", grid()
    assert cache.main(arguments(output, checkpoint=checkpoint)) == 0
    measured = json.loads((output / "cache.json").read_text())
    assert measured["statistics"].keys() == {"latent"} and "not as measured" not in capsys.readouterr().out
    published = {"mean": [0.5, -0.25], "std": [2.0, 4.0]}
    origin = tmp_path / "origin.json"
    origin.write_text(json.dumps({"commit": "published", "statistics": published}))
    assert cache.main(arguments(output, checkpoint=checkpoint)) == 0
    assert f"{output}: mean and deviation of the channels as published with the tokenizer" in capsys.readouterr().out
    record = TokenCache(str(output)).record
    assert record["statistics"] == {"latent": published} != measured["statistics"]
    assert record["identity"] != measured["identity"]
    for statistics, message in (
        ({"mean": [0.0], "std": [1.0]}, "its origin has statistics of 1 channels, its tokens have 2"),
        ({"mean": [0.0, 0.0], "std": [1.0, 0.0]}, "its origin is damaged (statistics.std: expected "),
        ({"mean": [0.0, 0.0]}, "its origin is damaged ('std')"),
    ):
        origin.write_text(json.dumps({"statistics": statistics}))
        with pytest.raises(ValueError) as caught:
            cache.main(arguments(output, checkpoint=checkpoint))
        assert str(caught.value).startswith(f"{checkpoint}: {message}") and "\n" not in str(caught.value)


class Brightness(torch.nn.Module):
    """Stands for a network: the mean of each quarter of an image, and its square."""

    name, side = "brightness", 2

    def __init__(self, name, side):
        super().__init__()
        assert (name, side) == ("dinov2", 2)
        self.path = Path(__file__)

    def forward(self, image):
        means = torch.nn.functional.adaptive_avg_pool2d(image.mean(1), 2).flatten(1)
        return torch.stack([means, means**2], dim=-1)


def test_features_of_the_images_lie_beside_their_tokens(arguments, grid, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "PatchFeatures", Brightness)
    plain, path = tmp_path / "plain", tmp_path / "cache"
    cache.main(arguments(plain, checkpoint=grid()))
    cache.main(arguments(path, "--features", "dinov2", "2", checkpoint=grid()))
    tensors, without = whole(path), whole(plain)
    made = tensors.pop("alignment")
    assert made.shape == (20, 4, 2) and made.dtype == np.float16
    for name, array in without.items():
        assert np.array_equal(tensors[name], array)
    # Every second sample is a mirror image: its features are those of the mirrored places.
    assert np.array_equal(made[0, [0, 1, 2, 3]], made[1, [1, 0, 3, 2]])
    assert np.abs(made[:, :, 0].astype(np.float32) ** 2 - made[:, :, 1]).max() < 2e-3  # rounded to half precision
    record = json.loads((path / "cache.json").read_text())
    assert record["alignment"] == {"network": "brightness", "side": 2, "file": "test_cache.py", "sha256": ANY}
    assert list(record["statistics"]) == ["latent"]
    assert record["identity"] != json.loads((plain / "cache.json").read_text())["identity"]
    batch = next(iter(TokenCache(str(path), batch_size=4).train_dataloader()))
    assert batch["alignment"].shape == (4, 4, 2) and batch["alignment"].dtype == torch.half


def test_features_of_an_impossible_side(arguments, tmp_path):
    with pytest.raises(ValueError, match="--features: expected at least 1, got 0"):
        cache.main(arguments(tmp_path / "cache", "--features", "dinov2", "0"))
