"""A small whole file of each format, which mutations begin with."""

import io
import json
import pickle
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from gpstoken import Gaussians, GPSToken, Tokens
from gpstoken.files.digests import DIGEST, digest
from gpstoken.files.weights import write_weights
from gpstoken.generators.loading import AVERAGED, describe
from gpstoken.generators.two_stage import Layout
from gpstoken.loading import class_path_of
from gpstoken.sit import SiT
from tests.files.packing import packed

IDENTITY = "0123"
CACHE = {
    "format": "gpstoken.cache", "version": 2, "identity": IDENTITY, "num_classes": 3,
    "tokenizer": {"class_path": "gpstoken.tokenizer.GPSToken", "init_args": {}, "sha256": "00", "path": "last.ckpt"},
    "code": {"tokens": 3, "shape": [3], "channels": 7, "codebook_size": None},
    "statistics": {"layout": {"mean": [0.0] * 5, "std": [1.0] * 5}, "features": {"mean": [0.0, 0.5], "std": [1.0, 2]}},
}  # fmt: skip
CONFIG = {
    "seed_everything": 0, "trainer": {"max_steps": 4, "precision": "32-true", "callbacks": [{"class_path": "a.B"}]},
    "model": {"class_path": "gpstoken.training.TokenizerModule", "init_args": {
        "stage": "texture", "tokenizer": {"class_path": "gpstoken.GPSToken", "init_args": {"num_tokens": 8}},
    }},
    "data": {"class_path": "datamodules.Folder", "init_args": {"image_size": 32, "batch_size": 4, "root": "photos"}},
    "params": {"means": [0.0, 0.5], "stds": [1.0, 2.5]},
}  # fmt: skip


def write_cache(root: Path, **changes: Any) -> Path:
    """A token cache of two shards; `changes` are of its cache.json."""
    for name, content in cache_files(**changes).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def cache_files(**changes: Any) -> dict[str, bytes]:
    """The files of a token cache by their names."""
    splits, files = {}, {}
    for split, count in (("train", 4), ("val", 2)):
        name = f"{split}/shard-00000.safetensors"
        index = torch.arange(count)
        numbers = {"geometry": torch.ones(count, 3, 5), "layout": torch.ones(count, 3, 5)}
        content = {**numbers, "features": torch.ones(count, 3, 2), "label": index % 3, "index": index}
        described = {"identity": IDENTITY, "samples": count, DIGEST: digest(content)}
        files[name] = save(content, {"gpstoken.cache": json.dumps(described)})
        splits[split] = {"samples": count, "shards": [{"file": name, "samples": count}]}
    return {"cache.json": json.dumps(CACHE | {"splits": splits} | changes).encode(), **files}


@cache
def token_file() -> bytes:
    """The tokens of an image of 64 x 60 pixels, padded."""
    geometry = Gaussians.from_tensor(torch.full((1, 4, 5), 0.5))
    tokens = Tokens(geometry, torch.linspace(-1, 1, 16).view(1, 4, 4), (64, 60), (64, 64))
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        tokens.save(file.name)
        return Path(file.name).read_bytes()


@cache
def weights_file() -> bytes:
    """What `gpstoken export` writes of that tokenizer."""
    tokenizer = small_tokenizer()
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        write_weights(file.name, class_path_of(tokenizer), tokenizer.config, tokenizer.state_dict(), {"seed": 0})
        return Path(file.name).read_bytes()


def small_tokenizer() -> GPSToken:
    """A tokenizer of a few thousand weights."""
    torch.manual_seed(0)
    return GPSToken(
        4, image_size=32, grid_size=8, width=8, depth=1, stem_channels=4, decoder_channels=4, norm_groups=2,
        feature_channels=4, heads=1, roi_size=1, decoder_blocks=1,
    )  # fmt: skip


@cache
def checkpoint() -> dict[str, Any]:
    """What the checkpoint of a tokenizer's run holds."""
    tokenizer = small_tokenizer()
    described = {"class_path": class_path_of(tokenizer), "init_args": tokenizer.config}
    weights = {f"tokenizer.{name}": tensor for name, tensor in tokenizer.state_dict().items()}
    return {"tokenizer": described, "state_dict": weights, "global_step": 3}


@cache
def stage_checkpoint() -> dict[str, Any]:
    """What the checkpoint of a generator's layout stage holds."""
    torch.manual_seed(0)
    generator = Layout(SiT(channels=5, shape=(4,), width=8, depth=1, heads=1, num_classes=3))
    generator.prepare(CACHE)
    weights = {f"{AVERAGED}{name}": tensor for name, tensor in generator.state_dict().items()}
    return {"generator": describe(generator, CACHE["tokenizer"], 4), "state_dict": weights, "global_step": 3}


@cache
def plain_checkpoint() -> dict[str, Any]:
    """A checkpoint with little in it."""
    weights = {"tokenizer.a": torch.ones(2, 3), "tokenizer.b": torch.ones(3).bfloat16(), "c": torch.tensor(7)}
    return {
        "tokenizer": {"class_path": "gpstoken.tokenizer.GPSToken", "init_args": {"depth": 1}},
        "state_dict": weights,
    }


def saved(content: Any) -> bytes:
    """As torch writes it."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def statistics() -> dict[str, np.ndarray]:
    """Statistics of a reference set, of few features."""
    square = {"mu": np.zeros(3), "sigma": np.eye(3), "mu_s": np.ones(2), "sigma_s": np.eye(2)}
    return {**square, "count": np.array(50)}


def images() -> dict[str, np.ndarray]:
    """Images with labels."""
    return {"arr_0": np.zeros((2, 4, 4, 3), np.uint8), "arr_1": np.array([0, 1])}


@cache
def picture(form: str) -> bytes:
    """A picture of 12 x 9 pixels."""
    file = io.BytesIO()
    Image.fromarray(np.arange(12 * 9 * 3, dtype=np.uint8).reshape(9, 12, 3)).save(file, form)
    return file.getvalue()


@cache
def tar() -> bytes:
    """A shard of WebDataset's form, with two pictures."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in (("a.png", picture("PNG")), ("a.cls", b"1"), ("b.png", picture("PNG")), ("b.cls", b"2")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


@cache
def layouts() -> bytes:
    """The pickle of layouts that the paper's generator starts from."""
    return pickle.dumps({label: np.full((2, 3, 5), 0.3, np.float32) for label in range(2)})


@cache
def flax_file() -> bytes:
    """Weights of JAX within the state of a training."""
    norm = {"scale": np.ones(3, np.float32), "bias": np.zeros((2, 3), np.float32)}
    weights = {f"Layer_{number}": norm for number in range(2)}
    return packed({"step": 300, "optimizer": {"target": weights, "state": [1.5, True, None, "x" * 40]}})
