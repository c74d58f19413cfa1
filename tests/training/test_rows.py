"""Every row of the tables builds, at the scale that trains here and at the paper's."""

from pathlib import Path

import pytest
import torch
import yaml

from gpstoken.tokenizer import Tokenizer
from gpstoken.training import TokenizerModule
from gpstoken.training.run import RunCLI

REPOSITORY = Path(__file__).parents[2]
ROWS = sorted((REPOSITORY / "experiments/tokenizers").glob("*.yaml"))

LAPTOP = REPOSITORY / "experiments/_scale/laptop.yaml"
PARAMS = [REPOSITORY / "params.yaml", *sorted((REPOSITORY / "experiments/_scale").glob("*.params.yaml"))]


def build(monkeypatch, *configs: str) -> RunCLI:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr("sys.argv", ["gpstoken"])  # else LightningCLI warns of pytest's own arguments
    return RunCLI(run=False, args=[part for config in configs for part in ("-c", str(config))])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.stem)
def test_row_at_laptop_scale(monkeypatch, row):
    cli = build(monkeypatch, row, LAPTOP)
    assert isinstance(cli.model, TokenizerModule)
    assert isinstance(cli.model.tokenizer, Tokenizer)
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert cli.model.tokenizer(image).shape == image.shape
    assert cli.datamodule.image_size == 64
    assert cli.trainer.max_steps <= 1000


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
        num_tokens = {row.stem: build(monkeypatch, row).model.tokenizer.num_tokens for row in ROWS}
    assert len(PARAMS) > 3
    for path in PARAMS:
        params = yaml.safe_load(path.read_text())
        assert params["tokens"].keys() == num_tokens.keys(), path.name
        # A scale divides the token counts of all rows by one number; the paper's by 1.
        ratios = {num_tokens[row] / tokens for row, tokens in params["tokens"].items()}
        assert len(ratios) == 1, path.name
        assert params["config"] != "paper" or ratios == {1}
