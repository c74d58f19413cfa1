"""Weights of JAX in msgpack: files typed by hand, files of a writer after the specification, and what is refused."""

import numpy as np
import pytest
import torch

from gpstoken.files.flax import is_flax, read_flax
from tests.files.packing import extension, packed

# {"a": {"b": [1.5, -2] of float32, "step": 300}}, by hand: a map of 1; "a"; a map of 2; "b"; an extension of 20 bytes
# of type 1: a list of 3: a list of 1: 2; a text of 7; 8 bytes in little-endian order; "step"; a number of 16 bits.
BY_HAND = (
    b"\x81\xa1a\x82\xa1b\xc7\x15\x01\x93\x91\x02\xa7float32\xc4\x08\x00\x00\xc0\x3f\x00\x00\x00\xc0\xa4step\xcd\x01\x2c"
)


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else packed(content))
    return path


def test_a_file_typed_by_hand(tmp_path):
    found = read_flax(written(tmp_path / "checkpoint", BY_HAND))
    assert list(found) == ["a.b"] and found["a.b"].dtype == torch.float32 and found["a.b"].tolist() == [1.5, -2.0]
    assert (
        packed({"a": {"b": np.array([1.5, -2], np.float32), "step": 300}}) == BY_HAND
    )  # the writer of the other tests


@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8"])
def test_arrays_of_every_size(tmp_path, kind):
    chance = np.random.default_rng(0)
    # Of 1, 2, 4, 8 and 16 bytes and with lengths of 8, 16 and 32 bits; at odd places, after names of other lengths.
    shapes = [(), (1,), (2,), (3, 1), (5, 7), (300, 2), (40000,), (0, 3)]
    arrays = {f"{'x' * number}{shape}": chance.normal(0, 50, shape).astype(kind) for number, shape in enumerate(shapes)}
    found = read_flax(written(tmp_path / "checkpoint", arrays))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == getattr(torch, kind) and found[name].tolist() == (
            array.tolist() if array.size else []
        )
    found[f"xxxx{(5, 7)}"].zero_()  # its memory is its own


def test_bfloat16(tmp_path):
    values = torch.tensor([1.0, -0.15625, 3.0e38]).bfloat16()
    content = extension(1, packed([[3], "bfloat16", values.view(torch.int16).numpy().tobytes()]))
    found = read_flax(written(tmp_path / "checkpoint", b"\x81" + packed("a") + content))
    assert torch.equal(found["a"], values)


def test_what_lies_around_and_beside_the_weights(tmp_path):
    weights = {"Embed_0": {"embedding": np.ones((2, 3), np.float32)}}
    beside = {"flags": [True, False, None, -1, -40, 2**40, 1.5, "x" * 40, "x" * 300, b"x" * 70000, list(range(20))]}
    training = {"step": 5, "optimizer": {"state": {"Embed_0": {"m": np.zeros(2, np.float32)}}, "target": weights}}
    for content in (weights, {"params": weights}, training | beside, {"target": {"params": weights}}):
        found = read_flax(written(tmp_path / "checkpoint", content))
        assert list(found) == ["Embed_0.embedding"] and found["Embed_0.embedding"].shape == (2, 3)
    many = {f"layer_{number}": {"bias": np.full(2, number, np.float32)} for number in range(70)}
    assert [tensor[0].item() for tensor in read_flax(written(tmp_path / "checkpoint", many)).values()] == [*range(70)]


def test_what_no_torch_file_begins_with(tmp_path):
    for name, content, expected in (
        ("checkpoint", BY_HAND, True),
        ("large", {f"{number}": 1 for number in range(16)}, True),
        ("empty", b"", False),
        ("pickle", b"\x80\x02}q\x00.", False),
        ("zip", b"PK\x03\x04", False),
    ):
        assert is_flax(written(tmp_path / name, content)) == expected


ONE = packed([[2], "float32", b"\0" * 8])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable msgpack file (it is cut short)"),
        (BY_HAND[:-1], "not a readable msgpack file (it is cut short)"),
        (BY_HAND + b"\0", "not a readable msgpack file (it goes on after its end)"),
        (b"\x81\xa1a\xc1", "not a readable msgpack file (a value that begins with 0xc1)"),
        (b"\x81\x01\x02", "not a readable msgpack file (a name that is a int)"),
        (b"\xdf\xff\xff\xff\xff\xa1a", "not a readable msgpack file (it is cut short)"),
        (b"\x81\xa1a" + b"\x91" * 100, "not a readable msgpack file (too deep)"),
        (
            b"\x81\xa1a\xdd\x00\x0f\x42\x40" + b"\x00" * 1_000_000,
            "not a readable msgpack file (more than 300,000 values)",
        ),
        (b"\x81\xa1a" + extension(2, ONE), "not a readable msgpack file (an extension of type 2)"),
        (b"\x81\xa1a" + extension(1, ONE[:-1]), "not a readable msgpack file (it is cut short)"),
        (
            b"\x81\xa1a" + extension(1, b"\x05"),
            "not a readable msgpack file (an array without shape, type and numbers)",
        ),
        (
            b"\x81\xa1a" + extension(1, packed([[2], "object", b"\0" * 8])),
            "not a readable msgpack file (an array of object)",
        ),
        (
            b"\x81\xa1a" + extension(1, packed([[-2], "int8", b"\0\0"])),
            "not a readable msgpack file (an array of a shape that is none)",
        ),
        (
            b"\x81\xa1a" + extension(1, packed([[3], "float32", b"\0" * 8])),
            "not a readable msgpack file (an array of 8 bytes, which are not [3] numbers of float32)",
        ),
        (packed({"a": 1}), "a msgpack file without arrays"),
        (packed([1, 2]), "a msgpack file without arrays"),
    ],
)
def test_what_is_refused_in_one_line(tmp_path, content, message):
    path = written(tmp_path / "checkpoint", content)
    with pytest.raises(ValueError) as caught:
        read_flax(path)
    assert str(caught.value) == f"{path}: {message}"
