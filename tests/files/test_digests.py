"""A flipped bit is noticed, in every kind of file that we write."""

import random
import resource

import pytest
import torch

from gpstoken import Gaussians, GPSToken, Tokens
from gpstoken.files.checkpoints import read_plain, write_plain
from gpstoken.files.digests import DIGEST, digest

FLIPS = 160


def checkpoint():
    torch.manual_seed(0)
    weights = {"a.weight": torch.randn(20, 30), "a.bias": torch.randn(20).bfloat16(), "steps": torch.tensor(7)}
    return {
        "state_dict": weights,
        "tokenizer": {"class_path": "x.Y", "init_args": {"depth": 3, "rule": None}},
        "n": 1.5,
    }


def tokens():
    torch.manual_seed(0)
    geometry = Gaussians(torch.rand(1, 16, 2), torch.rand(1, 16, 2) + 0.1, torch.rand(1, 16) - 0.5)
    return Tokens(geometry, torch.randn(1, 16, 8), (64, 64))


def flips(path, read):
    """Reads the file with one bit flipped, bit after bit: what came of each."""
    whole, chance = path.read_bytes(), random.Random(0)
    for _ in range(FLIPS):
        place, bit = chance.randrange(len(whole)), chance.randrange(8)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        try:
            yield place, read(path)
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error) and "weights_only" not in str(error)
            yield place, None
    path.write_bytes(whole)


def test_no_flipped_bit_of_a_checkpoint_gives_another_one(tmp_path, capsys):
    path = tmp_path / "last.ckpt"
    write_plain(path, checkpoint())
    expected, refused = digest(checkpoint()), 0
    assert digest(read_plain(path)) == expected
    for place, found in flips(path, read_plain):
        # What is read all the same is what was written: the bit lay in what the archive says twice, or in padding; or
        # the digest's own key was hit, and that is said.
        refused += found is None
        if found is not None and digest(found) != expected:
            assert "has no digest" in capsys.readouterr().err, place
    assert refused > FLIPS / 3


def test_no_flipped_bit_of_a_token_file_gives_other_tokens(tmp_path, capsys):
    path = tmp_path / "photo.safetensors"
    tokens().save(path)
    assert torch.equal(Tokens.load(path).to_tensor(), tokens().to_tensor())
    for place, found in flips(path, Tokens.load):
        if found is not None:
            same = torch.equal(found.to_tensor(), tokens().to_tensor()) and found.size == (64, 64)
            assert same or "has no digest" in capsys.readouterr().err, place


def test_a_file_without_a_digest_is_read_and_said_once(tmp_path, capsys):
    path = tmp_path / "elsewhere.ckpt"
    torch.save(checkpoint(), path)
    for _ in range(2):
        assert digest(read_plain(path)) == digest(checkpoint())
    said = f"gpstoken: {path}: has no digest of its content, so damage cannot be detected\n"
    assert capsys.readouterr().err == said


def test_the_digest_is_of_names_types_shapes_and_bytes():
    known = {
        digest({"a": value}) for value in (torch.zeros(4), torch.zeros(2, 2), torch.zeros(4).half(), 0, 0.0, "0", None)
    }
    assert len(known | {digest({"b": torch.zeros(4)}), digest([torch.zeros(4)]), digest({})}) == 10
    # By hand: an opened brace with the number of entries, the key, then type and shape, then the bytes.
    import hashlib

    by_hand = hashlib.sha256(b"{1'a'('torch.int16', (2,))" + bytes([1, 0, 2, 0])).hexdigest()
    assert digest({"a": torch.tensor([1, 2], dtype=torch.int16)}) == by_hand
    assert DIGEST == "gpstoken_sha256"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"<html>404", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a pointer of Git LFS; run `git lfs pull`"),
        (b"PK\x03\x04 and no more", "cut short or damaged"),
        (b"\x00\x01\x02", "not a known format"),
        (b"\x80\x02cos\nsystem\nq\x00X\x02\x00\x00\x00idq\x01\x85q\x02Rq\x03.", "it names os.system, but only tensors"),
    ],
)
def test_what_a_file_is_that_is_no_checkpoint(tmp_path, content, said):
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.ckpt: not a readable checkpoint") as refused:
        read_plain(path)
    assert said in str(refused.value) and "weights_only" not in str(refused.value)


