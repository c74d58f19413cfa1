import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from reports.tables import __main__ as tables
from reports.tables.render import markdown
from reports.tables.results import trained_alike
from reports.tables.table import Cell, Column, Row, Table

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
    # means and errors rounded by hand; bold: more PSNR, less LPIPS, and none where all are equal
    assert line(page, "ours, laptop scale, 64 px", "GPSToken-S64") == [
        "GPSToken-S64", "GPSToken-S64", "yes (no licence found)", "16", "16 x 21", "0.39 M",
        "20.31 ± 0.43", "0.618 ± 0.025", "**0.400 ± 0.011**", "0.500 ± 0.009", "-", "-", "-", "-", "-",
    ]  # fmt: skip
    assert line(page, "ours, laptop scale, 64 px", "GPSToken-M128") == [
        "GPSToken-M128", "GPSToken-M128", "yes (no licence found)", "16", "16 x 21", "0.39 M",
        "**21.00 ± 0.50**", "0.618 ± 0.025", "0.410 ± 0.020", "0.500 ± 0.009", "-", "-", "-", "-", "-",
    ]  # fmt: skip


def test_missing_row_is_dashes(reconstruction):
    assert (
        line(reconstruction["reconstruction.md"], "ours, not measured", "GPSToken-L256")
        == ["GPSToken-L256"] * 2 + ["yes (no licence found)"] + ["-"] * 12
    )


def test_cells_of_the_papers_rows(reconstruction):
    page = reconstruction["reconstruction.md"]
    expected = [
        "GPSToken-M128",
        "-",
        "-",
        "128",
        "-",
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
        "GPSToken-L256", "-", "-", "256", "-", "128.7 M",
        "**28.81**", "**0.809**", "-", "-", "**0.043**", "**0.22**", "**1.31**", "**1.65**", "**3.77**",
    ]  # fmt: skip
    assert page.count("| paper, ImageNet 256 px |") == 16


def test_the_finding_stands_above_the_table_and_the_origin_below(reconstruction):
    page = reconstruction["reconstruction.md"]
    assert page.startswith(
        "# Reconstruction\n\nAt the laptop scale GPSToken-S64 is best in LPIPS (AlexNet); GPSToken-M128 is"
    )
    head = page.split("## Where our numbers come from")[1]
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
    assert len(rows) == 19 + 16
    assert (rows[0]["psnr"], rows[0]["psnr_standard_error"], rows[0]["parameters"]) == ("20.314", "0.426", "388347")
    assert (rows[0]["result"], rows[0]["commit"]) == ("results/laptop/tokenizers/gpstoken_s64.json", "0123456789ab")
    assert rows[2]["method"] == "GPSToken-L256" and rows[2]["psnr"] == ""
    assert {row["source"] for row in rows} == {
        "ours, laptop scale, 64 px",
        "ours, not measured",
        "paper, ImageNet 256 px",
    }


TABLES = {
    "reconstruction", "equal_bits", "equal_tokens", "ablation", "sensitivity", "domains", "small", "tokens", "rates",
    "resolution", "resolution_slides", "focus",
    "efficiency", "kernels", "generation", "generation_sizes", "generation_training", "claims",
}  # fmt: skip


def test_nothing_evaluated(pages):
    pages = pages()
    assert set(pages) == {f"{name}.{form}" for name in TABLES for form in ("md", "csv", "tex", "json")} | {"reading.md"}
    for name in TABLES - {"kernels"}:  # rows of its own, which tests/reports/test_kernels.py has
        page, table = pages[f"{name}.md"], json.loads(pages[f"{name}.json"])
        assert "not measured" in page.lower() or name == "efficiency"
        assert "Tests of the paper's claims" not in page or name == "claims"
        ours = [row for row in table["rows"] if row["ours"]]
        assert ours and all(row["result"] is None and row["scale"] is None for row in ours)
        assert all("value" not in cell for row in ours for cell in row["cells"].values())
    assert "The paper's order grid < Init < Init + Refine was not measured at the laptop scale." in pages["ablation.md"]


def test_only_the_rows_that_a_table_names(reconstruction, write_result, pages):
    write_result("leftover", S64, VALUES, data={"fingerprint": "0" * 64})
    write_result("gpstoken_l256", S64, VALUES, scale="workstation")
    assert pages() == reconstruction


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"data": {"fingerprint": "0" * 64}}, "images"),
        ({"seeds": (0, 2)}, "seeds"),
        ({"steps": 240}, "training"),
    ],
)
def test_rows_of_different_origin_are_refused(arm, changes, what, pages):
    arm("init_only")
    arm("gpstoken_m128", **changes)
    with pytest.raises(ValueError, match=f"init_only and gpstoken_m128: measured with different {what}"):
        pages()


