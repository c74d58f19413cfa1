"""Every row's weights in every form that people have on disk, at a tiny size.

What the tensors mean is tested with each class; here the oracle is the flat dictionary that each file was made of.
"""

import argparse
import json
from functools import cache, partial

import pytest
import torch
from diffusers import ModelMixin
from safetensors.torch import save_file

from gpstoken import GPSToken
from gpstoken.baselines import published as loader
from gpstoken.baselines.dc import DCAutoencoder
from gpstoken.baselines.flextok import FlexTok
from gpstoken.baselines.gaussian_token import GaussianToken
from gpstoken.baselines.kl import KLAutoencoder
from gpstoken.baselines.maetok import MAETok
from gpstoken.baselines.maskbit import MaskBitAutoencoder
from gpstoken.baselines.maskgit import MaskGITAutoencoder
from gpstoken.baselines.published import licence_of, read_published
from gpstoken.baselines.rae import RepresentationAutoencoder
from gpstoken.baselines.softvq import SoftVQ
from gpstoken.baselines.titok import TiTok
from gpstoken.baselines.vq import VQAutoencoder
from gpstoken.files import hub
from gpstoken.files.latent_statistics import published_statistics
from tests.baselines import gaussian_reference, query_reference, test_flextok, test_softvq, test_titok
from tests.baselines.conftest import LatentDiffusionAutoencoder
from tests.baselines.test_maskbit import TINY as MASKBIT
from tests.baselines.test_maskgit import TINY as MASKGIT
from tests.baselines.test_maskgit import published as convolutions
from tests.baselines.test_published import DC
from tests.baselines.test_rae import TINY as RAE
from tests.conftest import NARROW_TOKENIZER

WIDTHS = (4, 4, 8, 8)


def ldm(channels, widths=WIDTHS, attention=0, codebook=None):
    return LatentDiffusionAutoencoder(channels, widths, 1, 2, attention, codebook).state_dict()


def gaussian_tensors():
    reference, side = gaussian_reference.Reference(), gaussian_reference.SIDE
    geometry, features = reference.gaussians(torch.rand(1, 3, side, side, dtype=torch.float64))
    reference.image(geometry, reference.codebook()[reference.codes(features)])  # it draws a tensor when it needs it
    return reference.tensors | {"loss.logvar": torch.zeros(()), "model_ema.decay": torch.zeros(())}


def library(kind, sizes):
    return kind(**sizes).autoencoder.state_dict()


# Row: class, arguments of a tiny one, and its tensors under their published names.
ROWS = {
    "sdxl_vae": (KLAutoencoder, (3, WIDTHS, 1, 2), partial(ldm, 3)),
    "vavae": (
        KLAutoencoder,
        (5, WIDTHS, 1, 2, 1),
        lambda: ldm(5, attention=1) | {"foundation_model.x": torch.zeros(1), "linear_proj.weight": torch.zeros(1)},
    ),
    "vqvae_f16": (VQAutoencoder, (20, 6, WIDTHS, 1, 2), partial(ldm, 6, attention=1, codebook=20)),
    "dcae": (DCAutoencoder, DC, partial(library, DCAutoencoder, DC)),
    "maskgit_vae": (
        MaskGITAutoencoder,
        MASKGIT,
        lambda: convolutions((4, 8, 8), 1, 3) | {"quantize.embedding.weight": torch.randn(5, 3)},
    ),
    "maskbit": (
        MaskBitAutoencoder,
        MASKBIT,
        lambda: (
            convolutions((4, 8, 8, 12), 2, 4, shrinking=True)
            | {"quantize.bits_to_indices": 2 ** torch.arange(4), "quantize.codebook": torch.zeros(16, 4)}
        ),
    ),
    "gaussian_token": (GaussianToken, gaussian_reference.TINY, gaussian_tensors),
    "titok_b64": (TiTok, test_titok.TINY, test_titok.published_weights),
    "one_d_piece": (TiTok, test_titok.ONE_D_PIECE, test_titok.published_weights),
    "softvq": (SoftVQ, test_softvq.TINY, partial(query_reference.published, False, test_softvq.BOOKS)),
    "maetok": (MAETok, query_reference.SIZES, partial(query_reference.published, True)),
    "flextok": (
        FlexTok,
        test_flextok.TINY,
        lambda: (
            {f"vae.{name}": tensor for name, tensor in ldm(test_flextok.CHANNELS, (4, 8)).items()}
            | test_flextok.published_tensors()
        ),
    ),
    "rae": (RepresentationAutoencoder, RAE, partial(library, RepresentationAutoencoder, RAE)),
    "gpstoken": (GPSToken, NARROW_TOKENIZER, lambda: GPSToken(**NARROW_TOKENIZER).state_dict()),
}


