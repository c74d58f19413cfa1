import json

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from safetensors.torch import save_file

from gpstoken.baselines.kl import KLAutoencoder
from gpstoken.baselines.ldm_names import to_diffusers
from gpstoken.baselines.vq import VQAutoencoder

WIDTHS = (4, 4, 8, 8)


def image(side):
    return torch.rand(2, 3, side, 2 * side, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1


def test_names_are_those_of_the_librarys_own_converter(ldm):
    # It knows no attention inside the levels, so it is no oracle of VAVAE's.
    weights = ldm(3, WIDTHS, 2, 2, attention=0, codebook=None).state_dict()
    config = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    expected = convert_ldm_vae_checkpoint(dict(weights), config)
    converted = to_diffusers(weights)
    assert converted.keys() == expected.keys() and len(converted) == len(weights) > 100
    for name, tensor in expected.items():
        assert torch.equal(converted[name], tensor), name


@torch.no_grad()
@pytest.mark.parametrize("attention", [0, 1, 2])
def test_kl_weights_compute_the_same(ldm, attention):
    theirs = ldm(3, WIDTHS, 1, 2, attention=attention, codebook=None)
    ours = KLAutoencoder(3, WIDTHS, 1, 2, attention).double().eval()
    ours.autoencoder.load_state_dict(to_diffusers(theirs.state_dict()))
    # float64, but the posterior is made in float32
    latent = theirs.encode(image(16))
    torch.testing.assert_close(ours.encode(image(16)).double(), latent, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours.decode(latent), theirs.decode(latent), rtol=0, atol=1e-11)


@torch.no_grad()
def test_vq_weights_compute_the_same(ldm):
    theirs = ldm(6, WIDTHS, 1, 2, attention=1, codebook=50)
    ours = VQAutoencoder(50, 6, WIDTHS, 1, 2).double().eval()
    ours.load_state_dict(ours.own_names(theirs.state_dict()))
    indices = theirs.encode(image(64))
    assert len(indices.unique()) > 3  # else the next line says little
    assert torch.equal(ours.encode(image(64)), indices)
    torch.testing.assert_close(ours.decode(indices), theirs.decode(indices), rtol=0, atol=1e-11)


def test_only_the_attention_changes_its_shape(ldm):
    converted = to_diffusers(ldm(3, WIDTHS, 1, 2, attention=1, codebook=None).state_dict())
    assert converted["encoder.down_blocks.3.attentions.0.to_q.weight"].shape == (8, 8)
    assert converted["decoder.mid_block.attentions.0.to_out.0.weight"].shape == (8, 8)
    assert converted["quant_conv.weight"].shape == (6, 6, 1, 1)
    assert converted["encoder.down_blocks.2.resnets.0.conv_shortcut.weight"].shape == (8, 4, 1, 1)


def test_names_of_diffusers_stay(tmp_path):
    network = AutoencoderKL(block_out_channels=(4,), norm_num_groups=2)
    weights = network.state_dict()
    assert to_diffusers(weights).keys() == weights.keys()
    # The library reads the names of 2022 too: what it makes of them is what the map must make of them.
    old = {}
    for name, tensor in weights.items():
        for new, before in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{before}.")
        old[name] = torch.randn(tensor.shape)
    assert old.keys() != weights.keys()
    save_file(old, tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(dict(network.config)))
    theirs = AutoencoderKL.from_pretrained(tmp_path, low_cpu_mem_usage=False).state_dict()
    for name, tensor in to_diffusers(old).items():
        assert torch.equal(tensor, theirs[name]), name
