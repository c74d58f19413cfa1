"""What a tokenizer's latent adds to the loss, in the command line and in the loss."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
import yaml

from gpstoken import GPSToken
from gpstoken.baselines.dc import DCAutoencoder
from gpstoken.baselines.kl import KLAutoencoder
from gpstoken.baselines.vq import VQAutoencoder
from gpstoken.commands.fit import RunCLI
from gpstoken.training import TokenizerModule
from gpstoken.training.files import read_metrics

ROW = "experiments/tokenizers/sdxl_vae.yaml"
TINY = {"latent_channels": 2, "block_out_channels": [4, 8], "layers_per_block": 1, "norm_num_groups": 2}
TINY_DC = {
    "latent_channels": 4, "block_out_channels": [8, 8, 8], "encoder_layers": [0, 1, 1], "decoder_layers": [0, 1, 1],
    "attention_levels": 1, "attention_head_dim": 4,
}  # fmt: skip


@pytest.fixture
def image():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def kl(weight=1e-6):
    return KLAutoencoder(**TINY, kl_weight=weight)


def vq():
    return VQAutoencoder(8, **TINY)


def dc():
    return DCAutoencoder(**TINY_DC)


@pytest.fixture
def make():
    def module(make_tokenizer=kl, **options):
        torch.manual_seed(0)
        small = {"perceptual_weight": 0.0, "adversarial_start": None, "discriminator_channels": 4}
        module = TokenizerModule(make_tokenizer(), **small | {"discriminator_levels": 1} | options)
        module.setup("fit")
        return module

    return module


def test_loss_has_the_share_of_the_divergence_that_latent_diffusion_gives_it(make, image):
    module = make(lambda: kl(1e-2))
    torch.manual_seed(3)
    terms = module.autoencoder_terms(image, adversarial=False)
    torch.manual_seed(3)
    reconstruction, divergence = module.tokenizer(image), module.tokenizer.divergence
    # Theirs: sums over each image's numbers and over its latent, divided by the number of images
    theirs = (((image - reconstruction) ** 2).sum() + 1e-2 * divergence.sum()) / 2
    # ... of which ours is a 3 * 32 * 32 th: float32 sums of 6144 in another order
    torch.testing.assert_close(terms["loss"] * 3072, theirs, rtol=1e-5, atol=0)
    assert set(terms) == {"loss", "l2", "kl"}
    torch.testing.assert_close(terms["kl"], divergence.mean())
    assert 1e-2 * terms["kl"] / 3072 > 1e-5 * terms["l2"]  # else the sum above would say nothing of it


def test_adaptive_weight_does_not_know_the_divergence(make, image):
    weights = []
    for kl_weight in (0.0, 100.0):
        module = make(partial(kl, kl_weight), adversarial_start=0)
        torch.manual_seed(3)
        weights.append(module.autoencoder_terms(image, adversarial=True)["adaptive_weight"])
    assert torch.equal(*weights)


def test_a_codebooks_loss_stands_beside_the_mean_reconstruction(make, image):
    terms = make(vq).autoencoder_terms(image, adversarial=False)
    assert set(terms) == {"loss", "l2", "codebook"} and terms["codebook"] > 1e-4 * terms["l2"]
    # taming: mean reconstruction + 1.0 * codebook loss
    torch.testing.assert_close(terms["loss"], terms["l2"] + terms["codebook"])


def test_a_latent_without_a_loss_adds_none(make, image):
    narrow = {"width": 8, "depth": 1, "stem_channels": 4, "decoder_channels": 4, "norm_groups": 2}
    for tokenizer in (dc, partial(GPSToken, 4, image_size=32, grid_size=8, **narrow)):
        terms = make(tokenizer).autoencoder_terms(image, adversarial=False)
        assert set(terms) == {"loss", "l2"} and torch.equal(terms["loss"], terms["l2"])


def test_a_loss_of_the_latent_alone(make, image):
    class Blind(VQAutoencoder):
        def forward(self, image):
            super().forward(image)

    module = make(partial(Blind, 8, **TINY))
    terms = module.autoencoder_terms(image, adversarial=False)
    assert set(terms) == {"loss", "codebook"} and torch.equal(terms["loss"], terms["codebook"])


@pytest.mark.parametrize(
    ("tokenizer", "parts"),
    [
        (kl, ["Encoder", "Conv2d", "Conv2d", "Decoder"]),
        (vq, ["Encoder", "Conv2d", "Conv2d", "Decoder"]),
        (dc, ["Encoder", "Decoder"]),
    ],
    ids=["kl", "vq", "dc"],
)
def test_compiling_reaches_the_parts_that_are_called(make, image, monkeypatch, tokenizer, parts):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(self))
    module = make(tokenizer, compile=True)
    called = []
    for network in compiled:
        network.register_forward_hook(lambda network, *_: called.append(type(network).__name__))
    module.tokenizer(image)
    assert called == parts


def test_a_discriminator_needs_a_last_layer_that_is_trained():
    tokenizer = KLAutoencoder(**TINY)
    tokenizer.last_layer.requires_grad_(False)
    with pytest.raises(ValueError, match="adversarial_start: expected null, because the tokenizer's last layer is not"):
        TokenizerModule(tokenizer, adversarial_start=0)


def test_row_at_paper_scale(repository, monkeypatch):
    monkeypatch.chdir(repository)
    monkeypatch.setattr("sys.argv", ["gpstoken"])  # else LightningCLI warns of pytest's own arguments
    with torch.device("meta"):
        cli = RunCLI(run=False, args=["-c", ROW])
    assert type(cli.model) is TokenizerModule and cli.model.tokenizer.config["kl_weight"] == 1e-6
    assert sum(parameter.numel() for parameter in cli.model.tokenizer.parameters()) == 83_653_863
    assert cli.datamodule.image_size == 256 and cli.model.adversarial_start == 600_000


def test_fit_by_the_command(tmp_path, run_cli, repository):
    overlay = {
        "model": {
            "init_args": {
                "tokenizer": {"init_args": TINY},
                "learning_rate": 1e-2,
                "perceptual_weight": 0.0,
                "adversarial_start": 10,
                "discriminator_channels": 4,
                "discriminator_levels": 1,
            }
        },
        "data": {
            "class_path": "datamodules.Embedded",
            "init_args": {
                "root": "data/embedded", "domain": "natural", "image_size": 32, "batch_size": 4, "epoch_length": 20,
                "working_size": 48,
            },
        },
        "trainer": yaml.safe_load((repository / "experiments/laptop/tokenizers.yaml").read_text())["trainer"],
    }  # fmt: skip
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(overlay))
    steps = {"trainer": {"max_steps": 14, "val_check_interval": 5, "limit_val_batches": 1}}
    (tmp_path / "steps.yaml").write_text(yaml.safe_dump(steps))
    configs = [ROW, str(tmp_path / "tiny.yaml"), str(tmp_path / "steps.yaml")]
    output = tmp_path / "output"
    assert run_cli(["fit", *(part for each in configs for part in ("-c", each)), "--output", str(output)]) == 0

    rows = {(step, name): value for step, name, value in read_metrics(output / "metrics.csv")}
    # Step 10 is the autoencoder's, logged in float32: L2 and KL are the whole of its loss.
    expected = rows[10, "train/l2"] + 1e-6 * rows[10, "train/kl"] / 3072
    assert rows[10, "train/loss"] == pytest.approx(expected, rel=1e-6) and rows[10, "train/kl"] > 0
    checkpoint = torch.load(output / "last.ckpt", weights_only=True)
    assert checkpoint["tokenizer"]["class_path"] == "gpstoken.baselines.kl.KLAutoencoder"
    tokenizer = KLAutoencoder(**checkpoint["tokenizer"]["init_args"])
    weights = {name: tensor for name, tensor in checkpoint["state_dict"].items() if name.startswith("tokenizer.")}
    tokenizer.load_state_dict({name.removeprefix("tokenizer."): tensor for name, tensor in weights.items()})


@pytest.mark.parametrize(
    ("tokenizer", "share"),
    # A vector of two codebook entries has less to say than a grid of numbers.
    [(kl, 0.3), (vq, 0.6), (dc, 0.3)],
    ids=["kl", "vq", "dc"],
)
def test_it_learns(make, image, tokenizer, share):
    module = make(tokenizer)
    optimizer = torch.optim.Adam(module.tokenizer.parameters(), lr=1e-2)
    smooth = F.interpolate(image[:, :, :4, :4], 32, mode="bilinear")
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        terms = module.autoencoder_terms(smooth, adversarial=False)
        terms["loss"].backward()
        optimizer.step()
        losses.append(terms["l2"].item())
    assert losses[-1] < share * losses[0]
