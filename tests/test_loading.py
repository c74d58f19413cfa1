"""Tokenizers of any class out of checkpoints, and the hash that ties a generator to one of them."""

import hashlib
import os
import struct
import sys
import types

import pytest
import torch
from torch import nn

from gpstoken import GPSToken
from gpstoken.base import Code, Tokenizer
from gpstoken.loading import load_tokenizer, tokenizer_hash

NARROW = {
    "num_tokens": 8, "feature_channels": 4, "image_size": 32, "grid_size": 8, "width": 16, "depth": 1, "heads": 2,
    "roi_size": 2, "stem_channels": 4, "decoder_channels": 4, "decoder_blocks": 1, "norm_groups": 2,
}  # fmt: skip


class Toy(Tokenizer):
    """Scales images by its first weight."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        if width > 9:
            raise ValueError("width: too wide")
        self.config = {"width": width}
        self.weight = nn.Parameter(torch.arange(1.0, width + 1))

    def encode(self, image):
        return image * self.weight[0]

    def decode(self, tokens):
        return tokens / self.weight[0]

    def code(self, size, num_tokens=None):
        return Code(1, (1,), 3 * size[0] * size[1], None)

    @property
    def last_layer(self):
        return self.weight


@pytest.fixture(autouse=True)
def toy_module(monkeypatch):
    module = types.ModuleType("gpstoken.toy")
    module.Toy = Toy
    monkeypatch.setitem(sys.modules, "gpstoken.toy", module)
    monkeypatch.setattr(Toy, "__module__", "gpstoken.toy")


@pytest.fixture
def checkpoint(tmp_path):
    """Writes a checkpoint of a tokenizer as Lightning does with TokenizerModule; `changes` go into its description."""

    def write(tokenizer, **changes):
        kind = type(tokenizer)
        described = {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": tokenizer.config} | changes
        weights = {f"tokenizer.{name}": tensor for name, tensor in tokenizer.state_dict().items()}
        raw = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
        content = {"tokenizer": described, "state_dict": weights, "current_model_state": raw, "global_step": 3}
        torch.save(content, tmp_path / "last.ckpt")
        return tmp_path / "last.ckpt"

    return write


def test_any_class_comes_back_with_the_averaged_weights(checkpoint):
    torch.manual_seed(0)
    for tokenizer in (GPSToken(**NARROW), Toy(3)):
        loaded = load_tokenizer(checkpoint(tokenizer))
        assert type(loaded) is type(tokenizer) and not loaded.training
        assert loaded.config == tokenizer.config
        for name, tensor in tokenizer.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], tensor)
        assert tokenizer_hash(loaded) == tokenizer_hash(tokenizer)


def test_exported_name_of_a_class(checkpoint):
    tokenizer = GPSToken(**NARROW)
    assert isinstance(load_tokenizer(checkpoint(tokenizer, class_path="gpstoken.GPSToken")), GPSToken)


@pytest.mark.parametrize(
    ("class_path", "message"),
    [
        ("os.system", "outside this package"),
        ("torch.nn.Linear", "outside this package"),
        ("gpstokens.Toy", "outside this package"),
        ("Toy", "outside this package"),
        (5, "outside this package"),
        ("gpstoken...Toy", "outside this package"),
        ("gpstoken.nowhere.Toy", "cannot be imported"),
        ("gpstoken.toy.None", "not a tokenizer"),
        ("gpstoken.tokenizer.Decoder", "not a tokenizer"),
        ("gpstoken.tokenizer.torch", "not a tokenizer"),
        ("gpstoken.base.Tokenizer", "abstract"),
    ],
)
def test_classes_that_are_no_tokenizer_of_ours(checkpoint, class_path, message):
    path = checkpoint(Toy(), class_path=class_path)
    with pytest.raises(ValueError, match=message) as caught:
        load_tokenizer(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init_args": {"width": 3}}, r"tensor 'weight' has shape \(2,\), expected \(3,\)"),
        ({"init_args": {"depth": 3}}, "unexpected keyword argument 'depth'"),
        ({"init_args": {"width": 10}}, "too wide"),
        ({"init_args": None}, "must be a mapping"),
    ],
)
def test_descriptions_that_do_not_fit(checkpoint, changes, message):
    with pytest.raises(ValueError, match=message):
        load_tokenizer(checkpoint(Toy(), **changes))


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_files_that_are_no_checkpoints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt: no such tokenizer checkpoint"):
        load_tokenizer(tmp_path / "none.ckpt")
    torch.save({"tokenizer": Harm(), "state_dict": {}}, tmp_path / "harm.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    for name, message in (("harm", "not a readable checkpoint"), ("other", "not a tokenizer checkpoint")):
        with pytest.raises(ValueError, match=message):
            load_tokenizer(tmp_path / f"{name}.ckpt")
    assert not (tmp_path / "harm").exists()


def test_hash_is_that_of_these_bytes():
    # Written out, because caches and generators of old keep it: class and arguments, then each tensor by name.
    expected = hashlib.sha256(b'["gpstoken.toy.Toy", {"width": 2}]' + b'["weight", "torch.float32", [2]]')
    expected.update(struct.pack("<2f", 1.0, 2.0))
    assert tokenizer_hash(Toy()) == expected.hexdigest()
    assert tokenizer_hash(Toy().eval().requires_grad_(False)) == expected.hexdigest()


def test_hash_tells_tokenizers_apart():
    def other(change):
        tokenizer = Toy()
        change(tokenizer)
        return tokenizer_hash(tokenizer)

    def nudge(tokenizer):  # the last bit of one weight
        tokenizer.weight.data[1] = torch.nextafter(torch.tensor(2.0), torch.tensor(3.0))

    hashes = [
        tokenizer_hash(Toy()),
        other(nudge),
        other(lambda tokenizer: tokenizer.double()),
        other(lambda tokenizer: tokenizer.bfloat16()),
        other(lambda tokenizer: tokenizer.config.update(width=3)),
        other(lambda tokenizer: tokenizer.register_buffer("count", torch.tensor(0))),
        other(lambda tokenizer: tokenizer.register_buffer("total", torch.tensor(0))),
        other(lambda tokenizer: tokenizer.register_buffer("total", torch.zeros(1, 0))),
        tokenizer_hash(type("Toy", (Toy,), {"__qualname__": "Other"})()),
    ]
    assert len(set(hashes)) == len(hashes)


def test_hash_does_not_see_how_a_tensor_lies_in_memory():
    first, second = GPSToken(**NARROW), GPSToken(**NARROW)
    second.load_state_dict(first.state_dict())
    second.to(memory_format=torch.channels_last)
    assert tokenizer_hash(first) == tokenizer_hash(second)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_hash_does_not_depend_on_the_device():
    tokenizer = GPSToken(**NARROW)
    assert tokenizer_hash(tokenizer) == tokenizer_hash(tokenizer.cuda())