def test_a_result_of_another_scale_is_refused(arm, pages):
    path = arm("init_only")
    path.write_text(path.read_text().replace('"scale": "laptop"', '"scale": "paper"'))
    with pytest.raises(ValueError, match=r"init_only\.json: belongs to the scale 'paper', not 'laptop'"):
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
        "**The paper's order grid < Init < Init + Refine is open at the laptop scale**: of 8 tests 8 hold; 1 of 3 "
        "comparisons could not be made."
    )
    assert page.index(sentence) < page.index("| source")


@pytest.mark.parametrize(("gains", "start"), [((0.0, 0.0, 0.1, 0.2), "holds"), ((0.3, 0.3, 0.1, 0.2), "does not hold")])
def test_ablation_start_of_the_sentence(arm, gains, start, pages):
    for row, gain in zip(("uniform", "uniform_refined", "init_only", "gpstoken_m128"), gains, strict=True):
        arm(row, gain=gain)
    assert (
        f"**The paper's order grid < Init < Init + Refine {start} at the laptop scale**: of 12"
        in pages()["ablation.md"]
    )


def test_another_scale_stands_beside_where_it_has_results(reconstruction, write_result, pages, cells):
    write_result("gpstoken_l256", S64, VALUES, scale="workstation", commit="fedcba987654")
    written = pages("workstation", "paper")
    page = written["reconstruction.md"]
    assert cells(page, "ours, workstation scale, 64 px")["method"] == "GPSToken-L256"
    # alone of its source, so nothing to be better than
    assert cells(page, "ours, workstation scale, 64 px")["PSNR (dB) ↑"] == "20.31 ± 0.43"
    assert "**21.00 ± 0.50**" in page and "**28.81**" in page
    assert "Scale **laptop**" in page and "Scale **workstation**" in page and "Scale **paper**" not in page
    assert page.count("| ours, not measured |") == 17
    row = next(row for row in json.loads(written["reconstruction.json"])["rows"] if row["scale"] == "workstation")
    assert (row["row"], row["commit"]) == ("gpstoken_l256", "fedcba987654")
    assert row["result"] == "results/workstation/tokenizers/gpstoken_l256.json"


NAMES = ("GPSToken-M128", "SDXL-VAE", "VQVAE-f16", "VAVAE")


def test_grids_and_codebooks_have_their_shape_and_their_numbers(write_result, pages):
    # a tokenizer of a library has no image_size or num_tokens of its own
    library = {"class_path": "x", "init_args": {"widths": [8]}}
    for row, tokenizer, count, code in (
        ("gpstoken_m128", KNOWN, 16, {"shape": [16], "channels": 21, "codebook_size": None}),
        ("sdxl_vae", library, 64, {"shape": [8, 8], "channels": 4, "codebook_size": None}),
        ("vqvae_f16", library, 16, {"shape": [4, 4], "channels": 1, "codebook_size": 1024}),
        ("vavae", library, 20, {"shape": [20], "channels": 6, "codebook_size": 1024}),
    ):
        evaluated = {"row": row, "image_size": 64, "num_tokens": count, "code": code}
        write_result(row, S64, VALUES, evaluated=evaluated, tokenizer=tokenizer)
    page = pages()["reconstruction.md"]
    found = {name: line(page, "ours, laptop", name)[3:5] for name in NAMES}
    assert found == {
        "GPSToken-M128": ["16", "16 x 21"],
        "SDXL-VAE": ["8x8", "64 x 4"],
        "VQVAE-f16": ["4x4", "16 x 10 bit"],
        "VAVAE": ["20", "20 x (5 + 10 bit)"],
    }
    assert line(page, "paper, ImageNet 256 px", "VQVAE-f16")[3:5] == ["16x16", "-"]
    rows = json.loads(pages()["reconstruction.json"])["rows"]
    assert [row["cells"]["numbers"]["value"] for row in rows if "numbers" in row["cells"]] == [336, 256, 160, 120]
    stored = {"token_bits": 8, "bits": 20 * (5 * 8 + 10) + 5 * 2 * 16}
    write_result("vavae", S64, VALUES, evaluated=evaluated | stored, tokenizer=tokenizer)
    assert line(pages()["reconstruction.md"], "ours, laptop", "VAVAE")[3:5] == ["20", "20 x (5 x 8 bit + 10 bit)"]


