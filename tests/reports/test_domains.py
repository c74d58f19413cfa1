"""The table of one trained model on other data sets."""

import csv
import io

import pytest

SCORES = {
    "rfd_efficientnet_lite0": {
        "mean": 31.172, "standard_error": 0.614, "per_seed": [30.5, 31.8], "count": 8, "label": "rFD-EffLite0"
    },
    "kid_efficientnet_lite0": {
        "mean": 0.012344, "standard_error": 0.00021, "per_seed": [0.0121, 0.0126], "count": 8, "label": "KID-EffLite0"
    },
}  # fmt: skip


NATURAL, FACES = (
    ("ours, laptop scale, 64 px", "natural photographs"),
    ("ours, laptop scale, 64 px", "faces (ORL)"),
)


@pytest.fixture
def domains(study, pages):
    faces = {"dataset": "faces", "fingerprint": "1" * 64, "skipped": 1}
    retina = {"dataset": "retina", "fingerprint": "2" * 64}
    study("domain_natural_m128", scores=SCORES)
    study("domain_natural_l256", of="gpstoken_l256", num_tokens=32, levels={"psnr": 22.0})
    study("domain_faces_m128", levels={"psnr": 25.0, "ssim": 0.75}, data=faces)
    study("domain_faces_l256", of="gpstoken_l256", num_tokens=32, levels={"psnr": 24.5, "ssim": 0.75}, data=faces)
    study("domain_retina_m128", photographs=2, levels={"psnr": 30.0}, data=retina)
    return pages()


def test_domains_stand_above_the_papers_data_set(domains):
    lines = [text.split(" | ") for text in domains["domains.md"].splitlines() if text.startswith(("| ours", "| paper"))]
    order = list(dict.fromkeys((line[0].split(",")[0].strip("| "), line[1]) for line in lines))
    assert order == [
        ("ours", "natural photographs"), ("paper", "COCO2017"), ("ours", "faces (ORL)"), ("paper", "FFHQ"),
        ("ours", "retina"), ("paper", "STARE"), ("ours", "overhead (Landsat, 10 cm aerial)"), ("paper", "WHU-RS19"),
    ]  # fmt: skip


def test_cells_of_a_domain(domains, cells):
    page = domains["domains.md"]
    assert cells(page, *NATURAL, "8 images of 4 photographs", "16", "GPSToken-M128") == {
        "source": "ours, laptop scale, 64 px", "data": "natural photographs", "n": "8 images of 4 photographs",
        "tokens": "16", "method": "GPSToken-M128", "numbers": "16 x 21", "PSNR (dB) ↑": "20.00 ± 0.25",
        "SSIM ↑": "0.500 ± 0.250", "LPIPS (AlexNet) ↓": "0.250 ± 0.250", "LPIPS (VGG) ↓": "0.500 ± 0.250",
        "LPIPS (network not stated) ↓": "-", "rec. FID ↓": "-",
        "rFD-EffLite0 ↓": "31.17 ± 0.61 (N = 8)", "KID-EffLite0 x1000 ↓": "12.34 ± 0.21 (N = 8)",
    }  # fmt: skip
    assert cells(page, "paper", "COCO2017", "5,000 images", "128", "GPSToken-M128") == {
        "source": "paper", "data": "COCO2017", "n": "5,000 images", "tokens": "128", "method": "GPSToken-M128",
        "numbers": "-", "PSNR (dB) ↑": "23.47", "SSIM ↑": "0.657", "LPIPS (AlexNet) ↓": "-", "LPIPS (VGG) ↓": "-",
        "LPIPS (network not stated) ↓": "0.083", "rec. FID ↓": "4.72", "rFD-EffLite0 ↓": "-",
        "KID-EffLite0 x1000 ↓": "-",
    }  # fmt: skip


def test_best_is_of_one_data_set_and_source(domains, cells):
    page = domains["domains.md"]
    psnr = {
        (name, tokens): cells(page, *start, f"8 images of 4 {of}", tokens)["PSNR (dB) ↑"]
        for name, start, of in (("natural", NATURAL, "photographs"), ("faces", FACES, "people"))
        for tokens in ("16", "32")
    }
    assert psnr == {
        ("natural", "16"): "20.00 ± 0.25",
        ("natural", "32"): "**22.00 ± 0.25**",
        ("faces", "16"): "**25.00 ± 0.25**",
        ("faces", "32"): "24.50 ± 0.25",
    }
    # nothing of ours to be better than
    assert cells(page, NATURAL[0], "retina")["PSNR (dB) ↑"] == "30.00 ± 0.25"
    assert cells(page, "paper", "WHU-RS19", "-", "256", "GPSToken-L256")["PSNR (dB) ↑"] == "**26.33**"


