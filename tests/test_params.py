"""params.yaml of every scale."""

import shutil
from pathlib import Path

import pytest
import yaml

from gpstoken import params

ROOT = Path(__file__).parents[1]


@pytest.fixture
def scales(tmp_path, monkeypatch):
    """A folder with the scales of the repository, to be changed."""
    shutil.copytree(ROOT / "experiments/_scale", tmp_path / "experiments/_scale")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "experiments/_scale"


def test_the_committed_file_is_the_laptops(scales):
    params.main(["laptop"])
    assert Path("params.yaml").read_text() == (ROOT / "params.yaml").read_text()


def test_quick_is_laptop_but_for_what_it_says(scales):
    laptop, quick = params.compose("laptop"), params.compose("quick")
    assert laptop.keys() == quick.keys() and "like" not in quick
    assert (quick["scale"], quick["config"], quick["seeds"]) == ("quick", "laptop", "0")
    assert quick["generation"]["samples"] == "-n 20 --steps 4"
    # every row, study, sweep and profile is run
    for name in ("tokens", "baselines", "sweeps", "studies", "evaluations", "profiles"):
        assert quick[name] == laptop[name], name
    assert quick["generation"]["stages"].keys() == laptop["generation"]["stages"].keys()
    assert quick["generation"]["caches"]["gpstoken"] == "runs/quick/generation/gpstoken/seed0/last.ckpt"


@pytest.mark.parametrize("scale", ["laptop", "quick", "workstation", "paper"])
def test_no_path_of_one_scale_is_of_another(scales, scale):
    text = yaml.safe_dump(params.compose(scale))
    others = {"laptop", "quick", "workstation", "paper"} - {scale}
    assert "{" not in text.replace("{}", "")
    for folder in ("runs", "data/cache", "data/real", "results"):
        assert not [other for other in others if f"{folder}/{other}/" in text]


def test_evaluations_are_the_rows_and_then_the_studies(scales):
    (scales / "tiny.params.yaml").write_text(
        "tokens: {ours: 8}\nbaselines: {theirs: ''}\nstudies: {half: {row: ours, options: --num-tokens 4}}\n"
        "generation: {rows: {}, costs: []}\n"
    )
    assert params.compose("tiny")["evaluations"] == {
        "ours": {"group": "tokenizers", "row": "ours", "options": ""},
        "theirs": {"group": "tokenizers", "row": "theirs", "options": ""},
        "half": {"group": "studies", "row": "ours", "options": "--num-tokens 4"},
    }


def test_costs_are_of_the_rows_named_and_of_their_first_seed():
    row = {"stage": "texture", "layout": "layout", "tokens": "gpstoken", "options": "--layout runs/x/seedSEED"}
    assert params.costs({"rows": {"two": row, "other": row}, "costs": ["two"]}) == {
        "two": {"stage": "texture", "layout": "layout", "options": "--layout runs/x/seed0"}
    }


@pytest.mark.parametrize(
    ("study", "why"),
    [("half: {row: other, options: ''}", "study half is of other"), ("ours: {row: ours, options: ''}", "a row and a")],
)
def test_a_study_that_cannot_be_is_refused(scales, study, why):
    (scales / "tiny.params.yaml").write_text(
        f"tokens: {{ours: 8}}\nbaselines: {{}}\nstudies: {{{study}}}\ngeneration: {{rows: {{}}, costs: []}}\n"
    )
    with pytest.raises(ValueError, match=why):
        params.compose("tiny")