def test_codes_used_are_told_below_the_table_where_a_result_has_them(write_result, pages):
    code = {"shape": [4, 4], "channels": 1, "codebook_size": 1024}
    of_a_grid = {"evaluated": {"row": "vqvae_f16", "image_size": 64, "num_tokens": 16, "code": code}}
    write_result("gpstoken_m128", S64, VALUES)
    write_result("vqvae_f16", S64, VALUES, **of_a_grid)  # as results were before codes were counted
    without = pages()["reconstruction.md"]
    used = {"mean": 16.5, "standard_error": 7.5, "per_seed": [24, 9]}
    write_result("vqvae_f16", S64, VALUES, **of_a_grid, codebook={"codebook_size": 1024, "codes_used": used})
    page = pages()["reconstruction.md"]
    added = set(page.splitlines()) - set(without.splitlines())
    # four images of 16 tokens
    assert added == {
        "Codes of its codebook that each seed uses on the test images: VQVAE-f16 24, 9 of 1,024 (in 64 "
        "tokens). A small number means that the codebook has collapsed."
    }


KNOBS = {"lambda_": 2.5, "support_factor": 3.0, "min_region_size": 4}
KNOWN = {"class_path": "gpstoken.tokenizer.GPSToken", "init_args": {"num_tokens": 16, "image_size": 64, **KNOBS}}


def test_json_is_what_the_site_reads(reconstruction):
    table = json.loads(reconstruction["reconstruction.json"])
    assert {
        "name", "title", "paper", "introduction", "columns", "rows", "notes", "claims", "figures", "sections"
    } <= table.keys()  # fmt: skip
    columns = {column["name"]: column for column in table["columns"]}
    assert columns["psnr"] == {
        "name": "psnr", "heading": "PSNR", "kind": "number", "more_is_better": True, "unit": "dB"
    }  # fmt: skip
    assert columns["method"]["kind"] == "text" and columns["lpips"]["more_is_better"] is False
    first, last = table["rows"][0], table["rows"][-1]
    assert (first["ours"], first["scale"], first["row"]) == (True, "laptop", "gpstoken_s64")
    assert first["cells"]["method"] == {"text": "GPSToken-S64"}
    assert "rec_fid" not in first["cells"]
    assert first["cells"]["psnr"] == {
        "text": "20.31 ± 0.43", "value": 20.314, "standard_error": 0.426, "interval": None, "count": 4, "best": False
    }  # fmt: skip
    assert (last["ours"], last["result"], last["source"]) == (False, None, "paper, ImageNet 256 px")
    assert last["cells"]["psnr"]["best"] is True and last["cells"]["psnr"]["text"] == "28.81"


def test_interval_of_a_mean_is_students(write_result, pages):
    path = write_result("gpstoken_m128", S64, VALUES)
    record = json.loads(path.read_text())
    for metric in record["metrics"].values():
        metric["degrees_of_freedom"] = 2.0
    path.write_text(json.dumps(record))
    row = json.loads(pages()["reconstruction.json"])["rows"][1]
    # 20.314 -+ 4.30265 * 0.426, Student's t of two degrees of freedom from a table
    assert row["cells"]["psnr"]["interval"] == pytest.approx([18.48107, 22.14693], abs=1e-4)


def test_claims_in_json_have_their_files(arm, pages):
    arm("uniform"), arm("init_only", gain=0.1)
    claims = json.loads(pages()["ablation.json"])["claims"]
    tested = [claim for claim in claims if claim["difference"] is not None]
    assert len(tested) == 4 and len(claims) == 6  # four metrics, and two claims without their rows
    assert tested[0]["results"] == [f"results/laptop/tokenizers/{row}.json" for row in ("uniform", "init_only")]
    assert (tested[0]["metric"], tested[0]["claimed"], tested[0]["verdict"]) == ("PSNR (dB) ↑", "> 0", "holds")
    assert tested[0]["interval"][0] < tested[0]["difference"] < tested[0]["interval"][1]


def test_a_figure_is_shown_where_it_was_drawn(pages, tmp_path):
    assert "![" not in pages()["ablation.md"]
    (tmp_path / "generated" / "figures").mkdir()
    (tmp_path / "generated" / "figures" / "ablation.png").write_bytes(b"")
    written = pages()
    assert "![Figure ablation](../figures/ablation.png)" in written["ablation.md"]
    assert "![" not in written["tokens.md"]
    # the site looks for itself
    assert json.loads(written["tokens.json"])["figures"] == ["tokens", "tokens_picture"]