def test_a_name_in_a_checkpoint_is_told_and_not_run(tmp_path):
    import os

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": Hostile()}, path)
    with pytest.raises(ValueError, match=r"it names posix\.mkdir, but only tensors and plain data are read"):
        read_plain(path)
    assert not (tmp_path / "made").exists()
    with pytest.raises(ValueError, match="a folder; give the file in it"):
        read_plain(tmp_path)


GEOMETRY = {"mu": torch.zeros(1, 2, 2), "sigma": torch.ones(1, 2, 2), "rho": torch.zeros(1, 2)}


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("mu", torch.nan, "mu is not finite in 4 of 4"),
        ("mu", 1e6, "mu must lie between -100 and 100, got 1e"),
        ("sigma", 0.0, "sigma must lie between 0 and inf, got 0"),
        ("sigma", -1.0, "sigma must lie between 0 and inf, got -1"),
        ("rho", 1.0, "rho must lie between -1 and 1, got 1"),
        ("features", torch.inf, "features is not finite in 6 of 6"),
    ],
)
def test_tokens_of_which_no_image_can_be_made(tmp_path, part, value, said):
    from safetensors.torch import save_file

    features = torch.zeros(1, 2, 3)
    parts = (
        GEOMETRY | {"features": features} | {part: torch.full_like((GEOMETRY | {"features": features})[part], value)}
    )
    made = Tokens(Gaussians(parts["mu"], parts["sigma"], parts["rho"]), parts["features"], (64, 64))
    with pytest.raises(ValueError, match=f"tokens: {said}"):
        made.save(tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())
    tensors = {"geometry": made.gaussians.to_tensor(), "features": made.features}
    save_file(tensors, tmp_path / "x.safetensors", {"format": "gpstoken.tokens", "version": "1"})
    with pytest.raises(ValueError, match=rf"x\.safetensors: tokens: {said}"):
        Tokens.load(tmp_path / "x.safetensors")


def test_whole_numbers_and_nothing_are_no_tokens():
    whole = Tokens(Gaussians(*(part.long() for part in GEOMETRY.values())), torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match=r"tokens: mu must be of a floating type, got torch\.int64"):
        whole.check()
    with pytest.raises(ValueError, match="tokens: expected at least one token with one feature"):
        Tokens(Gaussians(*GEOMETRY.values()), torch.zeros(1, 2, 0)).check()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 10**9}, "last.ckpt: Storage size calculation overflowed"),
        ({"width": 10**5}, "last.ckpt: tensor 'refine."),
        ({"depth": 10**5}, "depth is 100000, but the file has"),
        ({"decoder_multipliers": [1] * 10**6}, "decoder_multipliers is"),
        ({"feature_channels": "many"}, "last.ckpt: "),
        ([1, 2], "the arguments of GPSToken must be a mapping, got a list"),
    ],
)
def test_a_small_file_takes_little_time_and_memory_whatever_it_says(tmp_path, narrow_generator, changes, said):
    content = read_plain(narrow_generator["tokenizer"])
    described = content["tokenizer"]
    described["init_args"] = described["init_args"] | changes if isinstance(changes, dict) else changes
    path = tmp_path / "last.ckpt"
    write_plain(path, content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="last") as refused:
        GPSToken.from_checkpoint(path)
    assert said in str(refused.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # KiB


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_where_they_are_read(tmp_path, narrow_generator, value):
    content = read_plain(narrow_generator["tokenizer"])
    name = next(iter(content["state_dict"]))
    content["state_dict"][name].flatten()[0] = value
    write_plain(tmp_path / "last.ckpt", content)
    with pytest.raises(ValueError, match=rf"last\.ckpt: tensor '{name.removeprefix('tokenizer.')}' is not finite"):
        GPSToken.from_checkpoint(tmp_path / "last.ckpt")
