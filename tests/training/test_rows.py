"""Every row of the tables builds, at the scale that trains here and at the paper's."""

from pathlib import Path

import pytest
import torch
import yaml
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gpstoken.commands.by_row import expanded
from gpstoken.commands.declared import configuration_files, find_row, read_rows
from gpstoken.commands.fit import RunCLI
from gpstoken.tokenizer import Tokenizer
from gpstoken.training import TokenizerModule

REPOSITORY = Path(__file__).parents[2]
# Rows over diffusers: millions of parameters of the published size, tokens as they lie at the paper's 256 px, at 64.
BASELINES = {
    "sdxl_vae": (83.65, (32, 32), (8, 8)),
    "vqvae_f16": (72.14, (16, 16), (4, 4)),
    "vavae": (69.84, (16, 16), (4, 4)),
    "dcae": (323.36, (8, 8), (2, 2)),
    "maskgit_vae": (54.52, (16, 16), (4, 4)),
    "gaussian_token": (112.80, (256,), (56,)),
    "softvq": (173.56, (64,), (16,)),
    "titok_b64": (204.81, (64,), (8,)),
    "titok_s128": (83.67, (128,), (16,)),
    "maetok": (173.89, (128,), (16,)),
    "flextok": (949.73, (256,), (16,)),
    "one_d_piece": (83.87, (256,), (16,)),
    "maskbit": (54.50, (16, 16), (4, 4)),
}
ROWS = [row.key for row in read_rows() if row.section in ("tokenizers", "ablations")]
TAUGHT = ["titok_b64", "titok_s128", "one_d_piece", "flextok"]  # in a first stage, which has no discriminator
FLOORS = ["pca", "linear"]  # linear maps, with as many numbers as GPSToken-M128
OURS = [row for row in ROWS if row not in [*BASELINES, *FLOORS]]


def build(monkeypatch, row: str, scale: str, *more: str) -> RunCLI:
    """A row as `gpstoken fit ROW --scale SCALE` builds it."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr("sys.argv", ["gpstoken"])  # else LightningCLI warns of pytest's own arguments
    _, *words = expanded("fit", row, scale, [0])[-1]
    return RunCLI(run=False, args=[*words[: words.index("--seed_everything")], *more])


@pytest.mark.parametrize("row", [*OURS, *FLOORS, "lambda_=5", "support_factor=1", "gpstoken_classes"])
def test_row_at_laptop_scale(monkeypatch, row):
    cli = build(monkeypatch, row, "laptop")
    assert isinstance(cli.model, TokenizerModule)
    assert isinstance(cli.model.tokenizer, Tokenizer)
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert cli.model.tokenizer(image).shape == image.shape
    assert cli.datamodule.image_size == 64
    assert cli.trainer.max_steps <= 1000


@torch.no_grad()
def multiply_adds(tokenizer: Tokenizer) -> float:
    """Of one image of 64 px, encoded and decoded; fused attention and layers are not counted, so they are not fused."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            tokenizer.eval()(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("row", BASELINES)
def test_baseline_at_laptop_scale(monkeypatch, row):
    cli = build(monkeypatch, row, "laptop")
    assert cli.model.tokenizer.code((64, 64)).shape == BASELINES[row][2]
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert cli.model.tokenizer.eval()(image).shape == image.shape
    # The budget is that of the networks as the paper counts them: ours without the rewrites that save products.
    unfused = "--model.init_args.tokenizer.init_args.fused=false"
    ours = build(monkeypatch, "gpstoken_m128", "laptop", unfused).model.tokenizer
    sizes = [sum(each.numel() for each in tokenizer.parameters()) for tokenizer in (cli.model.tokenizer, ours)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)
    # A row that takes fewer trains for more steps: it is the products of all steps that are equal.
    assert multiply_adds(cli.model.tokenizer) <= 1.1 * multiply_adds(ours)


@pytest.mark.parametrize("scale", ["quick", "laptop", "paper"])  # that of a workstation needs a GPU
@pytest.mark.parametrize("row", FLOORS)
def test_a_floor_has_as_many_numbers_as_ours(monkeypatch, row, scale):
    with torch.device("meta"):
        modules = [build(monkeypatch, each, scale) for each in (row, "gpstoken_m128")]
    side = modules[0].datamodule.image_size
    codes = [module.model.tokenizer.code((side, side)) for module in modules]
    assert codes[0].tokens * codes[0].channels == codes[1].tokens * codes[1].channels


@pytest.mark.parametrize("scale", ["laptop", "workstation"])
def test_rows_have_one_budget(scale):
    # Data, losses, learning rate and schedule are of the scale; a row's own file changes its tokenizer alone, and how
    # many steps its multiply-adds may take at most.
    for row in ROWS:
        for path in configuration_files(find_row(row, ["tokenizers", "ablations"]), scale)[1:]:
            content = yaml.safe_load(path.read_text())
            if path.stem != "tokenizers":
                assert list(content.pop("trainer", {"max_steps": 0})) == ["max_steps"], path
                assert list(content) == ["model"] and list(content["model"]["init_args"]) == ["tokenizer"], path


@pytest.mark.parametrize("row", BASELINES)
def test_baseline_at_paper_scale(monkeypatch, row):
    with torch.device("meta"):
        tokenizer = build(monkeypatch, row, "paper").model.tokenizer
    millions, shape, _ = BASELINES[row]
    assert sum(each.numel() for each in tokenizer.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)
    assert tokenizer.code((256, 256)).shape == shape


@pytest.mark.parametrize("row", ROWS)
def test_row_at_paper_scale(monkeypatch, row):
    with torch.device("meta"):
        cli = build(monkeypatch, row, "paper")
    assert isinstance(cli.model.tokenizer, Tokenizer)
    assert cli.datamodule.image_size == 256
    assert cli.trainer.max_steps == 1_000_000
    assert cli.model.adversarial_start == (None if row in TAUGHT else 600_000)
    assert cli.model.inception_weight == 0


@pytest.mark.parametrize(
    ("row", "difference"),
    [
        ("init_only", {"refine_geometry": False}),
        ("uniform", {"lambda_": 0.0, "refine_geometry": False}),
        ("uniform_refined", {"lambda_": 0.0}),
        ("min_region_size=16", {"min_region_size": 16}),
    ],
)
def test_an_ablation_differs_by_what_it_ablates(monkeypatch, row, difference):
    with torch.device("meta"):
        ours, whole = (build(monkeypatch, each, "paper").model.tokenizer.config for each in (row, "gpstoken_m128"))
    assert {name: value for name, value in ours.items() if value != whole[name]} == difference


@pytest.mark.parametrize("scale", ["laptop", "workstation", "quick", "paper"])
def test_a_scale_divides_the_token_counts_of_all_rows_by_one_number(monkeypatch, scale):
    counts = {}
    for each in (scale, "paper"):
        for row in OURS:
            content = [yaml.safe_load(path.read_text()) for path in configuration_files(_row(row), each)]
            given = [
                part["model"]["init_args"].get("tokenizer", {}).get("init_args", {})
                for part in content
                if "model" in part
            ]
            counts[each, row] = [part["num_tokens"] for part in given if "num_tokens" in part][-1]
    ratios = {counts["paper", row] / counts[scale, row] for row in OURS}
    assert ratios == {{"laptop": 8, "quick": 8, "workstation": 4, "paper": 1}[scale]}


def _row(key: str):
    return find_row(key, ["tokenizers", "ablations"])