def test_a_bar_does_not_end_its_cell():
    table = Table("t", "T", "", "", [Column("a", "a|b", "text")], [Row("ours", {"a": Cell("c | d")})])
    assert markdown(table).splitlines()[4:7] == ["| a\\|b |", "| --- |", "| c \\| d |"]


def test_published_weights_are_a_source_of_their_own(reconstruction, write_result, pages):
    published = {"file": "vavae.pt", "sha256": "f00d" * 16}
    training = {"steps": 0, "batch_size": 16, "published": published}
    write_result("vavae", S64, VALUES, seeds=(0,), group="published", training=training)
    page = pages()["reconstruction.md"]
    cells = line(page, "published weights, measured here, 64 px", "VAVAE")
    assert cells[4:10] == ["16 x 21", "0.39 M", "20.31 ± 0.43", "0.618 ± 0.025", "0.400 ± 0.011", "0.500 ± 0.009"]
    # The rows that were trained here are compared as before.
    ours = [text for text in reconstruction["reconstruction.md"].splitlines() if text.startswith("| ours")]
    assert [text for text in page.splitlines() if text.startswith("| ours")] == ours
    write_result("vavae", S64, VALUES, group="published", training=training, data={"fingerprint": "0" * 64})
    with pytest.raises(ValueError, match="measured with different images"):
        pages()
    write_result("vavae", S64, VALUES, group="published")
    with pytest.raises(ValueError, match="was trained here, and lies among the published weights"):
        pages()


def test_a_page_shows_what_a_reader_compares(arm, tmp_path, monkeypatch):
    arm("gpstoken_m128")
    monkeypatch.chdir(tmp_path)
    assert tables.main(["--beside", "-o", "tables"]) == 0
    heading = next(line for line in Path("tables/reconstruction.md").read_text().splitlines() if line.startswith("| "))
    assert [cell.strip() for cell in heading.strip("|").split("|")] == [
        "source", "method", "loads published weights", "tokens", "numbers", "parameters", "PSNR (dB) ↑", "SSIM ↑",
        "LPIPS (AlexNet) ↓", "LPIPS (network not stated) ↓", "rec. FID ↓",
    ]  # fmt: skip
    record = json.loads(Path("tables/reconstruction.json").read_text())
    assert {"lpips_vgg16", "papers_row"} <= {column["name"] for column in record["columns"]} - set(record["shown"])


def test_five_numbers_for_dvc(arm, tmp_path, monkeypatch):
    arm("gpstoken_m128", gain=0.1)
    arm("vavae")
    monkeypatch.chdir(tmp_path)
    assert tables.main(["--beside", "-o", "tables"]) == 0
    metrics = json.loads(Path("results/laptop/metrics.json").read_text())
    assert list(metrics) == ["GPSToken-M128"] and list(metrics["GPSToken-M128"]) == ["PSNR", "SSIM", "LPIPS (AlexNet)"]
    rows = list(csv.DictReader(io.StringIO(Path("results/laptop/rows.csv").read_text())))
    assert [row["row"] for row in rows] == ["GPSToken-M128", "VAVAE"]
    assert float(rows[0]["psnr"]) == metrics["GPSToken-M128"]["PSNR"] > float(rows[1]["psnr"])


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        ({"steps": 360, "batch_size": 16}, {"steps": 360, "batch_size": 16}, True),
        ({"steps": 360, "batch_size": 16}, {"steps": 361, "batch_size": 16}, False),
        ({"steps": 360, "batch_size": 16}, {"steps": 360, "batch_size": 8}, False),
        (
            {"steps": 360, "batch_size": 16, "multiply_adds": 1000},
            {"steps": 200, "batch_size": 16, "multiply_adds": 1015},
            True,
        ),
        (
            {"steps": 360, "batch_size": 16, "multiply_adds": 1000},
            {"steps": 200, "batch_size": 16, "multiply_adds": 1030},
            False,
        ),
        ({"steps": 360, "batch_size": 16, "multiply_adds": 1000}, {"steps": 200, "batch_size": 16}, False),
        # A few steps of a check are fewer than those whose products are counted.
        (
            {"steps": 12, "batch_size": 16, "multiply_adds": 900},
            {"steps": 12, "batch_size": 16, "multiply_adds": 1000},
            True,
        ),
        (
            {"steps": 360, "batch_size": 16, "multiply_adds": 1000},
            {"steps": 600, "batch_size": 16, "closed_form": True},
            True,
        ),
    ],
)
def test_rows_are_compared_if_their_trainings_spent_the_same(first, second, alike):
    assert trained_alike(first, second) is trained_alike(second, first) is alike


