"""The tables of one trained model with other token counts and sizes, and with a focus map."""

import json

import numpy as np
import pytest

OURS = "ours, laptop scale, 64 px"


def verdicts(page: str) -> list[list[str]]:
    """Claim, metric, difference, what is claimed and the outcome, of every line of the second table."""
    text = page.split("Tests of the paper's claims")[1]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [[*line[:3], *line[4:]] for line in lines[2:]]


def test_tokens_verdicts_as_they_come_out(study, pages, cells):
    for count, psnr in ((64, 18.0), (128, 19.0), (256, 19.0), (512, 18.75)):
        study(f"small_natural_{count}", num_tokens=count, of="small", levels={"psnr": psnr})
    page = pages()["tokens.md"]
    assert [line for line in verdicts(page) if line[1] == "PSNR (dB) ↑"] == [
        ["128 tokens over 64", "PSNR (dB) ↑", "+1.000", "> 0", "holds"],
        ["256 tokens over 128", "PSNR (dB) ↑", "+0.000", "> 0", "not resolved"],
        ["512 tokens over 256", "PSNR (dB) ↑", "-0.250", "> 0", "reversed"],
    ]
    assert "**The paper's claim that quality rises with the token count does not hold at the laptop scale**: of" in page
    assert cells(page, OURS, "small", "64")["tokens"] == "128"
    assert cells(page, "paper, one picture", "GPSToken-M128", "-", "64")["PSNR (dB) ↑"] == "22.64"


SIZES = {
    "resolution_1x": (64, 16, 20.0),
    "resolution_2x_fixed": (128, 16, 18.0),
    "resolution_2x": (128, 64, 19.75),
    "resolution_4x_fixed": (256, 64, 18.0),
    "resolution_4x": (256, 256, 19.25),
}


def test_resolution_verdicts_by_hand(study, pages, cells):
    for row, (size, count, psnr) in SIZES.items():
        study(row, size, count, of="small", levels={"psnr": psnr})
    page = pages()["resolution.md"]
    # margins of tables.yaml: 0.5 dB, 0.02 of LPIPS
    assert [line for line in verdicts(page) if line[1] == "PSNR (dB) ↑"] == [
        ["no loss at 2x with tokens in proportion", "PSNR (dB) ↑", "-0.250", "> -0.500", "holds"],
        ["no loss at 4x with tokens in proportion", "PSNR (dB) ↑", "-0.750", "> -0.500", "reversed"],
        ["at 2x, tokens in proportion over the fixed count", "PSNR (dB) ↑", "+1.750", "> 0", "holds"],
        ["at 4x, tokens in proportion over the count of 2x", "PSNR (dB) ↑", "+1.250", "> 0", "holds"],
    ]
    lpips = [line for line in verdicts(page) if line[1] == "LPIPS (VGG) ↓"]
    assert [line[3:] for line in lpips] == [["< +0.0200", "holds"]] * 2 + [["< 0", "not resolved"]] * 2
    # best of one size, and of nothing where there is only one row
    psnr = [
        cells(page, f"ours, laptop scale, {size} px", name)["PSNR (dB) ↑"]
        for size, name in ((64, "trained size"), (128, "2x, fixed count"), (128, "2x, in proportion"))
    ]
    assert psnr == ["20.00 ± 0.25", "18.00 ± 0.25", "**19.75 ± 0.25**"]
    assert cells(page, "paper, 512 px", "GPSToken-M128", "-", "128")["FID ↓"] == "21.01"


def test_resolutions_of_other_photographs_are_refused(study, pages):
    study("resolution_1x", 64, 16, of="small")
    study("resolution_2x", 128, 64, of="small", photographs=2)
    with pytest.raises(ValueError, match="resolution_1x and resolution_2x: measured with different photographs"):
        pages()


