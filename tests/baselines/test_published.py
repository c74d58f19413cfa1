"""Files with the layout of the published ones and random, narrow weights: the real ones were never at hand."""

import json
import sys
import types

import pytest
import torch
from diffusers import VQModel
from safetensors.torch import load_file, save_file

from gpstoken import GPSToken
from gpstoken.baselines.dc import DCAutoencoder
from gpstoken.baselines.kl import KLAutoencoder
from gpstoken.baselines.ldm_names import to_diffusers
from gpstoken.baselines.published import read_published
from gpstoken.baselines.vq import VQAutoencoder
from tests.conftest import NARROW_TOKENIZER

WIDTHS = (4, 4, 8, 8)
DC = {
    "latent_channels": 4, "block_out_channels": [4, 8, 8], "encoder_layers": [0, 1, 1], "decoder_layers": [0, 1, 1],
    "attention_levels": 1, "attention_head_dim": 4,
}  # fmt: skip


@pytest.fixture
def tokenizer():
    with torch.device("meta"):
        return KLAutoencoder(3, WIDTHS, 1, 2)


@pytest.fixture
def weights(ldm):
    """Of SDXL-VAE's form, with LDM's names."""
    return ldm(3, WIDTHS, 1, 2, attention=0, codebook=None).float().state_dict()


def within(tensors):
    """The names of a library's autoencoder within a tokenizer."""
    return {f"autoencoder.{name}": tensor for name, tensor in tensors.items()}


def equal(first, second):
    assert first.keys() == second.keys() and len(first) > 50
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_folder_of_diffusers(tmp_path):
    for tokenizer in (KLAutoencoder(3, WIDTHS, 1, 2), DCAutoencoder(**DC)):
        tokenizer.autoencoder.save_pretrained(tmp_path / "published")
        assert {path.name for path in (tmp_path / "published").iterdir()} == {
            "config.json", "diffusion_pytorch_model.safetensors"
        }  # fmt: skip
        equal(read_published(tmp_path / "published", tokenizer), tokenizer.state_dict())


def test_folder_of_diffusers_with_a_codebook(tmp_path):
    tokenizer = VQAutoencoder(20, 6, WIDTHS, 1, 2)
    # The library's own class, with its own codebook
    options = dict(tokenizer.autoencoder.config) | {"num_vq_embeddings": 20}
    network = VQModel(**{name: value for name, value in options.items() if not name.startswith("_")})
    network.save_pretrained(tmp_path / "published")
    tokenizer.load_state_dict(read_published(tmp_path / "published", tokenizer))
    assert torch.equal(tokenizer.quantiser.entries, network.quantize.embedding.weight)
    image = torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        # float32, and the library computes the distances in another order
        torch.testing.assert_close(tokenizer.eval()(image), network.eval()(image).sample, rtol=0, atol=1e-5)


def test_single_file_of_latent_diffusion(tmp_path, weights, tokenizer):
    save_file(weights, tmp_path / "sdxl_vae.safetensors")
    equal(read_published(tmp_path / "sdxl_vae.safetensors", tokenizer), within(to_diffusers(weights)))
    # The same out of a file of a whole model, in half precision
    whole = {f"first_stage_model.{name}": tensor.half() for name, tensor in weights.items()}
    save_file(whole | {"model.diffusion_model.x": torch.zeros(2)}, tmp_path / "sdxl.safetensors")
    found = read_published(tmp_path / "sdxl.safetensors", tokenizer)
    equal(found, within({name: tensor.half().float() for name, tensor in to_diffusers(weights).items()}))


def test_checkpoint_of_taming(tmp_path, ldm, monkeypatch):
    weights = ldm(6, WIDTHS, 1, 2, attention=1, codebook=20).float().state_dict()
    losses = {
        "loss.discriminator.main.0.weight": torch.zeros(2),
        "loss.perceptual_loss.lin0.model.1.weight": torch.zeros(1),
    }
    # Lightning 1 files a callback's state under its class, of a package that is not installed here.
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module.__name__})
    with monkeypatch.context() as patch:
        for name in ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__):
            patch.setitem(sys.modules, name, module)
        state = {module.ModelCheckpoint: {"best_model_score": torch.tensor(0.5)}}
        content = {"epoch": 3, "callbacks": state, "optimizer_states": [], "state_dict": weights | losses}
        torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(Exception, match="ModelCheckpoint"):
        torch.load(tmp_path / "last.ckpt", weights_only=True)
    tokenizer = VQAutoencoder(20, 6, WIDTHS, 1, 2)
    expected = within(to_diffusers(weights))
    entries = expected.pop("autoencoder.quantize.embedding.weight")
    found = read_published(tmp_path / "last.ckpt", tokenizer)
    tokenizer.load_state_dict(found)
    assert torch.equal(tokenizer.quantiser.entries, entries)
    equal({name: tensor for name, tensor in found.items() if not name.startswith("quantiser.")}, expected)


def test_checkpoint_of_vavae(tmp_path, ldm):
    weights = ldm(5, WIDTHS, 1, 2, attention=1, codebook=None).float().state_dict()
    others = ("foundation_model.model.cls_token", "linear_proj.weight", "loss.logvar")
    content = {"state_dict": weights | {name: torch.zeros(1) for name in others}}
    torch.save(content, tmp_path / "vavae.pt")
    tokenizer = KLAutoencoder(5, WIDTHS, 1, 2, attention_levels=1)
    equal(read_published(tmp_path / "vavae.pt", tokenizer), within(to_diffusers(weights)))