def coded(count: int, channels: int, book: int | None = None) -> dict:
    """What was evaluated: a code of `count` tokens."""
    return {"num_tokens": count, "code": {"shape": [count], "channels": channels, "codebook_size": book}}


def test_equal_tables_have_the_rows_of_equal_codes(arm, pages, tmp_path):
    counted = {"training": {"steps": 300, "batch_size": 16, "multiply_adds": 1000}}
    fewer = {"training": {"steps": 200, "batch_size": 16, "multiply_adds": 1010}}
    arm("gpstoken_m128", evaluated=coded(16, 21), **counted)  # 16 x 21 x 8 = 2,688 bits
    arm("sdxl_vae", evaluated=coded(64, 5), **fewer)  # 2,560: 4.8 % less
    arm("gaussian_token", evaluated=coded(56, 6, 256), **counted)  # 56 x (5 x 8 + 8) = 2,688
    arm("softvq", evaluated=coded(24, 15), **counted)  # 2,880: 7 % more
    arm("vqvae_f16", evaluated=coded(16, 1, 1024), **counted)  # 160
    arm("vqvae_f4", evaluated=coded(256, 1, 1024), **counted)  # 2,560
    speed = tmp_path / "results" / "laptop" / "speed" / "rows.json"
    speed.parent.mkdir()
    measured = {"encode_gmacs": 0.0125, "decode_gmacs": 0.5, "encode_ms": [1.0, 3.0], "decode_ms": [4.0]}
    speed.write_text(
        json.dumps(
            {
                "row": "rows",
                "group": "speed",
                "scale": "laptop",
                "machine": {"processor": "Test CPU"},
                "rows": {"gpstoken_m128": measured},
            }
        )
    )
    written = pages()
    bits, tokens = (list(csv.DictReader(io.StringIO(written[f"equal_{kind}.csv"]))) for kind in ("bits", "tokens"))
    assert {row["method"]: row["bits"] for row in bits} == {
        "GPSToken-M128": "2688", "SDXL-VAE": "2560", "GaussianToken": "2688", "VQVAE-f4": "2560",
    }  # fmt: skip
    assert [row["method"] for row in tokens] == ["GPSToken-M128", "VQVAE-f16"]
    ours = line(written["equal_bits.md"], "ours, laptop scale", "GPSToken-M128")
    assert ours[5:9] == ["0.013", "0.500", "2.00 ± 1.41", "4.00"]
    arm("vqvae_f4", evaluated=coded(256, 1, 1024), steps=301)
    with pytest.raises(ValueError, match="gpstoken_m128 and vqvae_f4: measured with different training"):
        pages()


def recognised(study, name: str, share: float, **changes) -> None:
    """An arm of the study `recognition`, of faces or letters of which the originals have the ceiling of 95 %."""
    metric = name.partition("_")[0]
    known = {"ceiling": {"mean": 0.95, "count": 8}, "parts": 1234, "labels": 40, "gallery": 400}
    study(name, levels={metric: share}, study="recognition", recognition={metric: known}, **changes)


def test_what_is_recognised_stands_beside_a_row(reconstruction, study, pages, cells):
    recognised(study, "identity_gpstoken_m128", 0.5)
    recognised(study, "text_gpstoken_m128", 0.125)
    page = pages()["reconstruction.md"]
    row = cells(page, "ours, laptop scale, 64 px", "GPSToken-M128")
    # standard error 0.25
    assert row["faces recognised (%) ↑"] == "50.0 ± 25.0" and row["letters read (%) ↑"] == "12.5 ± 25.0"
    assert cells(page, "ours, laptop scale, 64 px", "GPSToken-S64")["letters read (%) ↑"] == "-"
    assert "of the faces 95.0 % (n = 1,234 in 8 images, 40 people, chance 2.5 %) and letters 95.0 %" in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_tokens": 17}, "identity_gpstoken_m128.json: was measured with num_tokens 17, and gpstoken_m128 with 16"),
        ({"of": "vavae"}, "was measured with row vavae, and gpstoken_m128 with gpstoken_m128"),
        ({"steps": 299}, "gpstoken_m128 and identity_gpstoken_m128: measured with different training"),
    ],
)
def test_what_is_recognised_after_another_training_is_refused(reconstruction, study, pages, changes, message):
    recognised(study, "identity_gpstoken_m128", 0.5, **changes)
    with pytest.raises(ValueError, match=message):
        pages()
