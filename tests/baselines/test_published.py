"""Files with the layout of the published ones and random, narrow weights: the real ones were never at hand."""

import json
import sys
import types

import pytest
import torch
from safetensors.torch import load_file, save_file

from gpstoken.baselines.dc import DCAutoencoder
from gpstoken.baselines.kl import KLAutoencoder
from gpstoken.baselines.ldm_names import to_diffusers
from gpstoken.baselines.published import read_published
from gpstoken.baselines.vq import VQAutoencoder

WIDTHS = (4, 4, 8, 8)
DC = {
    "latent_channels": 4, "block_out_channels": [4, 8, 8], "encoder_layers": [0, 1, 1], "decoder_layers": [0, 1, 1],
    "attention_levels": 1, "attention_head_dim": 4,
}  # fmt: skip


@pytest.fixture
def autoencoder():
    with torch.device("meta"):
        return KLAutoencoder(3, WIDTHS, 1, 2).autoencoder


@pytest.fixture
def weights(ldm):
    """Of SDXL-VAE's form, with LDM's names."""
    return ldm(3, WIDTHS, 1, 2, attention=0, codebook=None).float().state_dict()


def equal(first, second):
    assert first.keys() == second.keys() and len(first) > 50
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_folder_of_diffusers(tmp_path):
    for network in (KLAutoencoder(3, WIDTHS, 1, 2).autoencoder, DCAutoencoder(**DC).autoencoder):
        network.save_pretrained(tmp_path / "published")
        assert {path.name for path in (tmp_path / "published").iterdir()} == {
            "config.json", "diffusion_pytorch_model.safetensors"
        }  # fmt: skip
        equal(read_published(tmp_path / "published", network), network.state_dict())


def test_single_file_of_latent_diffusion(tmp_path, weights, autoencoder):
    save_file(weights, tmp_path / "sdxl_vae.safetensors")
    equal(read_published(tmp_path / "sdxl_vae.safetensors", autoencoder), to_diffusers(weights))
    # The same out of a file of a whole model, in half precision
    whole = {f"first_stage_model.{name}": tensor.half() for name, tensor in weights.items()}
    save_file(whole | {"model.diffusion_model.x": torch.zeros(2)}, tmp_path / "sdxl.safetensors")
    found = read_published(tmp_path / "sdxl.safetensors", autoencoder)
    equal(found, {name: tensor.half().float() for name, tensor in to_diffusers(weights).items()})


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
    equal(read_published(tmp_path / "last.ckpt", tokenizer.autoencoder), to_diffusers(weights))


def test_checkpoint_of_vavae(tmp_path, ldm):
    weights = ldm(5, WIDTHS, 1, 2, attention=1, codebook=None).float().state_dict()
    others = ("foundation_model.model.cls_token", "linear_proj.weight", "loss.logvar")
    content = {"state_dict": weights | {name: torch.zeros(1) for name in others}}
    torch.save(content, tmp_path / "vavae.pt")
    tokenizer = KLAutoencoder(5, WIDTHS, 1, 2, attention_levels=1)
    equal(read_published(tmp_path / "vavae.pt", tokenizer.autoencoder), to_diffusers(weights))


def spoil(weights, how):
    name = "decoder.up.3.block.0.conv1.weight"  # up[3] is the coarsest, diffusers' first
    if how == "missing":
        return {key: tensor for key, tensor in weights.items() if key != name}
    return weights | ({"encoder.extra": torch.zeros(1)} if how == "unknown" else {name: torch.zeros(8, 8, 1, 1)})


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "tensor 'decoder.up_blocks.0.resnets.0.conv1.weight' is missing"),
        ("unknown", "unknown tensor 'encoder.extra'"),
        (
            "misshapen",
            "tensor 'decoder.up_blocks.0.resnets.0.conv1.weight' has shape (8, 8, 1, 1), expected (8, 8, 3, 3)",
        ),
    ],
)
def test_weights_that_do_not_fit(tmp_path, weights, autoencoder, how, message):
    path = tmp_path / "vae.safetensors"
    save_file(spoil(weights, how), path)
    with pytest.raises(ValueError) as caught:
        read_published(path, autoencoder)
    assert str(caught.value) == f"{path}: {message}"


class Harm:
    def __reduce__(self):
        return sys.exit, (1,)


def test_files_that_are_something_else(tmp_path, autoencoder):
    (tmp_path / "garbage.safetensors").write_bytes(b"<!DOCTYPE html>")
    torch.save({"state_dict": {"x": Harm()}}, tmp_path / "harm.ckpt")
    torch.save({"state_dict": {"x": 3}}, tmp_path / "other.ckpt")
    for name, message in (
        ("garbage.safetensors", "not a readable safetensors file"),
        ("harm.ckpt", "not a readable checkpoint"),
        ("other.ckpt", "neither a state dict nor a checkpoint with one under 'state_dict'"),
    ):
        with pytest.raises(ValueError) as caught:
            read_published(tmp_path / name, autoencoder)
        assert str(caught.value).startswith(f"{tmp_path / name}: {message}") and "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"none: no such file or diffusers folder"):
        read_published(tmp_path / "none", autoencoder)
    with pytest.raises(FileNotFoundError, match=r"no config\.json; a diffusers folder has config\.json and"):
        read_published(tmp_path, autoencoder)


def test_folder_of_another_architecture(tmp_path):
    network = DCAutoencoder(**DC).autoencoder
    network.save_pretrained(tmp_path)
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
            read_published(tmp_path, network)
        assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: ") and "\n" not in str(caught.value)
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(ValueError, match=r"config\.json: not JSON \(Expecting value"):
        read_published(tmp_path, network)
    assert len(load_file(tmp_path / "diffusion_pytorch_model.safetensors")) > 50