def test_few_photographs_are_a_demonstration_and_say_so(domains, cells):
    page = domains["domains.md"]
    assert cells(page, NATURAL[0], "retina")["n"] == "demonstration only (n = 2 photographs), 8 images"
    assert page.count("- **Demonstration only**: ") == 1
    assert page.count("demonstration only (n =") == 1
    assert "Demonstration" not in domains["tokens.md"]


def test_origin_of_every_data_set(domains):
    head = domains["domains.md"].split("## Where our numbers come from")[1]
    assert head.count("Scale **laptop**: seeds 0, 1; 300 training steps of 16 images.") == 1
    assert (
        "- datamodules.embedded.Embedded (faces), split test, 64 px, crop adm, fingerprint 111111111111: n = 8 "
        "held-out images of 4 people, damaged files skipped: 1\n"
    ) in head
    assert head.count("\n- ") == 3


def test_missing_domain_is_not_measured(domains):
    lines = [text for text in domains["domains.md"].splitlines() if text.startswith("| ours, not measured | retina |")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [line[4] for line in cells] == ["GPSToken-L256", "VAVAE"]
    assert {cell for line in cells for cell in line[5:]} == {"-"}


@pytest.mark.parametrize(("dataset", "source"), [("natural", NATURAL[0]), ("imagenet", "ours, not measured")])
def test_the_row_itself_stands_for_the_domain_that_it_was_evaluated_on(study, arm, dataset, source, pages):
    arm("gpstoken_m128", data={"dataset": dataset})
    study("domain_faces_m128", data={"dataset": "faces"})
    lines = [text for text in pages()["domains.md"].splitlines() if "| natural photographs |" in text]
    assert [(line.split(" | ")[0], line.split(" | ")[4]) for line in lines] == [
        (f"| {source}", "GPSToken-M128"),
        ("| ours, not measured", "GPSToken-L256"),
        ("| ours, not measured", "VAVAE"),
    ]


def test_data_that_stand_in_for_a_domain_bear_their_own_name(study, pages, cells):
    study("domain_natural_m128", data={"dataset": "coco"})
    assert cells(pages()["domains.md"], NATURAL[0], "coco")["method"] == "GPSToken-M128"


def test_one_seed_has_no_error_between_seeds(study, pages, cells):
    one = {name: score | {"per_seed": score["per_seed"][:1]} for name, score in SCORES.items()}
    study("domain_natural_m128", scores=one)
    line = cells(pages()["domains.md"], *NATURAL)
    assert line["rFD-EffLite0 ↓"] == "31.17 (N = 8)"


def test_inception_distances_of_ours(study, tmp_path, pages, cells):
    fid = {"mean": 0.4561, "standard_error": 0.0109, "per_seed": [0.4, 0.5], "count": 8, "label": "rec. FID"}
    study("domain_natural_m128", scores={"rec_fid": fid})
    page = pages()["domains.md"]
    assert cells(page, *NATURAL)["rec. FID ↓"] == "0.46 ± 0.01 (N = 8)"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "generated" / "tables" / "domains.csv").read_text())))
    assert (rows[0]["rec_fid"], rows[0]["rec_fid_count"], rows[0]["size"]) == (
        "0.4561",
        "8",
        "8 images of 4 photographs",
    )


@pytest.mark.parametrize(
    ("name", "label", "message"),
    [
        ("rec_fid", "rFD-EffLite0", "score 'rec_fid' is labelled 'rFD-EffLite0', which is no Inception distance"),
        ("fd_vgg11", "FD-VGG11", r"score 'fd_vgg11' has no column in reports/tables/columns\.yaml"),
    ],
)
def test_distance_under_a_name_that_is_not_its_own_is_refused(study, name, label, message, pages):
    study("domain_natural_m128", scores={name: SCORES["rfd_efficientnet_lite0"] | {"label": label}})
    with pytest.raises(ValueError, match=rf"domain_natural_m128\.json: {message}"):
        pages()


def test_study_of_another_row_is_refused(study, pages):
    study("domain_natural_m128", of="gpstoken_l256")
    with pytest.raises(ValueError, match="domain_natural_m128 evaluated the row 'gpstoken_l256', not 'gpstoken_m128'"):
        pages()


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"seeds": (0, 2)}, r"seeds, \[0, 1\] and \[0, 2\]"),
        ({"steps": 240}, "training"),
    ],
)
def test_domains_of_different_origin_are_refused(study, changes, what, pages):
    study("domain_natural_m128")
    study("domain_faces_m128", data={"dataset": "faces", "fingerprint": "1" * 64}, **changes)
    with pytest.raises(ValueError, match=f"domain_natural_m128 and domain_faces_m128: measured with different {what}"):
        pages()


def test_two_models_on_other_images_of_one_domain_are_refused(study, pages):
    study("domain_faces_m128", data={"dataset": "faces"})
    study("domain_faces_l256", of="gpstoken_l256", data={"dataset": "faces", "fingerprint": "1" * 64})
    with pytest.raises(ValueError, match="domain_faces_m128 and domain_faces_l256: measured with different images"):
        pages()