@cache
def tiny(row):
    """The tokenizer of a row, and its published tensors."""
    kind, sizes, tensors = ROWS[row]
    torch.manual_seed(0)
    tokenizer = kind(**sizes) if isinstance(sizes, dict) else kind(*sizes)
    made = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors().items()}
    return tokenizer, {name: tensor.detach().clone().contiguous() for name, tensor in made.items()}


def prefixed(word, tensors):
    return {f"{word}{name}": tensor for name, tensor in tensors.items()}


def in_parts(tensors):
    """As of a training whose parts were compiled one by one."""
    return {name.replace(".", "._orig_mod.", 1): tensor for name, tensor in tensors.items()}


def folder(file):
    def write(path, tokenizer, tensors):
        if isinstance(network := getattr(tokenizer, "autoencoder", None), ModelMixin):
            network.save_config(path)
        else:
            path.mkdir(exist_ok=True)
            (path / "config.json").write_text(json.dumps({"model": {"anything": 1}}))
        torch.save(tensors, path / file) if file.endswith("bin") else save_file(tensors, path / file)
        return path

    return write


def pickled(suffix, wrap):
    def write(path, tokenizer, tensors):
        path = path.with_suffix(suffix)
        torch.save(wrap(tensors), path)
        return path

    return write


def one_file(path, tokenizer, tensors):
    path = path.with_suffix(".safetensors")
    save_file(tensors, path, {"config": json.dumps({"any": "configuration"}), "format": "pt"})
    return path


