"""`gpstoken published`: weights from elsewhere through `gpstoken evaluate`, end to end."""

import json
import math
from collections import Counter

import pytest
import torch
import yaml
from safetensors.torch import save_file

from datamodules import Embedded
from gpstoken.baselines.softvq import SoftVQ
from gpstoken.baselines.vq import VQAutoencoder
from gpstoken.commands.export import phases
from gpstoken.loading import load_tokenizer
from gpstoken.training.origins import read_origin

TINY = {
    "codebook_size": 30, "latent_channels": 4, "block_out_channels": [4, 8], "layers_per_block": 1,
    "norm_num_groups": 2,
}  # fmt: skip
OVERLAY = {
    "model": {"init_args": {"tokenizer": {"init_args": TINY}}},
    "data": {
        "class_path": "datamodules.Embedded",
        "init_args": {
            "root": "data/embedded", "domain": "faces", "image_size": 32, "batch_size": 16, "working_size": 48,
        },
    },
}  # fmt: skip
ROW = "experiments/tokenizers/vqvae_f16.yaml"


@pytest.fixture
def published(tmp_path, run_cli):
    """Runs the command on a narrow network: (exit code, the run, the network)."""

    def call(*options, row=ROW):
        torch.manual_seed(0)
        network, entries = VQAutoencoder(**TINY), torch.rand(30, 4) / 15 - 1 / 30
        network.quantiser.load_state_dict(network.quantiser.state_of(entries))
        weights = network.autoencoder.state_dict() | {"quantize.embedding.weight": entries}
        torch.save({"state_dict": weights}, tmp_path / "published.ckpt")
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(OVERLAY))
        run = tmp_path / "runs" / "vqvae_f16" / "seed0"
        arguments = ["published", row, str(tmp_path / "published.ckpt"), "-o", str(run), *options]
        return run_cli(arguments), run, network

    return call


def test_published_weights_are_evaluated_as_a_run_of_ours(published, run_cli, tmp_path, capsys):
    code, run, network = published("-c", str(tmp_path / "tiny.yaml"))
    assert code == 0 and {path.name for path in run.iterdir()} == {"config.yaml", "origin.json", "last.ckpt"}
    loaded = load_tokenizer(run / "last.ckpt")
    samples = Embedded("data/embedded", "faces", image_size=32, working_size=48).dataset("test")
    images = torch.stack([samples[index]["image"] for index in range(40)])
    with torch.no_grad():
        assert torch.equal(loaded(images[3:4]), network.eval()(images[3:4]))
    output = tmp_path / "results" / "vqvae_f16.json"
    evaluate = ["evaluate", str(run), "-o", str(output), "--row", "vqvae_f16", "--scale", "tiny", "--networks"]
    assert run_cli(evaluate) == 0
    result = json.loads(output.read_text())
    assert result["evaluated"] == {
        "row": "vqvae_f16", "image_size": 32, "num_tokens": 256,
        "code": {"shape": [16, 16], "channels": 1, "codebook_size": 30}, "focus": None,
    }  # fmt: skip
    assert result["training"]["steps"] == 0 and result["trained_at"] == ["published"]
    assert result["metrics"].keys() == {"psnr", "ssim"} and result["metrics"]["psnr"]["mean"] > 0
    with torch.no_grad():
        codes = Counter(network.encode(images).flatten().tolist())
    assert 2 < len(codes) < 30 and codes.total() == 40 * 256
    # exp(- sum p log p) is the product of p^-p over the shares p of the codes
    perplexity = math.prod((count / codes.total()) ** (-count / codes.total()) for count in codes.values())
    assert result["codebook"] == {
        "codebook_size": 30,
        "codes_used": {"mean": len(codes), "standard_error": None, "per_seed": [len(codes)]},
        "perplexity": {
            "mean": pytest.approx(perplexity),
            "standard_error": None,
            "per_seed": [pytest.approx(perplexity)],
        },
    }

    capsys.readouterr()
    assert run_cli([*evaluate, "--num-tokens", "16"]) == 2
    assert capsys.readouterr().err == (
        "gpstoken: num_tokens: VQAutoencoder has one token for every 2x2 pixels, cannot make 16; leave it out\n"
    )
    assert run_cli([*evaluate, "--focus-radius", "0.3", "--focus-strength", "5"]) == 2
    assert capsys.readouterr().err == (
        "gpstoken: --focus-strength: VQAutoencoder cannot draw tokens to a region; leave the option out\n"
    )


