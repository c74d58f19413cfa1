"""The tables of one trained model with other token counts and sizes, and with a focus map."""

import pytest

OURS = "ours, laptop scale, 64 px"


def verdicts(page: str) -> list[list[str]]:
    """Claim, metric, difference, what is claimed and the outcome, of every line of the second table."""
    text = page.split("Tests of the paper's claims")[1]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [[*line[:3], *line[4:]] for line in lines[2:]]


def test_tokens_verdicts_as_they_come_out(study, pages, cells):
    study("tokens_quarter", num_tokens=4, levels={"psnr": 18.0})
    study("tokens_half", num_tokens=8, levels={"psnr": 19.0})
    study("tokens_double", num_tokens=32, levels={"psnr": 18.75})
    # the trained count is the row itself
    study("gpstoken_m128", group="tokenizers", levels={"psnr": 19.0})
    page = pages()["tokens.md"]
    assert [line for line in verdicts(page) if line[1] == "PSNR (dB) ↑"] == [
        ["half over a quarter of the trained count", "PSNR (dB) ↑", "+1.000", "> 0", "holds"],
        ["the trained count over half of it", "PSNR (dB) ↑", "+0.000", "> 0", "not resolved"],
        ["twice the trained count over it", "PSNR (dB) ↑", "-0.250", "> 0", "reversed"],
    ]
    assert "**The paper's claim that quality rises with the token count does not hold at the laptop scale**: of" in page
    assert cells(page, OURS, "half of the trained count")["the paper's row"] == "64"
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
        study(row, size, count, levels={"psnr": psnr})
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
        for size, name in ((64, "trained size and count"), (128, "2x, fixed count"), (128, "2x, in proportion"))
    ]
    assert psnr == ["20.00 ± 0.25", "18.00 ± 0.25", "**19.75 ± 0.25**"]
    assert cells(page, "paper, 512 px", "GPSToken-M128", "-", "128")["FID ↓"] == "21.01"


def test_resolutions_of_other_photographs_are_refused(study, pages):
    study("resolution_1x", 64, 16)
    study("resolution_2x", 128, 64, photographs=2)
    with pytest.raises(ValueError, match="resolution_1x and resolution_2x: measured with different photographs"):
        pages()


def test_focus_is_claimed_inside_and_its_cost_is_told(study, pages, cells):
    map_ = {"radius": 0.3, "strength": 5.0}
    study("focus_none", focus=map_ | {"strength": 0.0}, levels={"psnr_inside": 20.0, "psnr_outside": 20.0})
    levels = {"psnr_inside": 21.0, "psnr_outside": 19.5, "psnr": 19.75}
    study("focus_centre", focus=map_, levels=levels)
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
    study("focus_none", levels={"psnr_inside": 20.0, "psnr_outside": 20.0})
    page = pages()["focus.md"]
    assert cells(page, "ours, not measured")["method"] == "map on a central disc"
    assert (
        "The paper's claim that a focus map raises the quality inside it was not measured at the laptop scale." in page
    )
