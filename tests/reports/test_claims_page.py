"""The page of the paper's claims: which tests it takes together, and what comes of them."""

import json
import re
from pathlib import Path

import pytest
import yaml

from reports.declared import every_table
from reports.tables.claims import judge_all
from reports.tables.claims_table import judge_cost
from reports.tables.results import Result
from reports.tables.rows import HERE, read_published


def read(written: dict[str, str]) -> dict[str, dict]:
    """Claim -> texts of its cells, and its file."""
    rows = json.loads(written["claims.json"])["rows"]
    return {
        row["cells"]["claim"]["text"]: {name: cell["text"] for name, cell in row["cells"].items()}
        | {"result": row["result"], "commit": row["commit"]}
        for row in rows
    }


def test_every_claim_chooses_tests_that_a_table_declares():
    tables = every_table()
    chosen = {}
    for claim in yaml.safe_load((HERE / "claims.yaml").read_text()):
        if "table" not in claim:
            continue
        for wanted in claim["tests"]:
            declared = tables[claim["table"]]["claims"]
            matching = [each for each in declared if all(each.get(name) == value for name, value in wanted.items())]
            assert matching, (claim["claim"], wanted)
            for each in matching:
                chosen.setdefault(each["text"], []).append(claim["claim"])
    # every claim of a table stands on the page, but for what is only measured and the direction beside the collapse
    for name, table in tables.items():
        for each in table.get("claims", []):
            if each.get("kind") != "measured" and each["text"] != "the default s over s = 1":
                assert len(chosen.get(each["text"], [])) == 1, (name, each["text"])


def test_the_papers_figures_are_those_of_its_tables():
    printed = {
        float(number)
        for path in HERE.with_name("published").glob("*.csv")
        for row in read_published(path.name)
        for cell in row.values()
        for number in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])", cell or "")
    }
    for claim in yaml.safe_load((HERE / "claims.yaml").read_text()):
        numbers = {float(number) for number in re.findall(r"(?<![\w.])\d+(?:\.\d+)?", claim["paper"])}
        # settings of the sentences, which name no figure
        assert numbers - printed <= {3.0, 4.0, 5.0, 7.0, 8.0, 16.0}, (claim["claim"], numbers - printed)


def test_verdicts_of_several_tests_together(arm, study, pages):
    arm("uniform"), arm("uniform_refined"), arm("init_only", gain=0.1), arm("gpstoken_m128", gain=0.05)
    written = pages()
    page = read(written)
    adaptive = page["Spatially adaptive initialisation beats a uniform allocation"]
    assert adaptive["verdict"] == "holds"
    assert adaptive["statistic"] == "paired difference by image and seed, 4 images of 2 photographs, 2 seeds"
    assert adaptive["ours"].endswith("; 8 of 8 tests hold")
    # two of the four metrics, for each of two pairs
    assert adaptive["ours"].count("PSNR +") == 2 and adaptive["ours"].count("LPIPS (AlexNet) -") == 2
    assert "SSIM" not in adaptive["ours"]
    assert (adaptive["result"], adaptive["commit"]) == ("results/laptop/tokenizers/init_only.json", "0123456789ab")
    refined = page["Refinement improves on the initialisation"]
    assert (refined["verdict"], refined["ours"].split("; ")[-1]) == ("does not hold", "0 of 4 tests hold, 4 reversed")
    assert page["s = 1 collapses"]["verdict"] == "not measured" and "ours" not in page["s = 1 collapses"]
    # 3: λ = 0 too
    head = json.loads(written["claims.json"])["introduction"]
    assert "of 21 claims 2 **hold**, 1 **does not hold** and 18 were not measured." in head


def test_one_seed_is_told(arm, pages):
    arm("uniform", seeds=(0,)), arm("init_only", gain=0.1, seeds=(0,))
    page = read(pages())
    verdict = page["Spatially adaptive initialisation beats a uniform allocation"]["verdict"]
    assert verdict == "not testable at this scale: one seed"


def test_a_claim_with_a_missing_pair_is_not_settled(arm, pages):
    arm("uniform"), arm("init_only", gain=0.1)
    assert read(pages())["Spatially adaptive initialisation beats a uniform allocation"]["verdict"] == "not resolved"


@pytest.fixture
def faces(study):
    def write(l256_tokens: int, m128: float = 21.0):
        data = {"dataset": "faces", "fingerprint": "1" * 64}
        library = {"class_path": "x", "init_args": {}}
        study("domain_faces_vavae", of="vavae", levels={"psnr": 20.0}, data=data, tokenizer=library)
        study("domain_faces_m128", levels={"psnr": m128}, data=data)
        study("domain_faces_l256", of="gpstoken_l256", num_tokens=l256_tokens, levels={"psnr": 25.0}, data=data)

    return write


