import csv
import io
import json

import numpy as np
import pytest

from reports.declared import generator, generators
from reports.tables.claims import judge
from reports.tables.generation_table import KIND_OF_FAMILY, read_generators

KID, PRECISION, RECALL = "kid_efficientnet_lite0", "precision_efficientnet_lite0", "recall_efficientnet_lite0"
STAGES = {
    "two_stage": {"layout": (100_000, 600), "texture": (1_200_000, 1200)},
    "one_stage": {"one_stage": (1_190_000, 1200)},
    "grid": {"grid": (1_180_000, 1200)},
    "flextok_ar": {"flextok_ar": (1_180_000, 1200)},
}
# Typed by hand; three seeds each. Accuracy: two-stage 0.70, one-stage 0.50, grid 0.69 on average.
KIDS = {
    "two_stage": [0.060, 0.062, 0.064],
    "one_stage": [0.090, 0.088, 0.092],
    "grid": [0.059, 0.065, 0.071],
    "flextok_ar": [0.3] * 3,
}
RIGHT = {
    "two_stage": [0.69, 0.70, 0.71],
    "one_stage": [0.50, 0.49, 0.51],
    "grid": [0.68, 0.71, 0.68],
    "flextok_ar": [0.3] * 3,
}
INTERVALS = {"two_stage": [0.65, 0.75], "one_stage": [0.45, 0.55], "grid": [0.19, 0.99], "flextok_ar": [0.2, 0.4]}


@pytest.fixture
def write(tmp_path):
    """Writes results/laptop/generators/ROW.json; `changes` are laid over the record."""

    def make(row, kid=None, right=None, seeds=(0, 1, 2), **changes):
        def score(per_seed, error=0.002, **more):
            mean = float(np.mean(per_seed))
            return {"mean": mean, "standard_error": error, "per_seed": list(per_seed), "count": 500, **more}

        kid, right = kid or KIDS[row], right or RIGHT[row]
        stages = {
            name: {"parameters": size, "steps": steps, "batch_size": 64, "network": {"shape": [16]}}
            for name, (size, steps) in STAGES[row].items()
        }
        if row != "flextok_ar":
            for stage in stages.values():
                stage["prediction"] = "velocity"
        if row == "grid":
            stages["grid"]["network"]["shape"] = [8, 8]
        record = {
            "row": row,
            "group": "generators",
            "scale": "laptop",
            "seeds": list(seeds),
            "generator": {"kind": row, "stages": stages, "tokenizer": {"parameters": 388_347}},
            "sampling": {
                "sampler": "sde", "method": "euler", "steps": 250, "guidance": 1.5, "guidance_interval": [0.2, 1.0]
            },
            "training": {"steps": 1200, "batch_size": 64},
            "data": {
                "class_path": "datamodules.EmbeddedClasses",
                "fingerprint": "fe6d6b66d051e246" * 4,
                "init_args": {"image_size": 64},
            },
            "reference": {"train": {"images": 2000, "sha256": "a" * 64}, "test": {"images": 180, "sha256": "b" * 64}},
            "networks": {"efficientnet_lite0": {}},
            "metrics": {},
            "scores": {
                KID: score(kid),
                PRECISION: score([0.3] * len(seeds)),
                RECALL: score([0.25] * len(seeds)),
                "class_accuracy": score(right, 0.02, interval=INTERVALS[row]),
            },
            "classifier": {
                "chance": 0.2,
                "classes": ["natural", "face"],
                "real_test": {"accuracy": 0.91, "interval": [0.85, 0.95], "images": 180},
                "per_class": {
                    "natural": {"accuracy": 0.8, "samples": 750},
                    "face": {"accuracy": 0.6, "samples": 750},
                },
            },
            "commit": "0123456789ab",
            "versions": {"torch": "2.14.1"},
            "machine": {"device": "cpu", "processor": "Test CPU"},
            **changes,
        }  # fmt: skip
        path = tmp_path / "results" / "laptop" / "generators" / f"{row}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
        return record

    return make