def test_an_exported_tokenizer_becomes_a_run_again(tiny_arguments, run_cli, tmp_path, capsys):
    trained, again, file = tmp_path / "trained", tmp_path / "again", tmp_path / "mine.safetensors"
    assert run_cli([*tiny_arguments(trainer={"max_steps": 2}), "--output", str(trained)]) == 0
    assert run_cli(["export", str(trained / "last.ckpt"), "-o", str(file), "--type", "float32"]) == 0
    _, _, row, *overlays = tiny_arguments()
    assert run_cli(["published", row, str(file), "-o", str(again), *overlays]) == 0
    first, second = (load_tokenizer(run / "last.ckpt") for run in (trained, again))
    assert first.config == second.config
    for name, tensor in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor)
    origin = read_origin(again)
    assert origin["commit"] == read_origin(trained)["commit"] and origin["weights"]["file"] == "mine.safetensors"
    assert [phase["run"] for phase in origin["phases"]] == [phase["run"] for phase in phases(again)] == ["trained"]
    other = ["published", row, str(file), "-o", str(tmp_path / "other"), *overlays]
    assert run_cli([*other, "--model.init_args.tokenizer.init_args.support_factor", "5.0"]) == 2
    assert "mine.safetensors: was trained with support_factor 3.0, the row has 5.0" in capsys.readouterr().err
    output = tmp_path / "results" / "mine.json"
    evaluate = ["evaluate", str(again), "-o", str(output), "--row", "mine", "--scale", "tiny", "--networks"]
    assert run_cli(evaluate) == 0
    assert json.loads(output.read_text())["metrics"]["psnr"]["mean"] > 0


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        ("none.yaml", [], "none.yaml: no such row; experiments/tokenizers/ has them"),
        (
            "experiments/tokenizers/gpstoken_m128.yaml",
            [],
            "tensor 'refine.query' is missing",
        ),
        (
            ROW,
            [],
            "published.ckpt: tensor 'autoencoder.encoder.conv_in.weight' has shape (4, 3, 3, 3), expected "
            "(128, 3, 3, 3)",
        ),
    ],
)
def test_what_cannot_be_taken(published, capsys, row, options, message):
    code, run, _ = published(*options, row=row)
    error = capsys.readouterr().err
    *said, line = error.splitlines()
    assert code == 2 and message in line and all("has no digest" in other for other in said)
    assert not run.exists()


def test_statistics_and_licences_travel_with_a_run(tmp_path, run_cli, capsys):
    tiny = {
        "image_size": 32, "width": 24, "depth": 1, "heads": 2, "num_tokens": 4, "channels": 3, "codebook_size": 5,
        "codebooks": 2,
    }  # fmt: skip
    overlay = {**OVERLAY, "model": {"init_args": {"tokenizer": {"init_args": tiny}}}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(overlay))
    weights = tmp_path / "hub" / "model.safetensors"
    weights.parent.mkdir()
    save_file(SoftVQ(**tiny).state_dict(), weights)
    (weights.parent / "config.json").write_text(json.dumps({"vq_mean": 0.5, "vq_std": 2.0}))
    run, file, again = tmp_path / "published", tmp_path / "mine.safetensors", tmp_path / "again"
    row, options = "experiments/tokenizers/softvq.yaml", ["-c", str(tmp_path / "tiny.yaml")]
    assert run_cli(["published", row, str(weights.parent), "-o", str(run), *options]) == 0
    said = capsys.readouterr().out
    assert f"{weights.parent}: published weights of SoftVQ: no licence was found" in said
    assert f"{weights.parent}: with statistics of the latents" in said
    assert run_cli(["export", str(run / "last.ckpt"), "-o", str(file), "--type", "float32"]) == 0
    assert run_cli(["published", row, str(file), "-o", str(again), *options]) == 0
    for origin, name in ((read_origin(run), "model.safetensors"), (read_origin(again), "mine.safetensors")):
        assert origin["statistics"] == {"mean": [0.5] * 3, "std": [2.0] * 3}
        assert origin["weights"]["licence"] == "none" and origin["weights"]["file"] == name