def test_gains_are_claimed_at_equal_token_count_alone(faces, pages):
    faces(l256_tokens=32, m128=19.0)
    written = pages()
    page = read(written)["Gains over VA-VAE at equal token count on faces"]
    # L256 is 5 dB better, and has twice the tokens; M128 with as many is worse
    assert page["verdict"] == "does not hold"
    tests = {
        claim["text"]: claim for claim in json.loads(written["domains.json"])["claims"] if "PSNR" in claim["metric"]
    }
    assert tests["faces: GPSToken-M128 over VAVAE"]["verdict"] == "reversed"
    other = tests["faces: GPSToken-L256 over VAVAE (32 tokens against 16)"]
    assert (other["claimed"], other["verdict"]) == ("nothing", "better")


def test_no_row_with_as_many_tokens_is_not_testable(study, pages):
    data = {"dataset": "faces", "fingerprint": "1" * 64}
    study("domain_faces_vavae", of="vavae", num_tokens=4, data=data)
    study("domain_faces_m128", data=data, levels={"psnr": 25.0})
    page = read(pages())["Gains over VA-VAE at equal token count on faces"]
    assert page["verdict"] == "not testable at this scale: none of our rows has as many tokens"


def test_another_scale_is_judged_for_itself(arm, pages):
    arm("init_only"), arm("gpstoken_m128", gain=0.1)
    arm("init_only", scale="workstation"), arm("gpstoken_m128", gain=-0.1, scale="workstation")
    rows = [
        row
        for row in json.loads(pages("workstation")["claims.json"])["rows"]
        if row["group"] == "Refinement improves on the initialisation"
    ]
    assert [(row["source"], row["cells"]["verdict"]["text"]) for row in rows] == [
        ("ours, laptop scale", "holds"),
        ("ours, workstation scale", "does not hold"),
    ]


def record(shape, speeds=(1.0, 1.0, 1.0), memory=100.0, rate=1.0, patch=1):
    """A generator of one stage, 3,600 steps: slowest, usual and fastest iterations a second."""
    network = {"shape": shape, "patch_size": patch}
    names = ("slowest_iterations_per_second", "iterations_per_second", "fastest_iterations_per_second")
    cost = {**dict(zip(names, speeds, strict=True)), "peak_memory_mb": memory}
    stage = {"steps": 3600, "batch_size": 64, "parameters": 1, "network": network}
    training = {"texture": cost}
    whole = {"training": training, "inference": {"samples_per_second": rate}}
    return Result(Path(), {"generator": {"stages": {"texture": stage}}, "cost": whole})


@pytest.mark.parametrize(
    ("speeds", "verdict", "figure"),
    [
        # the grid takes 1 h, between 1 / 1.25 and 1 / 0.8 h
        ((1.5, 2.0, 2.5), "holds", "0.50 times (0.5 against 1 h); 0.32 to 0.83 between slowest and fastest iterations"),
        ((0.4, 0.5, 0.625), "does not hold", "2.00 times (2 against 1 h); 1.28 to 3.12"),
        ((0.8, 1.0, 1.25), "not resolved", "1.00 times (1 against 1 h); 0.64 to 1.56"),
    ],
)
def test_training_time_by_hand(speeds, verdict, figure):
    ours = {"grid": record([16, 16], (0.8, 1.0, 1.25), patch=2), "two_stage": record([32], speeds)}
    claim = {"of": "training time", "from": "grid", "to": "two_stage"}
    _, said, outcome, *_ = judge_cost(claim, ours)
    assert said.startswith(figure) and said.endswith("; 32 positions against 64")
    assert outcome == verdict


def test_costs_at_as_many_positions_cannot_show_the_papers_savings():
    ours = {"grid": record([8, 8], patch=2, memory=200.0), "two_stage": record([16], memory=100.0)}
    for of, figure in (("training memory", "0.50 times (100 against 200 MB)"), ("seconds per sample", "1.00 times")):
        _, said, outcome, *_ = judge_cost({"of": of, "from": "grid", "to": "two_stage"}, ours)
        assert said.startswith(figure)
        assert outcome == ("not testable at this scale: 16 against 16 positions, where the paper has 128 against 256")


def test_a_cost_of_one_run_without_a_spread_resolves_nothing():
    ours = {"grid": record([64]), "two_stage": record([32], rate=2.0)}
    _, said, outcome, *_ = judge_cost({"of": "seconds per sample", "from": "grid", "to": "two_stage"}, ours)
    assert (said.split(" ")[0], outcome) == ("0.50", "not resolved: one run, without a spread")
    assert (
        judge_cost({"of": "seconds per sample", "from": "grid", "to": "two_stage"}, {"grid": None})[2] == "not measured"
    )


def test_tables_and_page_judge_with_one_function(arm, pages):
    # what a table says of a claim is what the page says
    arm("uniform"), arm("init_only", gain=0.1)
    written = pages()
    of_table = json.loads(written["ablation.json"])["claims"]
    of_page = json.loads(written["claims.json"])["claims"]
    assert [claim for claim in of_table if claim["difference"]] == [claim for claim in of_page if claim["difference"]]
    assert judge_all(every_table()["ablation"], {}) == []