@pytest.fixture
def run(pages):
    """Writes every table: those of generators, by file name."""
    return lambda *beside: {name: text for name, text in pages(*beside).items() if name.startswith("generation")}


def line(page, *start):
    """The cells of the one line that begins so."""
    rows = [[cell.strip() for cell in text.strip("|").split("|")] for text in page.splitlines() if text[:1] == "|"]
    found = [row for row in rows if row[: len(start)] == list(start)]
    assert len(found) == 1, found
    return found[0][len(start) :]


OURS = ("ours, laptop scale, 64 px", "flow matching")
PAPER = "paper, ImageNet 256 px"


def test_cells_of_our_rows(write, run):
    write("two_stage"), write("grid")
    page = run()["generation.md"]
    # Means by hand: KID (60 + 62 + 64) / 3 and (59 + 65 + 71) / 3; accuracy 2.10 / 3 and 2.07 / 3.
    assert line(page, *OURS, "GPSToken two-stage") == [
        "GPSToken two-stage", "16", "0.39 M", "0.10 + 1.20 M", "3 x 500", "-", "-", "-",
        "**62.00 ± 2.00**", "0.300 ± 0.002", "0.250 ± 0.002", "**70.0 ± 2.0 (65.0 to 75.0)**",
    ]  # fmt: skip
    assert line(page, *OURS, "SiT on a grid of KL latents") == [
        "SiT-XL/2", "8x8", "0.39 M", "1.18 M", "3 x 500", "-", "-", "-",
        "65.00 ± 2.00", "0.300 ± 0.002", "0.250 ± 0.002", "69.0 ± 2.0 (19.0 to 99.0)",
    ]  # fmt: skip
    assert line(page, "ours, not measured", "-", "GPSToken one-stage")[1:] == ["-"] * 11
    headings = line(page, "source", "kind", "method")
    assert headings[5:] == [
        "FID ↓", "sFID ↓", "IS ↑", "KID-EffLite0 x1000 ↓", "precision-EffLite0 ↑", "recall-EffLite0 ↑",
        "class accuracy (%) ↑",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("described", "tokens"),
    [
        ({"shape": [4, 4]}, "4x4"),
        ({"num_tokens": 32}, "32"),
        # 16 regions, of which 8 have 4 codes and 8 have 1
        ({"network": {"map_shape": [4, 4], "fine_share": 0.5}}, "40"),
        ({"image_size": 64}, "-"),
    ],
)
def test_tokens_of_a_generator_that_is_no_flow(write, run, described, tokens):
    whole = write("flextok_ar")["generator"]
    stage = next(iter(whole["stages"].values()))
    stage.pop("network")
    stage.update(described)
    write("flextok_ar", generator=whole)
    assert line(run()["generation.md"], "ours, laptop scale, 64 px", "autoregressive", "FlexTok")[1] == tokens


def test_cells_of_the_papers_rows(run):
    page = run()["generation.md"]
    # Table 2 of the slides
    assert line(page, PAPER, "diffusion", "GPSToken two-stage") == [
        "-", "128", "127.8 M", "33 + 675 M", "**1.64**", "**4.41**", "**316.0**",
    ]  # fmt: skip
    assert line(page, PAPER, "autoregressive", "TiTok-B64") == ["-", "64", "204.8 M", "177 M", "-", "-", "199.8"]
    assert line(page, PAPER, "diffusion", "SiT-XL/2")[1:] == ["32x32", "83.6 M", "675 M", "2.06", "4.49", "277.5"]
    assert page.count(f"| {PAPER} |") == 14