def test_focus_is_claimed_inside_and_its_cost_is_told(study, pages, cells):
    map_ = {"radius": 0.3, "strength": 5.0}
    levels = {"psnr_inside": 20.0, "psnr_outside": 20.0}
    study("focus_none", focus=map_ | {"strength": 0.0}, of="small", levels=levels)
    levels = {"psnr_inside": 21.0, "psnr_outside": 19.5, "psnr": 19.75}
    study("focus_centre", focus=map_, of="small", levels=levels)
    page = pages()["focus.md"]
    assert verdicts(page) == [
        ["a map over none", "PSNR inside (dB) ↑", "+1.000", "> 0", "holds"],
        ["cost of the map", "PSNR outside (dB) ↑", "-0.500", "nothing", "worse"],
        ["cost of the map", "PSNR (dB) ↑", "-0.250", "nothing", "worse"],
    ]
    # what the map costs is no claim
    said = "**The paper's claim that a focus map raises the quality inside it holds at the laptop scale**: of 1"
    assert said in page
    assert cells(page, OURS, "no map")["focus map"] == "-"
    line = cells(page, OURS, "map on a central disc")
    assert line["focus map"] == "strength 5, radius 0.3 of the shorter side"
    assert (line["PSNR inside (dB) ↑"], line["PSNR outside (dB) ↑"]) == ("**21.00 ± 0.25**", "19.50 ± 0.25")


def test_focus_without_its_pair_is_not_measured(study, pages, cells):
    study("focus_none", of="small", levels={"psnr_inside": 20.0, "psnr_outside": 20.0})
    page = pages()["focus.md"]
    assert cells(page, "ours, not measured")["method"] == "map on a central disc"
    assert (
        "The paper's claim that a focus map raises the quality inside it was not measured at the laptop scale." in page
    )


def test_one_seed_is_enough_to_speak_of_one_model(write_result, pages, cells):
    """Intervals are over photographs; the same numbers of a row that was trained here would not be resolved."""
    values = np.arange(8.0)[None] / 10
    for count, gain in ((64, 0.0), (128, 1.0)):
        psnr = 20 + gain + values * (1 + gain / 10)
        write_result(
            f"small_natural_{count}", {"psnr": (float(psnr.mean()), 0.1)}, {"psnr": psnr}, seeds=(0,), group="studies",
            study="small", photographs=8, data={"dataset": "natural"},
            evaluated={"row": "small", "num_tokens": count, "image_size": 256},
        )  # fmt: skip
    written = pages()
    (line,) = [line for line in verdicts(written["tokens.md"]) if line[0] == "128 tokens over 64" and "PSNR" in line[1]]
    assert line[2:] == ["+1.035", "> 0", "holds"]
    # the differences are 1 and 0.01 more with every photograph: standard error 0.01 * sqrt(6 / 8), t = 2.365
    claims = json.loads(written["tokens.json"])["claims"]
    (claim,) = [claim for claim in claims if claim["text"] == line[0] and "PSNR" in claim["metric"]]
    assert claim["interval"] == pytest.approx([1.0145, 1.0555], abs=6e-4)
    assert written["small.md"].count("On held-out photographs (natural) PSNR is 20.35 dB (64 tokens) and 21.38")


def test_bytes_of_codecs_and_of_rounded_tokens(write_result, pages, cells):
    values = {"psnr": np.full((1, 8), 30.0)}
    codes = {"shape": [9472], "channels": 1, "codebook_size": 256}
    tokens = {"shape": [256], "channels": 37, "codebook_size": None}
    for row, of, code, more in (
        ("rates_jpeg_9472", "jpeg", codes, {}),
        ("rates_small_256_8", "small", tokens, {"token_bits": 8, "bits": 8 * 9620}),
        ("rates_small_256_16", "small", tokens, {"token_bits": 16, "bits": 8 * 18944}),
    ):
        evaluated = {"row": of, "num_tokens": code["shape"][0], "image_size": 256, "code": code} | more
        write_result(
            row, {"psnr": (30.0, 0.1)}, values, seeds=(0,), group="studies", study="rates", evaluated=evaluated,
            steps=len(row), photographs=8, data={"dataset": "natural"},
        )  # fmt: skip
    page, source = pages()["rates.md"], "ours, laptop scale, 256 px"
    assert cells(page, source, "JPEG")["bytes"] == "9,472"
    assert cells(page, source, "GPSToken small", "256", "256 x 37 x 8 bit")["bytes"] == "9,620"  # 2 float16 a channel
    line = cells(page, source, "GPSToken small", "256", "256 x 37 x 16 bit")
    assert (line["bytes"], line["bits per pixel"]) == ("18,944", "2.31")
    assert "At 9.5 kB an image of 256 px (natural) PSNR is 30.00 dB (GPSToken small) and 30.00 dB (JPEG)." in page