def spoil(weights, how):
    name = "decoder.up.3.block.0.conv1.weight"  # up[3] is the coarsest, diffusers' first
    if how == "missing":
        return {key: tensor for key, tensor in weights.items() if key != name}
    return weights | ({"encoder.extra": torch.zeros(1)} if how == "unknown" else {name: torch.zeros(8, 8, 1, 1)})


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "tensor 'autoencoder.decoder.up_blocks.0.resnets.0.conv1.weight' is missing"),
        ("unknown", "unknown tensor 'autoencoder.encoder.extra'"),
        (
            "misshapen",
            "tensor 'autoencoder.decoder.up_blocks.0.resnets.0.conv1.weight' has shape (8, 8, 1, 1), "
            "expected (8, 8, 3, 3)",
        ),
    ],
)
def test_weights_that_do_not_fit(tmp_path, weights, tokenizer, how, message):
    path = tmp_path / "vae.safetensors"
    save_file(spoil(weights, how), path)
    with pytest.raises(ValueError) as caught:
        read_published(path, tokenizer)
    assert str(caught.value) == f"{path}: {message}"


class Harm:
    def __reduce__(self):
        return sys.exit, (1,)


def test_files_that_are_something_else(tmp_path, tokenizer):
    (tmp_path / "garbage.safetensors").write_bytes(b"<!DOCTYPE html>")
    torch.save({"state_dict": {"x": Harm()}}, tmp_path / "harm.ckpt")
    torch.save({"state_dict": {"x": 3}}, tmp_path / "other.ckpt")
    for name, message in (
        ("garbage.safetensors", "not a readable safetensors file"),
        ("harm.ckpt", "not a readable checkpoint"),
        ("other.ckpt", "neither a state dict nor a checkpoint with one under ema or state_dict or model"),
    ):
        with pytest.raises(ValueError) as caught:
            read_published(tmp_path / name, tokenizer)
        assert str(caught.value).startswith(f"{tmp_path / name}: {message}") and "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"none: no such file or folder of weights"):
        read_published(tmp_path / "none", tokenizer)
    with pytest.raises(FileNotFoundError, match=r": no weights; a folder of weights has config\.json and one of diff"):
        read_published(tmp_path, tokenizer)


def test_folder_of_another_architecture(tmp_path):
    tokenizer = DCAutoencoder(**DC)
    tokenizer.autoencoder.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for changes, message in (
        # Not a tensor tells these two apart.
        ({"decoder_act_fns": ["silu"] * 3}, r"another architecture, has .*SiLU\(\) where the row has .*ReLU\(\)\Z"),
        ({"encoder_layers_per_block": [0, 2, 1]}, "another architecture, has "),
        ({"_class_name": "AutoencoderKL"}, r"is for AutoencoderKL, expected AutoencoderDC\Z"),
        ({"decoder_act_fns": ["nonsense"] * 3}, "nonsense"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | changes))
        with pytest.raises(ValueError, match=message) as caught:
            read_published(tmp_path, tokenizer)
        assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: ") and "\n" not in str(caught.value)
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(ValueError, match=r"config\.json: not JSON \(Expecting value"):
        read_published(tmp_path, tokenizer)
    assert len(load_file(tmp_path / "diffusion_pytorch_model.safetensors")) > 50
    (tmp_path / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no config\.json; a folder of weights has config\.json and one of"):
        read_published(tmp_path, tokenizer)


def test_what_frameworks_put_around_weights(tmp_path):
    tokenizer = GPSToken(**NARROW_TOKENIZER)
    weights, other = tokenizer.state_dict(), GPSToken(**NARROW_TOKENIZER).state_dict()
    parallel = {f"module._orig_mod.{name}": tensor for name, tensor in weights.items()}
    compiled = {f"_orig_mod.{name}": tensor for name, tensor in weights.items()}
    averaged = {f"ema_model.{name}": tensor for name, tensor in weights.items()}
    for number, content in enumerate(
        (
            weights,
            {"model": weights, "optimizer": {"state": {}}, "step": 3},
            {"model": other, "ema": weights, "args": {"lr": 0.1}},
            {"state_dict": {"model": parallel}, "epoch": 1},
            {"ema": compiled},
            {"state_dict": averaged | other},
        )
    ):
        for suffix in ("pt", "pth", "bin", "ckpt"):
            path = tmp_path / f"{number}.{suffix}"
            torch.save(content, path)
            assert read_published(path, tokenizer).keys() == weights.keys()
            assert all(torch.equal(tensor, weights[name]) for name, tensor in read_published(path, tokenizer).items())
    for file in ("model.safetensors", "pytorch_model.bin"):  # of the hub
        folder = tmp_path / file.replace(".", "_")
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        if file.endswith("bin"):
            torch.save(weights, folder / file)
        else:
            save_file(weights, folder / file)
        assert all(torch.equal(tensor, weights[name]) for name, tensor in read_published(folder, tokenizer).items())