def test_origin_sampler_budget_and_classifier_are_told(write, run):
    write(
        "two_stage",
        classifier=write("two_stage")["classifier"]
        | {"reconstruction": {"accuracy": 0.5, "images": 9, "photographs": 4}, "bar": 0.64},
    )
    write("grid"), write("one_stage", classifier=write("one_stage")["classifier"] | {"bar": 0.45})
    page = run()["generation.md"]
    for part in (
        "Scale **laptop**: n = 500 samples per seed in 2 classes; seeds 0, 1, 2; 1,200 training steps of 64 samples",
        "2,000 real train images and 180 real test images of datamodules.EmbeddedClasses, fingerprint fe6d6b66d051.",
        "Commit 0123456789ab. Device cpu (Test CPU), torch 2.14.1.",
        "GPSToken two-stage: SDE sampler (euler), 250 steps, guidance 1.5 for 0.2 ≤ t ≤ 1 "
        "(t = 0 is noise); trained for 600 steps of 64 (layout) and 1,200 steps of 64 (texture).",
        "kernel logistic regression on thumbnails of 8 x 8 pixels, trained only on the real training images",
        "chance is 20.0 %",
        "Chance level of the class accuracy: 20.0 %.",
    ):  # fmt: skip
        assert part in page
    real = "91.0 % (85.0 to 95.0), N = 180"
    assert line(page, "GPSToken two-stage", real) == [
        "50.0 %, N = 9 of 4 photographs",
        "70.0 % (65.0 to 75.0)",
        "well above chance (over 64.0 %)",
    ]
    # its interval begins at the bar
    assert line(page, "GPSToken one-stage", real)[1:] == ["50.0 % (45.0 to 55.0)", "above chance"]
    # 19 % is below the chance of 20 %
    grid = line(page, "SiT on a grid of KL latents", real)
    assert grid == ["-", "69.0 % (19.0 to 99.0)", "around chance"]
    assert line(page, "natural") == ["80.0 %, N = 750"] * 3


def test_every_line_of_a_table_has_the_same_cells(write, run):
    write("two_stage"), write("one_stage")
    written = run()
    for name in ("generation.md", "generation_training.md"):
        for block in written[name].split("\n\n"):
            if block.startswith("|"):
                assert len({text.count("|") for text in block.splitlines()}) == 1


# Differences by seed, x1000: -30, -26, -28. Mean -28, deviation 2, so ± 4.3027 * 2 / sqrt(3) = 4.968 with Student's t
# of two degrees of freedom (tables: 4.303). Two stages minus grid: 1, -3, -7: mean -3, deviation 4, ± 9.937.
def test_claims_by_hand(write, run):
    write("two_stage"), write("one_stage"), write("grid")
    page = run()["generation.md"]
    kid = "KID-EffLite0 x1000 ↓"
    assert line(page, "two stages over one", kid) == ["-28.000", "-32.968 to -23.032", "< 0", "holds"]
    assert line(page, "two stages over the grid", kid) == ["-3.000", "-12.937 to +6.937", "< 0", "not resolved"]
    # accuracy in percent: 19, 21, 20: mean 20, deviation 1, ± 2.484
    accuracy = line(page, "two stages over one", "class accuracy (%) ↑")
    assert accuracy == ["+20.00", "+17.52 to +22.48", "> 0", "holds"]
    assert "2.06) is open at the laptop scale**: of 4 tests 2 hold and 2 are not resolved." in page


def test_a_claim_that_is_reversed_is_said_so(write, run):
    write("two_stage", kid=KIDS["one_stage"]), write("one_stage", kid=KIDS["two_stage"])
    page = run()["generation.md"]
    assert "(FID 1.64 against 2.13 and 2.06) does not hold at the laptop scale**: of 2 tests" in page
    assert "of 2 tests 1 holds and 1 is reversed; 1 of 2 comparisons could not be made." in page
    assert line(page, "two stages over the grid") == ["-", "-", "-", "-", "not measured"]


def test_all_claims_that_hold(write, run):
    worse = {"kid": KIDS["one_stage"], "right": RIGHT["one_stage"]}
    write("two_stage"), write("one_stage"), write("grid", **worse)
    assert "2.06) holds at the laptop scale**: of 4 tests 4 hold." in run()["generation.md"]


