"""Token files: what hostile ones did before it was mended."""

import pytest
import torch
from safetensors.torch import save_file

from gpstoken import Gaussians, GPSToken, Tokens
from gpstoken.cli import main
from gpstoken.files.checkpoints import read_safetensors
from tests.faults.hostile.lines import one_line
from tests.faults.hostile.mutations import safetensors, split_safetensors
from tests.faults.hostile.seeds import token_file


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
    from gpstoken.files.checkpoints import write_plain
    from gpstoken.loading import class_path_of

    described = {"class_path": class_path_of(tokenizer), "init_args": tokenizer.config}
    weights = {f"tokenizer.{name}": tensor for name, tensor in tokenizer.state_dict().items()}
    write_plain(tmp_path / "last.ckpt", {"tokenizer": described, "state_dict": weights})
    tokens((64, 64)).save(tmp_path / "a.safetensors")
    command = ["decode", str(tmp_path / "a.safetensors"), "--checkpoint", str(tmp_path / "last.ckpt"), "-o"]
    assert main([*command, str(tmp_path / "out"), "--max-pixels", "4095"]) == 2
    assert "64 x 64" in (told := capsys.readouterr().err) and "--max-pixels" in told
    assert main([*command, str(tmp_path / "out"), "--max-pixels", "4096"]) == 0


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
