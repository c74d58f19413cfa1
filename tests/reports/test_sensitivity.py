"""The table of λ, s and s_min: every value that was measured as the base row was."""

import json

import pytest

OURS = "ours, laptop scale, 64 px"
KNOBS = {"lambda_": 2.5, "support_factor": 3.0, "min_region_size": 4}


@pytest.fixture
def sweep(study):
    """Writes results/laptop/sweeps/ROW, with PSNR `psnr` everywhere and the other metrics as in the base row."""

    def write(row: str, psnr: float, **changes):
        options = {name: changes.pop(name) for name in ("steps", "seeds", "data", "levels") if name in changes}
        arguments = {"num_tokens": 16, "feature_channels": 16, "image_size": 64, **KNOBS, **changes}
        tokenizer = {"class_path": "gpstoken.tokenizer.GPSToken", "init_args": arguments}
        levels = {"psnr": psnr} | options.pop("levels", {})
        return study(row, group="sweeps", of=row, tokenizer=tokenizer, levels=levels, **options)

    return write


@pytest.fixture
def base(study):
    study("gpstoken_m128", group="tokenizers", levels={"psnr": 20.0})


def ours(pages) -> dict[str, tuple[str, str]]:
    """Row -> its parameter and value, of the rows of ours that were measured."""
    rows = [row for row in json.loads(pages["sensitivity.json"])["rows"] if row["ours"] and row["result"]]
    return {
        row["row"]: tuple(row["cells"].get(name, {"text": ""})["text"] for name in ("parameter", "value"))
        for row in rows
    }


def test_every_value_is_a_row_in_order(base, sweep, pages, cells):
    sweep("lambda_=10", 19.0, lambda_=10.0), sweep("lambda_=5", 19.9, lambda_=5.0)
    sweep("support_factor=1", 16.0, support_factor=1.0), sweep("min_region_size=8", 20.1, min_region_size=8)
    written = pages()
    # a value that nobody declared is there too
    assert ours(written) == {
        "gpstoken_m128": ("default", "λ = 2.5, s = 3, s_min = 4"),
        "lambda_=5": ("λ", "5"),
        "lambda_=10": ("λ", "10"),
        "support_factor=1": ("s", "1"),
        "min_region_size=8": ("s_min", "8"),
    }
    page = written["sensitivity.md"]
    assert cells(page, OURS, "s_min", "8")["PSNR (dB) ↑"] == "**20.10 ± 0.25**"
    # as printed, four digits and all
    paper = cells(page, "paper, ImageNet 256 px", "s", "1")
    assert (paper["PSNR (dB) ↑"], paper["SSIM ↑"], paper["rec. FID ↓"]) == ("17.55", "0.4388", "160")
    assert cells(page, "paper, ImageNet 256 px", "default")["value"] == "λ = 2.5, s = 5, s_min = 4"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"steps": 20}, "measured with different training"),
        ({"seeds": (0, 2)}, "measured with different seeds"),
        ({"data": {"fingerprint": "f" * 64}}, "measured with different images"),
        ({"feature_channels": 8}, "further arguments differ from those of gpstoken_m128: feature_channels"),
    ],
)
def test_a_value_measured_otherwise_is_left_out_and_told(base, sweep, pages, changes, why):
    sweep("lambda_=5", 30.0, lambda_=5.0, **changes)
    written = pages()
    assert set(ours(written)) == {"gpstoken_m128"}
    note = next(line for line in written["sensitivity.md"].splitlines() if line.startswith("Left out"))
    assert note.startswith("Left out: lambda_=5: ") and why in note


def test_a_sweep_without_its_base_row_is_left_out(sweep, pages):
    sweep("lambda_=5", 30.0, lambda_=5.0)
    assert "lambda_=5: no result of gpstoken_m128 to compare it with." in pages()["sensitivity.md"]


def verdicts(page: str, metric: str = "PSNR (dB) ↑") -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    return {line[0]: [line[2], *line[4:]] for line in lines if line[1] == metric}


def test_verdicts_by_hand(base, study, sweep, pages):
    study("uniform_refined", group="tokenizers", of="uniform_refined", levels={"psnr": 19.5})
    # every image has one number, so that every interval is a point
    sweep("lambda_=5", 19.8, lambda_=5.0)
    sweep("support_factor=1", 17.0, support_factor=1.0)
    sweep("support_factor=5", 20.2, support_factor=5.0), sweep("support_factor=7", 20.5, support_factor=7.0)
    sweep("support_9", 12.0, support_factor=9.0)  # beyond what the paper speaks of
    sweep("min_region_size=8", 19.8, min_region_size=8), sweep("min_region_size=16", 19.7, min_region_size=16)
    page = pages()["sensitivity.md"]
    collapse = "collapse at s = 1: the default s better by more than half of the paper's loss"
    # margins of tables.yaml: 0.27 dB; a collapse is 3.25 dB
    assert verdicts(page) == {
        "the default λ over λ = 0": ["+0.500", "> 0", "holds"],
        "no loss at λ = 5": ["-0.200", "> -0.270", "holds"],
        "the default s over s = 1": ["+3.000", "> 0", "holds"],
        collapse: ["+3.000", "> +3.250", "reversed"],
        "s = 5 no different from s = 3": ["+0.200", "within ±0.270", "holds"],
        "s = 7 no different from s = 3": ["+0.500", "within ±0.270", "reversed"],
        "s_min = 8 no different from s_min = 4": ["-0.200", "within ±0.270", "holds"],
        "s_min = 16 no different from s_min = 4": ["-0.300", "within ±0.270", "reversed"],
    }
    # less is better, and the collapse is then of more
    assert verdicts(page, "LPIPS (VGG) ↓")[collapse][1:] == ["< -0.1320", "reversed"]


def test_the_margins_are_parts_of_the_papers_figures():
    from reports.declared import every_table
    from reports.tables.rows import read_published

    declared = every_table()["sensitivity"]
    uniform, _, ours = read_published("ablation_adaptivity_imagenet256.csv")
    printed = {(row["parameter"], row["value"]): row for row in read_published("sensitivity_imagenet256.csv")}
    default, worst = printed["default", "lambda=2.5 s=5 s_min=4"], printed["support", "1"]
    collapse = next(claim for claim in declared["claims"] if claim.get("kind") == "by more than")["margins"]
    for metric, name in (("psnr", "psnr"), ("ssim", "ssim"), ("lpips_alexnet", "lpips"), ("lpips_vgg16", "lpips")):
        gain = abs(float(ours[name]) - float(uniform[name]))
        loss = abs(float(default[name]) - float(worst[name]))
        # half of it, but for the last digit that is printed
        assert declared["margins"][metric] == pytest.approx(gain / 2, abs=1e-9)
        assert collapse[metric] == pytest.approx(loss / 2, rel=0.01)