def test_one_seed_resolves_nothing(write, run, tmp_path):
    for row in ("one_stage", "two_stage"):
        write(row, kid=KIDS[row][:1], right=RIGHT[row][:1], seeds=[0])
    ours = read_generators(tmp_path / "results" / "laptop")
    assert judge(ours["one_stage"], ours["two_stage"], KID, by_seed=True).outcome == "not resolved"
    assert line(run()["generation.md"], *OURS, "GPSToken two-stage")[8] == "**60.00**"


def test_nothing_measured(run):
    written = run()
    assert "Ours: not measured yet." in written["generation.md"]
    assert "2.06) was not measured at the laptop scale." in written["generation.md"]
    assert "Ours: not measured yet." in written["generation_training.md"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [0, 1, 3]}, r"different seeds, \[0, 1, 3\] and \[0, 1, 2\]"),
        ({"training": {"steps": 1200, "batch_size": 32}}, "different batch size, "),
        ({"data": {"class_path": "x", "fingerprint": "c" * 64}}, "different images, fingerprint fe6d6b66d051 and fin"),
        ({"reference": {"train": {"images": 2000, "sha256": "c" * 64}}}, "different real images, "),
    ],
)
def test_rows_that_cannot_be_compared_are_refused(write, run, changes, message):
    write("two_stage"), write("grid", **changes)
    with pytest.raises(ValueError, match=f"^(two_stage and grid|grid and two_stage): measured with {message}"):
        run()


def test_the_budgets_of_the_rows_are_compared(write, run):
    # Counted in multiply-adds where they are known. By hand: 600 x 64 x .0212 + 1200 x 64 x .0212 = 2442.24, and
    # 1200 x 64 x .0318 = 2442.24: another network, the same budget.
    write("two_stage", cost=cost(("layout", "texture"), 2.0, 300, 1.5, {"layout": 250, "texture": 250}))
    other = cost(("grid",), 1.0, 400, 1.0, {"grid": 250})
    write("grid", cost=other)
    page = run()["generation.md"]
    assert "training takes about 2.44 T multiply-adds in the forward pass per row." in page
    assert "GPSToken two-stage 2.44 T, SiT on a grid of KL latents 2.44 T." in page
    assert "- Equal budgets: " in page
    other["training"]["grid"]["gmacs"] = 0.04
    write("grid", cost=other)
    page = run()["generation.md"]
    assert "- **Unequal budgets**: " in page
    assert "GPSToken two-stage 2.44 T, SiT on a grid of KL latents 3.07 T." in page


def test_another_number_of_samples_is_refused(write, run):
    write("two_stage")
    scores = write("grid")["scores"]
    write("grid", scores={name: score | {"count": 400} for name, score in scores.items()})
    with pytest.raises(ValueError, match=r"different numbers of samples, \[500\] and \[400\]"):
        run()


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ("fid", r"grid.json: score 'fid' belongs to the network inception, which was not used"),
        ("kid_dinov2", "belongs to the network dinov2, which was not used"),
        ("accuracy", "score 'accuracy' has no column"),
    ],
)
def test_a_score_under_a_name_that_is_not_its_own_is_refused(write, run, score, message):
    scores = write("grid")["scores"]
    write("grid", scores=scores | {score: scores[KID]})
    with pytest.raises(ValueError, match=message):
        run()


def test_other_damaged_results_are_refused(write, run, tmp_path):
    record = write("grid", seeds=[0, 1])
    with pytest.raises(ValueError, match=f"score '{KID}' has 3 numbers for 2 seeds"):
        run()
    path = tmp_path / "results" / "laptop" / "generators" / "grid.json"
    path.write_text(json.dumps(record | {"row": "one_stage"}))
    with pytest.raises(ValueError, match=r"grid\.json: holds the row 'one_stage' of the group 'generators'"):
        run()