FORMATS = {
    "folder of the hub": folder("model.safetensors"),
    "older folder of the hub": folder("pytorch_model.bin"),
    "folder of diffusers": folder("diffusion_pytorch_model.safetensors"),
    "older folder of diffusers": folder("diffusion_pytorch_model.bin"),
    "safetensors with a configuration": one_file,
    "bin": pickled(".bin", lambda tensors: tensors),
    "ckpt, state_dict, data-parallel": pickled(
        ".ckpt", lambda tensors: {"state_dict": prefixed("module.", tensors), "epoch": 3, "hyper_parameters": {}}
    ),
    "pt, ema, compiled": pickled(
        ".pt",
        lambda tensors: {
            "model": {name: torch.zeros_like(tensor) for name, tensor in tensors.items()},
            "ema": prefixed("_orig_mod.", tensors),
            "args": argparse.Namespace(lr=0.1, name="x"),
        },
    ),
    "pth, model, compiled in parts and data-parallel": pickled(
        ".pth", lambda tensors: {"model": prefixed("module.", in_parts(tensors)), "step": 7}
    ),
    "ckpt, model within state_dict": pickled(
        ".ckpt", lambda tensors: {"state_dict": {"model": prefixed("_orig_mod.module.", tensors)}}
    ),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("row", ROWS)
def test_a_row_loads_a_form(tmp_path, row, form):
    tokenizer, tensors = tiny(row)
    expected = tokenizer.own_names(tensors)
    found = read_published(FORMATS[form](tmp_path / "weights", tokenizer, tensors), tokenizer)
    assert found.keys() == expected.keys() == tokenizer.state_dict().keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_read_strictly(tmp_path, row):
    tokenizer, tensors = tiny(row)
    path = tmp_path / "weights.safetensors"
    own = tokenizer.own_names(tensors)
    needed = next(name for name in reversed(tensors) if len(tokenizer.own_names(without(tensors, name))) < len(own))
    for changed, message in (
        (without(tensors, needed), "is missing"),
        (tensors | {"decoder.nobody.knows": torch.zeros(1)}, "unknown tensor '"),
        (tensors | {needed: torch.full_like(tensors[needed].float(), torch.nan)}, "is not finite"),
        ({"unrelated.weight": torch.zeros(1)}, "is missing"),
    ):
        save_file(changed, path)
        with pytest.raises(ValueError, match=message) as caught:
            read_published(path, tokenizer)
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def without(tensors, name):
    return {other: tensor for other, tensor in tensors.items() if other != name}


@pytest.mark.parametrize("row", ROWS)
def test_the_weights_of_one_row_are_no_others(tmp_path, row):
    tokenizer, _ = tiny(row)
    others = [other for other in ROWS if {row, other} != {"titok_b64", "one_d_piece"} and other != row]
    for other in others:
        path = tmp_path / f"{other}.pt"
        torch.save(tiny(other)[1], path)
        with pytest.raises(ValueError) as caught:
            read_published(path, tokenizer)
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_licences():
    kinds = {ROWS[row][0] for row in ROWS}
    assert all(licence_of(kind) for kind in kinds)
    # Typed from systems.md of the suite, section 1, finding 11
    restricted = {kind for kind in kinds if "restriction" in licence_of(kind)}
    assert restricted == {FlexTok, GaussianToken, SoftVQ, MAETok, GPSToken}
    assert licence_of(FlexTok)["restriction"] == "Apple AMLR, for research only"
    # whatever somebody calls a row of a class whose licence is known
    assert licence_of(FlexTok, "grid") == licence_of(FlexTok)
    assert all("\n" not in licence_of(kind)["restriction"] for kind in restricted)


def test_a_repository_of_the_hub(tmp_path, monkeypatch):
    tokenizer, tensors = tiny("softvq")
    asked = []

    def snapshot(repository, allow_patterns):
        asked.append((repository, allow_patterns))
        return str(folder("model.safetensors")(tmp_path / "snapshot", tokenizer, tensors))

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    for name in ("hf://SoftVQVAE/softvq-b-64", "hf:/SoftVQVAE/softvq-b-64"):  # as typed, and as a path keeps it
        assert read_published(name, tokenizer).keys() == tokenizer.state_dict().keys()
    assert asked[0] == asked[1] and asked[0][0] == "SoftVQVAE/softvq-b-64"
    assert {"config.json", "latents_stats.pt", *loader.IN_FOLDERS} == set(asked[0][1])

    def unreachable(repository, allow_patterns):
        raise OSError("Cannot reach https://huggingface.co\nand a second line")

    monkeypatch.setattr(hub, "snapshot_download", unreachable)
    with pytest.raises(FileNotFoundError) as caught:
        read_published("hf://SoftVQVAE/softvq-b-64", tokenizer)
    assert str(caught.value) == (
        "hf://SoftVQVAE/softvq-b-64: cannot be fetched (Cannot reach https://huggingface.co); download it elsewhere "
        "and name the folder or file"
    )


@pytest.mark.parametrize("shape", [(3,), (1, 3, 1, 1), (3, 1, 1)])
def test_statistics_beside_the_weights(tmp_path, shape):
    mean, deviation = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([1.0, 2.0, 4.0])
    torch.save({"mean": mean.reshape(shape), "std": deviation.reshape(shape)}, tmp_path / "latents_stats.pt")
    for weights in (tmp_path, tmp_path / "vavae.pt"):
        assert published_statistics(weights, 3) == {"mean": [0.5, -1.0, 2.0], "std": [1.0, 2.0, 4.0]}
    with pytest.raises(ValueError, match=r"latents_stats\.pt: statistics of 3 channels, but the tokenizer has 4; if"):
        published_statistics(tmp_path / "vavae.pt", 4)


def test_statistics_in_a_configuration(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"vq_mean": 0.25, "vq_std": 2.0}))
    assert published_statistics(tmp_path, 2) == {"mean": [0.25, 0.25], "std": [2.0, 2.0]}
    (tmp_path / "config.json").write_text(json.dumps({"vq_mean": [0.25, 0.5], "vq_std": [2.0, 1.0]}))
    assert published_statistics(tmp_path, 2) == {"mean": [0.25, 0.5], "std": [2.0, 1.0]}
    (tmp_path / "config.json").write_text("{}")
    assert published_statistics(tmp_path, 2) is None
    assert published_statistics(tmp_path / "weights.pt", 2) is None


@pytest.mark.parametrize(
    "content",
    [
        {"mean": torch.zeros(3), "std": torch.zeros(3)},
        {"mean": torch.zeros(3)},
        {"mean": torch.zeros(3), "std": torch.ones(2)},
        {"mean": torch.full((3,), torch.nan), "std": torch.ones(3)},
        torch.zeros(3),
        {"mean": "x", "std": None},
    ],
)
def test_statistics_that_are_none(tmp_path, content):
    torch.save(content, tmp_path / "latents_stats.pt")
    with pytest.raises(ValueError, match=r"latents_stats\.pt: not mean and std of a tokenizer's latents \(") as caught:
        published_statistics(tmp_path, 3)
    assert "\n" not in str(caught.value)
