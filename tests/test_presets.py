"""A preset and the experiment of its name are one network."""

from pathlib import Path

import pytest
import yaml

from gpstoken.tokenizer import PRESETS

TOKENIZERS = Path(__file__).parents[1] / "experiments" / "tokenizers"


def row(name):
    return yaml.safe_load((TOKENIZERS / f"{name}.yaml").read_text())["model"]["init_args"]["tokenizer"]


@pytest.mark.parametrize("preset", PRESETS)
def test_the_row_of_the_same_name_is_the_same_network(preset):
    # Every constant by name, none by default: a default that changes must not part them.
    assert row(preset) == {"class_path": "gpstoken.GPSToken", "init_args": PRESETS[preset]}


@pytest.mark.parametrize("scale", ["laptop", "workstation"])
def test_a_scale_names_the_norm_that_it_changes(scale):
    path = TOKENIZERS.parent / scale / "gpstoken.yaml"
    assert yaml.safe_load(path.read_text())["model"]["init_args"]["tokenizer"]["init_args"]["norm"] == "plain"