def test_a_cost_of_another_row_or_of_none_is_refused(write, run, tmp_path):
    write("grid")
    path = tmp_path / "results" / "laptop" / "cost" / "grid.json"
    path.parent.mkdir()
    whole = {"row": "grid", "group": "cost", "scale": "laptop", "training": {}, "inference": {}}
    path.write_text(json.dumps(whole))
    run()
    for changes, said in (
        ({"row": "two_stage"}, "holds the row 'two_stage' of the group 'cost'"),
        ({"scale": "paper"}, "belongs to the scale 'paper', not 'laptop'"),
        ({"scale": None, "row": None}, "does not say its row and scale"),
    ):
        path.write_text(json.dumps(whole | changes))
        with pytest.raises(ValueError, match=rf"cost/grid\.json: {said}"):
            run()


def test_csv_has_every_digit_and_both_sources(write, run):
    write("two_stage")
    rows = list(csv.DictReader(io.StringIO(run()["generation.csv"])))
    assert len(rows) == 15 + 14
    ours, papers = rows[0], rows[-1]
    assert (ours[KID], ours[f"{KID}_standard_error"], ours[f"{KID}_count"]) == ("0.062", "0.002", "500")
    assert (ours["generator"], ours["samples"], ours["tokens"]) == ("1300000", "1500", "16")
    assert (ours["class_accuracy_low"], ours["class_accuracy_high"]) == ("0.65", "0.75")
    assert (ours["result"], ours["commit"]) == ("results/laptop/generators/two_stage.json", "0123456789ab")
    # 33 M of the layout and 675 M of the texture
    assert (papers["fid"], papers["generator"], papers[KID]) == ("1.64", "708000000", "")


def test_memorisation(write, run):
    near = {"sample_median": 2345.6, "test_median": 3456.7, "share_below_first_percentile": 0.034}
    by_features = {"sample_median": 0.25, "test_median": 0.125, "share_below_first_percentile": 0}
    write("two_stage", memorisation=near | {"by_features": by_features}), write("grid")
    page = run()["generation.md"]
    assert line(page, "GPSToken two-stage", "pixel values") == ["2,346", "3,457", "3.4 %"]
    assert line(page, "GPSToken two-stage", "1 - cosine of features") == ["0.25", "0.125", "0.0 %"]
    assert line(page, "SiT on a grid of KL latents", "-") == ["-"] * 3


def cost(stages, speed, memory, samples, calls):
    # 600 steps of the layout and 1,200 of the texture, against 1,200 of one: the same multiply-adds
    gmacs = 0.0212 if len(stages) == 2 else 0.0318
    training = {name: {"iterations_per_second": speed, "peak_memory_mb": memory, "gmacs": gmacs} for name in stages}
    inference = {"samples_per_second": samples, "peak_memory_mb": 700, "network_calls": calls, "steps": 250}
    return {"training": training, "inference": inference, "device": "cpu (Test CPU)"}


def test_the_cost_of_a_sample(write, run, cells):
    measured = cost(["layout", "texture"], 5, 600, 4.0, 100)
    measured["inference"] |= {"network_rows_a_sample": {"layout": 50.0, "texture": 89.0}, "gflops_a_sample": 3.9588}
    write("two_stage", cost=measured), write("grid")
    page = run()["generation.md"]
    ours = cells(page, *OURS, "GPSToken two-stage")
    names = ("network calls a sample", "GFLOPs a sample", "s a sample ↓")
    assert [ours[name] for name in names] == ["139", "3.96", "0.25"]
    assert [cells(page, *OURS, "SiT on a grid of KL latents")[name] for name in names] == ["-"] * 3


def test_the_kind_of_a_row_is_of_its_network_or_of_its_sampler(write, run):
    write("two_stage"), write("flextok_ar")
    kinds = {row["row"]: row["kind"] for row in csv.DictReader(io.StringIO(run()["generation.csv"]))}
    assert (kinds["two_stage"], kinds["flextok_ar"]) == ("flow matching", "autoregressive")


