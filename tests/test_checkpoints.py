"""Files in and out: token files, released weights, training checkpoints."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gpstoken import GPSToken, Tokens

RELEASED = Path(__file__).parent / "golden" / "tokenizer_tiny_weights_fp16.safetensors"
TINY = {
    "num_tokens": 32, "feature_channels": 8, "grid_size": 16, "width": 64, "depth": 2, "decoder_channels": 32,
    "decoder_multipliers": (1, 2, 2), "decoder_blocks": 2,
}  # fmt: skip
NARROW = {
    "num_tokens": 8, "feature_channels": 4, "image_size": 64, "grid_size": 16, "width": 16, "depth": 1, "heads": 2,
    "roi_size": 2, "stem_channels": 4, "decoder_channels": 4, "decoder_blocks": 1, "norm_groups": 2,
}  # fmt: skip


def some_tokens(size=None, dtype=torch.float32):
    tensor = torch.rand(2, 63, 9, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return Tokens.from_tensor(tensor, size)


def spoil(path, how):
    """Leaves something unusable at `path`, of which it may be a copy."""
    if how == "missing":
        path.unlink(missing_ok=True)
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "garbage":
        path.write_bytes(bytes(range(256)) * 40)
    elif how == "html":
        path.write_text("<!DOCTYPE html><html>404</html>")
    else:
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * how)])


SPOILT = ["missing", "empty", "garbage", "html", 0.001, 0.5, 0.999]


# Token files


@pytest.mark.parametrize("size", [None, (256, 512)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tokens_round_trip(tmp_path, size, dtype):
    tokens = some_tokens(size, dtype)
    tokens.save(tmp_path / "photo.safetensors")
    again = Tokens.load(str(tmp_path / "photo.safetensors"))
    assert torch.equal(again.to_tensor(), tokens.to_tensor()) and again.to_tensor().dtype == dtype
    assert again.size == size
    assert [path.name for path in tmp_path.iterdir()] == ["photo.safetensors"]


def test_tokens_that_carry_a_gradient_are_saved(tmp_path):
    tensor = torch.rand(1, 3, 6, requires_grad=True)
    Tokens.from_tensor(tensor.transpose(0, 1).transpose(0, 1)).save(tmp_path / "a.safetensors")
    assert torch.equal(Tokens.load(tmp_path / "a.safetensors").to_tensor(), tensor)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "photo.safetensors"
    some_tokens().save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr("gpstoken.files.writing.os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        some_tokens((64, 64)).save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("how", SPOILT)
def test_spoilt_token_files_are_refused(tmp_path, how):
    path = tmp_path / "photo.safetensors"
    some_tokens().save(path)
    spoil(path, how)
    with pytest.raises(ValueError, match=r"photo\.safetensors: not a readable token file"):
        Tokens.load(path)


GOOD_HEADER = {"format": "gpstoken.tokens", "version": "1"}


@pytest.mark.parametrize(
    ("tensors", "header", "message"),
    [
        ({}, None, "not a token file"),
        ({}, {"format": "pt"}, "not a token file"),
        ({}, GOOD_HEADER | {"version": "2"}, "version '2', expected '1'"),
        ({"features": None}, GOOD_HEADER, "features"),
        ({"geometry": torch.rand(1, 3, 4)}, GOOD_HEADER, r"expected geometry\[B, N, 5\]"),
        ({"geometry": torch.rand(3, 5)}, GOOD_HEADER, r"expected geometry\[B, N, 5\]"),
        ({"features": torch.rand(1, 2, 4)}, GOOD_HEADER, "features"),
        ({}, GOOD_HEADER | {"size": "64"}, "size"),
        ({}, GOOD_HEADER | {"size": "axb"}, "size"),
        ({}, GOOD_HEADER | {"size": "0x64"}, "size"),
    ],
)
def test_foreign_token_files_are_refused(tmp_path, tensors, header, message):
    tensors = {"geometry": torch.rand(1, 3, 5), "features": torch.rand(1, 3, 4)} | tensors
    save_file({k: v for k, v in tensors.items() if v is not None}, tmp_path / "other.safetensors", header)
    with pytest.raises(ValueError, match=rf"other\.safetensors: .*{message}"):
        Tokens.load(tmp_path / "other.safetensors")


# The paper's released weights


def read_pretrained(path):
    return GPSToken.from_pretrained(path, "gpstoken_m128", **TINY)


def changed(tmp_path, change):
    weights = load_file(RELEASED)
    weights = change(weights) or weights
    save_file(weights, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_released_weights_load_strictly():
    tokenizer = read_pretrained(RELEASED)
    released = load_file(RELEASED)
    assert not tokenizer.training and len(tokenizer.state_dict()) == len(released)
    assert sum(x.numel() for x in tokenizer.state_dict().values()) == sum(x.numel() for x in released.values())
    # Names that cannot be mistaken for one another by their shapes
    state = tokenizer.state_dict()
    for ours, theirs in {
        "refine.blocks.1.norm1.weight": "attnblocks.1.ln1.weight",
        "refine.blocks.1.norm2.weight": "attnblocks.1.ln2.weight",
        "decoder.attention.query.weight": "decoder.mid.attn_1.q.weight",
        "decoder.attention.key.weight": "decoder.mid.attn_1.k.weight",
        "decoder.middle2.conv2.weight": "decoder.mid.block_2.conv2.weight",
        "decoder.levels.2.blocks.1.conv1.weight": "decoder.up.2.block.1.conv1.weight",
        "refine.unused_time_projections.1.bias": "preprocess_img.2.temb_proj.bias",
    }.items():
        assert torch.equal(state[ours], released[theirs].float())


def test_averaged_weights_are_taken_from_a_file_that_has_both(tmp_path):
    path = changed(
        tmp_path,
        lambda weights: {
            **{f"ema_model.{name}": tensor for name, tensor in weights.items()},
            **{f"online_model.{name}": tensor + 1 for name, tensor in weights.items()},
            "step": torch.tensor(7),
        },
    )
    averaged, alone = read_pretrained(path).state_dict(), read_pretrained(RELEASED).state_dict()
    assert all(torch.equal(averaged[name], alone[name]) for name in alone)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("attnblocks.1.ln2.bias") is None, r"tensor 'refine\.blocks\.1\.norm2\.bias' is missing"),
        (lambda w: w.update(extra=torch.zeros(1)), "unknown tensor 'extra'"),
        (
            lambda w: w.update({"to_gps.1.weight": torch.zeros(16, 64)}),
            r"'refine\.to_features\.weight' has shape \(16, 64\), expected \(8, 64\)",
        ),
    ],
    ids=["missing", "unknown", "misshapen"],
)
def test_the_first_wrong_tensor_is_named(tmp_path, change, message):
    with pytest.raises(ValueError, match=rf"weights\.safetensors: .*{message}"):
        read_pretrained(changed(tmp_path, lambda weights: change(weights) and None))


def test_weights_of_another_preset_are_refused():
    with pytest.raises(ValueError, match=r"tensor 'refine\.\S+' has shape \(.*\), expected"):
        GPSToken.from_pretrained(RELEASED, "gpstoken_l256", **TINY | {"feature_channels": 32})


@pytest.mark.parametrize("how", SPOILT)
def test_spoilt_weights_are_refused(tmp_path, how):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(RELEASED.read_bytes())
    spoil(path, how)
    with pytest.raises(ValueError, match=r"weights\.safetensors: not a readable safetensors file"):
        read_pretrained(path)


# Training checkpoints


def checkpoint_of(tokenizer):
    return {
        "tokenizer": {"class_path": "gpstoken.tokenizer.GPSToken", "init_args": tokenizer.config},
        "state_dict": {f"tokenizer.{name}": tensor for name, tensor in tokenizer.state_dict().items()}
        | {"discriminator.main.0.bias": torch.zeros(3)},
        "global_step": 5,
    }


def test_a_tokenizer_comes_back_from_a_checkpoint(tmp_path):
    tokenizer = GPSToken(**NARROW, lambda_=1.5, tile_decoding="separate").eval()
    torch.save(checkpoint_of(tokenizer), tmp_path / "last.ckpt")
    again = GPSToken.from_checkpoint(tmp_path / "last.ckpt")
    assert again.config == tokenizer.config and not again.training
    image = torch.rand(1, 3, 64, 128) * 2 - 1
    with torch.no_grad():
        assert torch.equal(again(image), tokenizer(image))


@pytest.mark.parametrize("how", SPOILT)
def test_spoilt_checkpoints_are_refused(tmp_path, how):
    path = tmp_path / "last.ckpt"
    torch.save(checkpoint_of(GPSToken(**NARROW)), path)
    spoil(path, how)
    with pytest.raises(ValueError, match=r"last\.ckpt: not a readable checkpoint") as caught:
        GPSToken.from_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_random_bytes_are_refused(tmp_path):
    # Short ones, beginning as a pickle does: the unpickler stumbles over them in many ways.
    random = np.random.default_rng(0)
    for length in range(1, 200):
        (tmp_path / "last.ckpt").write_bytes(b"\x80\x02" + random.bytes(length))
        with pytest.raises(ValueError, match=r"last\.ckpt: not a "):
            GPSToken.from_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: [1, 2], "not a tokenizer checkpoint of this project"),
        (lambda c: c["state_dict"], "not a tokenizer checkpoint of this project"),
        (lambda c: c | {"tokenizer": 3}, "not a tokenizer checkpoint of this project"),
        (lambda c: c | {"tokenizer": {"class_path": "x.Y"}}, r"holds x\.Y, expected gpstoken\.tokenizer\.GPSToken"),
        (lambda c: {k: v for k, v in c.items() if k != "state_dict"}, "not a tokenizer checkpoint of this project"),
        (lambda c: c | {"state_dict": {}}, r"tensor 'refine\.query' is missing"),
    ],
    ids=["list", "bare", "number", "class", "stateless", "empty"],
)
def test_foreign_checkpoints_are_refused(tmp_path, change, message):
    torch.save(change(checkpoint_of(GPSToken(**NARROW))), tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=rf"other\.ckpt: .*{message}"):
        GPSToken.from_checkpoint(tmp_path / "other.ckpt")


def test_unknown_arguments_are_refused(tmp_path):
    checkpoint = checkpoint_of(GPSToken(**NARROW))
    checkpoint["tokenizer"]["init_args"] = NARROW | {"codebook": 3}
    torch.save(checkpoint, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"other\.ckpt: .*codebook"):
        GPSToken.from_checkpoint(tmp_path / "other.ckpt")


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    harmed = tmp_path / "harmed"
    (tmp_path / "a.ckpt").write_bytes(pickle.dumps(Harmful(harmed), 2))
    torch.save(checkpoint_of(GPSToken(**NARROW)) | {"callbacks": Harmful(harmed)}, tmp_path / "b.ckpt")
    for name in ("a.ckpt", "b.ckpt"):
        with pytest.raises(ValueError, match=rf"{name}: not a readable checkpoint"):
            GPSToken.from_checkpoint(tmp_path / name)
    assert not harmed.exists()
