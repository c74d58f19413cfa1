"""Every network of the generators builds, at the scale that trains here and at the paper's."""

from pathlib import Path

import pytest
import torch

from gpstoken.baselines.kl import KLAutoencoder
from gpstoken.commands.by_row import expanded
from gpstoken.commands.fit import RunCLI
from gpstoken.training.generator_module import GeneratorModule

REPOSITORY = Path(__file__).parents[2]
# Millions of parameters: the paper's 33 and 675, SiT-XL/2's 675 and what the texture stage's layout slot adds.
PAPER = {"layout": 32.902, "texture": 676.335, "one_stage": 674.999, "grid": 675.130}
KINDS = {"layout": "Layout", "texture": "Texture"}


def build(monkeypatch, row: str, scale: str, *more: str) -> RunCLI:
    """A network as `gpstoken fit ROW --scale SCALE` builds it."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr("sys.argv", ["gpstoken"])  # else LightningCLI warns of pytest's own arguments
    _, *words = expanded("fit", row, scale, [0])[0]
    return RunCLI(run=False, args=[*words[: words.index("--seed_everything")], *more])


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("stage", PAPER)
def test_stage_at_paper_scale(monkeypatch, stage):
    with torch.device("meta"):
        cli = build(monkeypatch, stage, "paper", "--trainer.precision", "32-true")
    assert isinstance(cli.model, GeneratorModule)
    assert type(cli.model.generator).__name__ == KINDS.get(stage, "Flow")
    assert parameters(cli.model.generator) / 1e6 == pytest.approx(PAPER[stage], abs=1e-3)
    assert cli.model.learning_rate == 1e-4
    assert cli.datamodule.batch_size == 256
    assert cli.trainer.max_steps == 1_000_000


def test_the_papers_other_layout_network_is_a_flag(monkeypatch):
    # the discussion's SiT-B/4, by hand: B of the same widths has 130.35 M with 32 positions of four tokens
    flags = {"patch_size": 4, "width": 768, "depth": 12, "heads": 12}
    options = [
        part
        for name, value in flags.items()
        for part in (f"--model.init_args.generator.init_args.network.init_args.{name}", value)
    ]
    options += ["--trainer.precision", "32-true"]
    with torch.device("meta"):
        cli = build(monkeypatch, "layout", "paper", *map(str, options))
    assert parameters(cli.model.generator) / 1e6 == pytest.approx(130.35, abs=1e-3)


def test_the_grids_autoencoder_at_paper_scale(monkeypatch):
    with torch.device("meta"):
        cli = build(monkeypatch, "kl_autoencoder", "paper")
    assert isinstance(cli.model.tokenizer, KLAutoencoder)
    assert parameters(cli.model.tokenizer) == 83_653_863
    assert cli.model.tokenizer.config["kl_weight"] == 1e-6


@pytest.mark.parametrize("stage", [*PAPER, "layout_small", "texture_small"])
def test_stage_as_the_pipeline_trains_it(monkeypatch, stage):
    cli = build(monkeypatch, stage, "laptop")
    network = cli.model.generator.network
    cells = (8, 8) if stage == "grid" else (16,)
    assert tuple(network.config["shape"]) == cells
    assert network.num_classes == 5
    shape = (2, 4, 8, 8) if stage == "grid" else (2, 16, network.config["channels"])
    layout = torch.rand(2, 16, 5) if stage.startswith("texture") else None
    with torch.no_grad():
        assert network(torch.randn(shape), torch.rand(2), torch.tensor([0, 5]), layout).shape == shape


def test_one_stage_and_the_grid_have_the_budget_of_both_stages(monkeypatch):
    steps = {stage: build(monkeypatch, stage, "laptop").trainer.max_steps for stage in PAPER}
    # Thousandths of a GMAC a sample, as `gpstoken cost` counts them
    both = steps["texture"] * 7.80 + steps["layout"] * 1.95
    assert steps["one_stage"] * 7.64 == pytest.approx(both, rel=0.01)
    assert steps["grid"] * 7.62 == pytest.approx(both, rel=0.01)
