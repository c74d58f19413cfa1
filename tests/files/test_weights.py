"""A tokenizer as one file: what goes in comes out, and anything else is refused in one line."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from gpstoken import GPSToken
from gpstoken.baselines.vq import VQAutoencoder
from gpstoken.cli import main
from gpstoken.files.checkpoints import write_plain
from gpstoken.files.weights import read_origin_of, read_weights, weights_file, write_weights
from gpstoken.loading import class_path_of, load_tokenizer

TINY = {
    "num_tokens": 8, "feature_channels": 4, "image_size": 32, "grid_size": 16, "width": 16, "depth": 1, "heads": 2,
    "roi_size": 2, "stem_channels": 4, "decoder_channels": 4, "decoder_multipliers": (1, 2), "decoder_blocks": 1,
    "norm_groups": 2, "min_region_size": 4,
}  # fmt: skip


@pytest.fixture
def tokenizer():
    torch.manual_seed(0)
    return GPSToken(**TINY)


def written(tokenizer, path, dtype=torch.float32):
    origin = {"commit": "abc", "seed": 0}
    write_weights(path, class_path_of(tokenizer), tokenizer.config, tokenizer.state_dict(), origin, dtype)
    return path


def test_a_tokenizer_comes_back(tokenizer, tmp_path):
    path = written(tokenizer, tmp_path / "mine.safetensors")
    again = GPSToken.from_pretrained(path)
    assert again.config == tokenizer.config and not again.training
    for name, tensor in tokenizer.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    assert read_origin_of(path) == {"commit": "abc", "seed": 0}
    assert load_tokenizer(path).config == tokenizer.config


def test_plain_safetensors_reads_the_halves(tokenizer, tmp_path):
    path = written(tokenizer, tmp_path / "half.safetensors", torch.float16)
    tensors = load_file(path)
    again = GPSToken.from_pretrained(path).state_dict()
    for name, tensor in tokenizer.state_dict().items():
        assert torch.equal(tensors[name], tensor.half())
        assert again[name].dtype == torch.float32 and torch.equal(again[name], tensor.half().float())


def test_integers_stay(tmp_path):
    torch.manual_seed(0)
    network = VQAutoencoder(8, 4, (8, 8), 1, 4)
    path = written(network, tmp_path / "vq.safetensors", torch.float16)
    kept = [name for name, tensor in network.state_dict().items() if not tensor.is_floating_point()]
    for name in kept:
        assert torch.equal(load_file(path)[name], network.state_dict()[name])
    assert type(load_tokenizer(path)) is VQAutoencoder


def test_arguments_that_change_no_weight_can_be_set(tokenizer, tmp_path):
    path = written(tokenizer, tmp_path / "mine.safetensors")
    again = GPSToken.from_pretrained(path, support_factor=5.0, lambda_=1.0)
    assert (again.support_factor, again.lambda_, again.min_region_size) == (5.0, 1.0, 4)
    with pytest.raises(ValueError, match=r"mine\.safetensors: tensor '.*' has shape"):
        GPSToken.from_pretrained(path, width=32)


def test_a_number_too_large_for_a_half_is_an_error(tokenizer, tmp_path):
    with torch.no_grad():
        tokenizer.decoder.conv_out.bias[0] = 1e6
    with pytest.raises(ValueError, match=r"tensor 'decoder\.conv_out\.bias' is not finite as torch\.float16"):
        written(tokenizer, tmp_path / "half.safetensors", torch.float16)
    assert not list(tmp_path.iterdir())


def test_a_changed_file_is_damaged(tokenizer, tmp_path):
    path = written(tokenizer, tmp_path / "mine.safetensors")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"mine\.safetensors: damaged, its content differs"):
        read_weights(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({}, "not a tokenizer that `gpstoken export` wrote"),
        ({"version": "2"}, "version '2', expected '1'"),
        ({"tokenizer": "{"}, "not JSON"),
        ({"tokenizer": "[]"}, "expected an object"),
        ({"tokenizer": json.dumps({"class_path": 3, "init_args": {}})}, "its header describes no tokenizer"),
        ({"tokenizer": json.dumps({"class_path": "os.system", "init_args": {}})}, "holds os.system, expected"),
    ],
)
def test_other_files_are_refused(tmp_path, header, message, capsys):
    full = {"format": "gpstoken tokenizer", "version": "1", "tokenizer": "{}", "origin": "{}"}
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, path, full | header if header else {"format": "pt"})
    with pytest.raises(ValueError, match=r"other\.safetensors: ") as caught:
        GPSToken.from_pretrained(path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_names_that_are_none():
    with pytest.raises(ValueError, match=r"smal: no such file, and no such weights"):
        weights_file("smal")
    assert weights_file("some/smal.ckpt").as_posix() == "some/smal.ckpt"


def test_export_writes_the_average_with_its_origin(tokenizer, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    state = {f"tokenizer.{name}": tensor for name, tensor in tokenizer.state_dict().items()}
    described = {"class_path": class_path_of(tokenizer), "init_args": tokenizer.config}
    write_plain(run / "last.ckpt", {"tokenizer": described, "state_dict": state})
    (run / "origin.json").write_text('{"commit": "abc", "row": "mine"}')
    output = tmp_path / "new" / "mine.safetensors"
    assert main(["export", str(run / "last.ckpt"), "-o", str(output), "--type", "float32"]) == 0
    assert "gpstoken.tokenizer.GPSToken" in capsys.readouterr().out
    assert read_origin_of(output) == {"commit": "abc", "row": "mine", "phases": []}
    assert torch.equal(GPSToken.from_pretrained(output).decoder.conv_out.weight, tokenizer.decoder.conv_out.weight)


def test_export_names_what_is_wrong(tmp_path, capsys):
    assert main(["export", str(tmp_path / "none.ckpt"), "-o", str(tmp_path / "a.bin")]) == 2
    assert "--output: expected a name that ends in .safetensors" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "none.ckpt"), "-o", str(tmp_path / "a.safetensors")]) == 2
    assert "none.ckpt: no such tokenizer checkpoint" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
