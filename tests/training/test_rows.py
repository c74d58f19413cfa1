"""Every row of the tables builds, at the scale that trains here and at the paper's."""

import shlex
from pathlib import Path

import pytest
import torch
import yaml
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gpstoken.params import compose
from gpstoken.tokenizer import Tokenizer
from gpstoken.training import TokenizerModule
from gpstoken.training.run import RunCLI

REPOSITORY = Path(__file__).parents[2]
ROWS = sorted((REPOSITORY / "experiments/tokenizers").glob("*.yaml"))
# Rows over diffusers: millions of parameters of the published size, tokens as they lie at the paper's 256 px, at 64.
BASELINES = {
    "sdxl_vae": (83.65, (32, 32), (8, 8)),
    "vqvae_f16": (72.14, (16, 16), (4, 4)),
    "vavae": (69.84, (16, 16), (4, 4)),
    "dcae": (323.36, (8, 8), (2, 2)),
}
TOKENS = "--model.init_args.tokenizer.init_args.num_tokens"
OURS = [row for row in ROWS if row.stem not in BASELINES]

LAPTOP = REPOSITORY / "experiments/_scale/laptop.yaml"
SCALES = sorted(path.name.split(".")[0] for path in (REPOSITORY / "experiments/_scale").glob("*.params.yaml"))


def build(monkeypatch, *configs: str, flags: str = "") -> RunCLI:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr("sys.argv", ["gpstoken"])  # else LightningCLI warns of pytest's own arguments
    return RunCLI(run=False, args=[*(part for config in configs for part in ("-c", str(config))), *shlex.split(flags)])


@pytest.mark.parametrize("row", OURS, ids=lambda row: row.stem)
def test_row_at_laptop_scale(monkeypatch, row):
    cli = build(monkeypatch, row, LAPTOP)
    assert isinstance(cli.model, TokenizerModule)
    assert isinstance(cli.model.tokenizer, Tokenizer)
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert cli.model.tokenizer(image).shape == image.shape
    assert cli.datamodule.image_size == 64
    assert cli.trainer.max_steps <= 1000


@torch.no_grad()
def multiply_adds(tokenizer: Tokenizer) -> float:
    """Of one image of 64 px, encoded and decoded; fused attention is not counted, so it is not fused."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        tokenizer.eval()(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("row", BASELINES)
def test_baseline_at_laptop_scale(monkeypatch, row):
    flags = yaml.safe_load((REPOSITORY / "experiments/_scale/laptop.params.yaml").read_text())["baselines"][row]
    overlay = REPOSITORY / "experiments/_scale/laptop_baselines.yaml"
    cli = build(monkeypatch, f"experiments/tokenizers/{row}.yaml", overlay, flags=flags)
    assert cli.model.tokenizer.code((64, 64)).shape == BASELINES[row][2]
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert cli.model.tokenizer.eval()(image).shape == image.shape
    # The budget is that of the networks as the paper counts them: ours without the rewrites that save products.
    flags = f"{TOKENS} 16 --model.init_args.tokenizer.init_args.fused false"
    ours = build(monkeypatch, "experiments/tokenizers/gpstoken_m128.yaml", LAPTOP, flags=flags).model.tokenizer
    sizes = [sum(each.numel() for each in tokenizer.parameters()) for tokenizer in (cli.model.tokenizer, ours)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)
    assert multiply_adds(cli.model.tokenizer) == pytest.approx(multiply_adds(ours), rel=0.1)


@pytest.mark.parametrize("scale", ["laptop", "workstation"])
def test_baselines_have_the_budget_of_ours(scale):
    # Everything but the tokenizer: data, losses, learning rate, schedule.
    files = (f"experiments/_scale/{scale}.yaml", f"experiments/_scale/{scale}_baselines.yaml")
    budgets = [yaml.safe_load((REPOSITORY / file).read_text()) for file in files]
    assert budgets[0]["model"]["init_args"].pop("tokenizer")
    assert budgets[0] == budgets[1]


@pytest.mark.parametrize("row", BASELINES)
def test_baseline_at_paper_scale(monkeypatch, row):
    with torch.device("meta"):
        tokenizer = build(monkeypatch, f"experiments/tokenizers/{row}.yaml").model.tokenizer
    millions, shape, _ = BASELINES[row]
    assert sum(each.numel() for each in tokenizer.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)
    assert tokenizer.code((256, 256)).shape == shape


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.stem)
def test_row_at_paper_scale(monkeypatch, row):
    with torch.device("meta"):
        cli = build(monkeypatch, row)
    assert isinstance(cli.model.tokenizer, Tokenizer)
    assert cli.datamodule.image_size == 256
    assert cli.trainer.max_steps == 1_000_000
    assert cli.model.adversarial_start == 600_000
    assert cli.model.inception_weight == 0


def test_the_list_of_rows_is_the_folder(monkeypatch):
    with torch.device("meta"):
        num_tokens = {row.stem: build(monkeypatch, row).model.tokenizer.num_tokens for row in OURS}
    assert {row.stem for row in ROWS} == num_tokens.keys() | BASELINES.keys()
    assert len(SCALES) > 3
    for scale in SCALES:
        params = compose(scale)
        assert params["tokens"].keys() == num_tokens.keys(), scale
        assert params["baselines"].keys() == BASELINES.keys(), scale
        experiments = {name.split("/")[1] for name in params["profiles"].values() if name.startswith("tokenizers/")}
        assert experiments == {"gpstoken_s64", "gpstoken_m128", "gpstoken_l256", *BASELINES}, scale
        # A scale divides the token counts of all rows by one number; the paper's by 1.
        ratios = {num_tokens[row] / tokens for row, tokens in params["tokens"].items()}
        assert len(ratios) == 1, scale
        assert params["config"] != "paper" or ratios == {1}
