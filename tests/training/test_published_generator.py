"""`gpstoken published-generator`: published weights to a checkpoint that samples."""

import json

import pytest
import torch
import yaml

from gpstoken import load_generator
from gpstoken.baselines.kl import KLAutoencoder
from gpstoken.baselines.softvq import SoftVQ
from gpstoken.files.checkpoints import write_plain
from gpstoken.generators.repa import REPA
from gpstoken.loading import class_path_of
from gpstoken.sit import SiT
from tests.training.conftest import REPOSITORY

NARROW = {"width": 16, "depth": 1, "heads": 2, "num_classes": 3}
AUTOENCODER = {"latent_channels": 4, "block_out_channels": [4, 8], "layers_per_block": 1, "norm_num_groups": 2}
TOKENS = {
    "image_size": 32, "patch_size": 16, "width": 12, "depth": 1, "heads": 2, "num_tokens": 8, "channels": 32,
    "codebooks": 2, "codebook_size": 16,
}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    """Files of a narrow row: (YAML over it, published weights, run of its tokenizer)."""

    def make(network, weights, tokenizer, more=None, origin=None):
        (tmp_path / "run").mkdir()
        described = {"class_path": class_path_of(tokenizer), "init_args": tokenizer.config}
        state = {f"tokenizer.{name}": tensor for name, tensor in tokenizer.state_dict().items()}
        write_plain(tmp_path / "run/last.ckpt", {"tokenizer": described, "state_dict": state, "global_step": 0})
        (tmp_path / "run/origin.json").write_text(json.dumps(origin or {}))
        torch.save({"ema": weights}, tmp_path / "published.pt")
        arguments = {"network": {"init_args": NARROW | network}, **(more or {})}
        overlay = {"model": {"init_args": {"generator": {"init_args": arguments}}}}
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(overlay))

    return make


@pytest.fixture
def call(run_cli, tmp_path):
    def run(row, *options):
        words = ["published-generator", f"{REPOSITORY}/experiments/generators/{row}.yaml", f"{tmp_path}/published.pt"]
        words += ["--tokenizer", f"{tmp_path}/run/last.ckpt", "-o", f"{tmp_path}/out", "-c", f"{tmp_path}/tiny.yaml"]
        return run_cli([*words, *options])

    return run


def of_repa(network):
    """Weights of a narrow REPA under the published names."""
    generator = REPA(network, block=1, projector_width=6, feature_channels=5)
    weights = {name: torch.randn_like(tensor) for name, tensor in network.state_dict().items()}
    projector = {f"projectors.0.{name}": tensor for name, tensor in generator.projector.state_dict().items()}
    return weights | projector


@pytest.fixture
def repa(write):
    torch.manual_seed(0)
    shape = {"channels": 4, "shape": [4, 4], "patch_size": 2, "learn_sigma": False}
    weights = of_repa(SiT(**NARROW, **shape))
    sizes = {"block": 1, "projector_width": 6, "feature_channels": 5}
    write({"shape": [4, 4]}, weights, KLAutoencoder(**AUTOENCODER), sizes)
    return weights


def test_a_published_grid_samples_with_the_scale_of_its_latents(repa, call, tmp_path, run_cli):
    assert call("repa", "--latent-scale", "0.18215", "--image-size", "8") == 0
    generator, tokenizer, record = load_generator(tmp_path / "out/last.ckpt")
    assert type(generator) is REPA and generator.options().guidance == 1.8
    assert torch.equal(generator.network.blocks[0].attn.qkv.weight, repa["blocks.0.attn.qkv.weight"])
    assert torch.equal(generator.projector[4].bias, repa["projectors.0.4.bias"])
    assert generator.mean.tolist() == [0] * 4 and generator.std.tolist() == pytest.approx([1 / 0.18215] * 4)
    assert isinstance(tokenizer, KLAutoencoder) and record["stages"]["generator"]["steps"] == 0
    origin = json.loads((tmp_path / "out/origin.json").read_text())
    assert origin["commit"] == "published" and origin["weights"]["file"] == "published.pt"
    assert origin["weights"]["licence"] == "MIT"
    made = tmp_path / "new.npz"
    assert run_cli(["generate", f"{tmp_path}/out/last.ckpt", "-n", "3", "--steps", "3", "-o", str(made)]) == 0
    assert made.is_file()


def test_latents_without_a_known_scale_are_refused(repa, call, tmp_path, capsys):
    assert call("repa", "--image-size", "8") == 2
    error = capsys.readouterr().err
    assert "needs latent, but the cache holds none; latents need a mean and a deviation: give --latent-scale" in error
    assert not (tmp_path / "out").exists()
    for scale in ("0", "-1", "inf", "nan", "x"):
        assert call("repa", "--latent-scale", scale) == 2
        assert "--latent-scale" in capsys.readouterr().err


def test_a_published_sequence_takes_the_statistics_of_its_tokenizer(write, call, tmp_path, capsys):
    torch.manual_seed(0)
    network = SiT(**NARROW, channels=32, shape=[8], learn_sigma=False)
    weights = dict(network.state_dict())
    weights["x_embedder.weight"] = weights.pop("x_embedder.proj.weight").flatten(1)
    weights["x_embedder.bias"] = weights.pop("x_embedder.proj.bias")
    statistics = {"mean": [0.25] * 32, "std": [2.0] * 32}
    write({"shape": [8]}, weights, SoftVQ(**TOKENS), origin={"statistics": statistics})
    assert call("softvq_sit") == 0
    assert "published.pt: published weights of softvq_sit: no licence was found" in capsys.readouterr().out
    generator, _, _ = load_generator(tmp_path / "out/last.ckpt")
    assert generator.mean.tolist() == [0.25] * 32 and generator.std.tolist() == [2.0] * 32
    assert (generator.time_direction, generator.path, generator.recipe) == ("to_noise", "linear", "softvq")
    assert torch.equal(generator.network.x_embedder.proj.weight[..., 0, 0], weights["x_embedder.weight"])
    parts = generator.sample(torch.tensor([2]), [0], 0, generator.options(sampler="ode", steps=3))
    assert parts["tokens"].shape == (1, 8, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pos_embed": None}, "tensor 'network.pos_embed' is missing"),
        ({"more": torch.zeros(2)}, "unknown tensor 'network.more'"),
        ({"pos_embed": torch.zeros(1, 5, 16)}, "'network.pos_embed' has shape (1, 5, 16), expected (1, 4, 16)"),
    ],
)
def test_weights_of_another_network_are_refused(repa, call, tmp_path, capsys, change, message):
    weights = {name: tensor for name, tensor in (repa | change).items() if tensor is not None}
    torch.save(weights, tmp_path / "published.pt")
    assert call("repa", "--latent-scale", "1") == 2
    assert message in capsys.readouterr().err.splitlines()[-1] and not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_kept(repa, call, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")
    assert call("repa", "--latent-scale", "1", "--image-size", "8") == 2
    assert "out" in capsys.readouterr().err and [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]