def test_cost_beside_the_papers(write, run, cells):
    write("two_stage", cost=cost(["layout", "texture"], 5, 600, 3.0, {"layout": 250, "texture": 250}))
    write("grid", cost=cost(["grid"], 2, 800, 2.0, 250)), write("one_stage")
    page = run()["generation_training.md"]
    ours = "ours, laptop scale, 64 px"
    # 600 / 5 / 3600 h = 120 s, 1200 / 5 s = 240 s
    texture = cells(page, ours, "GPSToken two-stage", "texture")
    assert list(texture.values())[3:] == [
        "16", "1.20 M", "0.0212", "64", "1,200", "5.00", "0.067", "600", *["-"] * 5
    ]  # fmt: skip
    layout = cells(page, ours, "GPSToken two-stage", "layout")
    assert (layout["iterations"], layout["time (h)"]) == ("600", "0.033")
    # 360 s together
    whole = cells(page, ours, "GPSToken two-stage", "whole generator")
    assert list(whole.values())[3:] == [
        "-", "1.30 M", "-", "-", "-", "-", "0.100", "600", "250", "250 + 250", "3", "700", "-"
    ]  # fmt: skip
    one = cells(page, ours, "GPSToken one-stage", "one-stage")
    assert list(one.values())[3:] == ["16", "1.19 M", "-", "64", "1,200", *["-"] * 8]
    grid = cells(page, ours, "SiT on a grid of KL latents", "grid")
    assert (grid["positions"], grid["network calls"], grid["samples/s"]) == ("64", "250", "2")
    # 360 s against 600 s; 600 MB against 800 MB; 3.0 against 2.0
    assert (
        "At the laptop scale ours needs 40 % less training time and 25 % less training memory (of its larger stage) "
        "and generates 1.50 times" in page
    )
    paper = "paper, SiT-XL/2 at ImageNet 256 px"
    papers = [row for row in page.splitlines() if row.startswith(f"| {paper} | GPSToken two-stage |")]
    assert papers[1].split(" | ")[3:] == [
        "128", "-", "-", "-", "1,000,000", "1.09", "256", "41,498", "-", "-", "0.129", "9,636", "7.61 |"
    ]  # fmt: skip
    assert "timed on cpu (Test CPU)" in page


def test_a_claim_in_json_has_its_files_and_its_seeds(write, run):
    write("two_stage"), write("one_stage")
    claims = json.loads(run()["generation.json"])["claims"]
    kid = next(claim for claim in claims if claim["metric"] == "KID-EffLite0 x1000 ↓")
    assert (kid["difference"], kid["interval"]) == (-28.0, [-32.968, -23.032])
    assert kid["results"] == [f"results/laptop/generators/{row}.json" for row in ("one_stage", "two_stage")]
    assert kid["of"] == "paired difference by seed, 3 seeds"


def test_another_scale_stands_beside(write, run, tmp_path):
    write("grid"), write("two_stage")
    record = write("grid") | {"scale": "workstation", "data": write("grid")["data"] | {"fingerprint": "c" * 64}}
    path = tmp_path / "results" / "workstation" / "generators" / "grid.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record))
    written = run("workstation", "paper")
    page = written["generation.md"]
    beside = line(page, "ours, workstation scale, 64 px", "flow matching")
    assert beside[:2] == ["SiT on a grid of KL latents", "SiT-XL/2"]
    assert "**" not in "".join(beside)  # alone of its source
    assert [text for text in page.splitlines() if text.startswith("## Are the samples")] == [
        "## Are the samples copies of training images, at the laptop scale?",
        "## Are the samples copies of training images, at the workstation scale?",
    ]
    assert page.count("| ours, not measured |") == 13  # of 15
    path.write_text(json.dumps(record | {"scale": "laptop"}))
    with pytest.raises(ValueError, match=r"grid\.json: belongs to the scale 'laptop', not 'workstation'"):
        run("workstation")


def test_every_generator_has_a_kind():
    # That of a flow is told by what its network predicts.
    assert {generator(row)["family"] for row in generators()} == {"flow", *KIND_OF_FAMILY}
