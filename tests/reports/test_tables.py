import csv
import io
import re

import numpy as np
import pytest

LEVEL = {"psnr": 20.0, "ssim": 0.5, "lpips_alexnet": 0.25, "lpips_vgg16": 0.5}
VALUES = {name: np.full((2, 4), value) for name, value in LEVEL.items()}
S64 = {
    "psnr": (20.314, 0.426),
    "ssim": (0.6184, 0.0246),
    "lpips_alexnet": (0.3996, 0.0114),
    "lpips_vgg16": (0.5004, 0.0095),
}
M128 = S64 | {"psnr": (21.0, 0.5), "lpips_alexnet": (0.41, 0.02)}


def line(page: str, source: str, method: str) -> list[str]:
    """The cells of the line of `method` from `source`."""
    rows = [[cell.strip() for cell in text.strip("|").split("|")] for text in page.splitlines() if text.startswith("|")]
    found = [row[1:] for row in rows if row[0].startswith(source) and row[1] == method]
    assert len(found) == 1
    return found[0]


@pytest.fixture
def reconstruction(write_result, pages):
    write_result("gpstoken_s64", S64, VALUES)
    write_result("gpstoken_m128", M128, VALUES)
    return pages()


def test_cells_of_our_rows(reconstruction):
    page = reconstruction["reconstruction.md"]
    # means and errors rounded by hand; bold: more PSNR, less LPIPS, and both where they are equal
    assert line(page, "ours, laptop scale, 64 px", "GPSToken-S64") == [
        "GPSToken-S64", "GPSToken-S64", "16", "0.39 M",
        "20.31 ± 0.43", "**0.618 ± 0.025**", "**0.400 ± 0.011**", "**0.500 ± 0.009**", "-", "-", "-", "-", "-",
    ]  # fmt: skip
    assert line(page, "ours, laptop scale, 64 px", "GPSToken-M128") == [
        "GPSToken-M128", "GPSToken-M128", "16", "0.39 M",
        "**21.00 ± 0.50**", "**0.618 ± 0.025**", "0.410 ± 0.020", "**0.500 ± 0.009**", "-", "-", "-", "-", "-",
    ]  # fmt: skip


def test_missing_row_is_dashes(reconstruction):
    assert (
        line(reconstruction["reconstruction.md"], "ours, not measured", "GPSToken-L256")
        == ["GPSToken-L256"] * 2 + ["-"] * 11
    )


def test_cells_of_the_papers_rows(reconstruction):
    page = reconstruction["reconstruction.md"]
    expected = [
        "GPSToken-M128",
        "-",
        "128",
        "127.8 M",
        "24.06",
        "0.657",
        "-",
        "-",
        "0.080",
        "0.65",
        "3.28",
        "2.18",
        "3.96",
    ]
    assert line(page, "paper, ImageNet 256 px", "GPSToken-M128") == expected
    assert line(page, "paper, ImageNet 256 px", "GPSToken-L256") == [
        "GPSToken-L256", "-", "256", "128.7 M",
        "**28.81**", "**0.809**", "-", "-", "**0.043**", "**0.22**", "**1.31**", "**1.65**", "**3.77**",
    ]  # fmt: skip
    assert page.count("| paper, ImageNet 256 px |") == 16


def test_origin_stands_above_the_table(reconstruction):
    head = reconstruction["reconstruction.md"].split("| source")[0]
    for part in (
        "Scale **laptop**", "n = 4 held-out images of 2 photographs", "seeds 0, 1;", "datamodules.embedded.Embedded",
        "fingerprint fe6d6b66d051.", "Commit 0123456789ab", "Device cpu (Test CPU)",
    ):  # fmt: skip
        assert part in head


def test_every_line_of_a_table_has_the_same_cells(reconstruction):
    for page in (text for name, text in reconstruction.items() if name.endswith(".md")):
        for block in re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE):
            assert len({text.count("|") for text in block.splitlines()}) == 1


def test_csv_has_every_digit_and_both_sources(reconstruction):
    rows = list(csv.DictReader(io.StringIO(reconstruction["reconstruction.csv"])))
    assert len(rows) == 3 + 16
    assert (rows[0]["psnr"], rows[0]["psnr_standard_error"], rows[0]["parameters"]) == ("20.314", "0.426", "388347")
    assert rows[2]["method"] == "GPSToken-L256" and rows[2]["psnr"] == ""
    assert {row["source"] for row in rows} == {
        "ours, laptop scale, 64 px",
        "ours, not measured",
        "paper, ImageNet 256 px",
    }


def test_nothing_evaluated(pages):
    pages = pages()
    assert set(pages) == {
        f"{name}.{form}"
        for name in ("reconstruction", "ablation", "domains", "tokens", "resolution", "focus")
        for form in ("md", "csv")
    }
    for name, page in pages.items():
        if name.endswith(".md"):
            assert "Ours: not measured. No row of ours has been evaluated yet." in page
            assert "claims, tested" not in page
            assert ("The paper's claims: not measured." in page) == (name not in ("reconstruction.md", "domains.md"))


def test_only_the_rows_that_a_table_names(reconstruction, write_result, pages):
    # a leftover of another scale lies beside them
    write_result("leftover", S64, VALUES, scale="paper", data={"fingerprint": "0" * 64})
    assert pages() == reconstruction


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"data": {"fingerprint": "0" * 64}}, "images"),
        ({"scale": "paper"}, "scale"),
        ({"seeds": (0, 2)}, "seeds"),
        ({"steps": 240}, "training"),
    ],
)
def test_rows_of_different_origin_are_refused(arm, changes, what, pages):
    arm("init_only")
    arm("gpstoken_m128", **changes)
    with pytest.raises(ValueError, match=f"init_only and gpstoken_m128: measured with different {what}"):
        pages()


def test_missing_image_is_refused(arm, pages):
    path = arm("uniform").with_suffix(".csv")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(
        ValueError, match=r"uniform\.csv: expected each of 4 images once for each of the seeds \[0, 1\]"
    ):
        pages()


def test_missing_csv_is_refused(arm, pages):
    arm("uniform").with_suffix(".csv").unlink()
    with pytest.raises(ValueError, match=r"uniform\.json: .* uniform\.csv, are missing"):
        pages()


def test_ablation_says_in_words_what_holds(arm, pages):
    arm("uniform")
    arm("init_only", gain=0.1)
    arm("gpstoken_m128", gain=0.2)
    page = pages()["ablation.md"]
    sentence = next(text for text in page.splitlines() if text.startswith("**The paper's order"))
    # one arm is missing, so the order is not settled as a whole
    assert sentence == (
        "**The paper's order grid < Init < Init + Refine is not settled as a whole here:** "
        "Init over a uniform grid (neither refined) holds in PSNR, SSIM, LPIPS (AlexNet) and LPIPS (VGG); "
        "Refine over Init alone holds in PSNR, SSIM, LPIPS (AlexNet) and LPIPS (VGG); "
        "Init over a uniform grid (both refined) was not measured."
    )
    assert page.index(sentence) < page.index("| source")


@pytest.mark.parametrize(
    ("gains", "start"), [((0.0, 0.0, 0.1, 0.2), "holds here"), ((0.3, 0.3, 0.1, 0.2), "does not hold as a whole here")]
)
def test_ablation_start_of_the_sentence(arm, gains, start, pages):
    for row, gain in zip(("uniform", "uniform_refined", "init_only", "gpstoken_m128"), gains, strict=True):
        arm(row, gain=gain)
    assert f"**The paper's order grid < Init < Init + Refine {start}:**" in pages()["ablation.md"]
