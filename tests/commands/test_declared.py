"""Rows, scales and the commands that they stand for."""

from pathlib import Path

import pytest
import yaml

from gpstoken import cli
from gpstoken.commands import declared
from gpstoken.commands.by_row import FORMS, expanded, is_row_form, parse
from gpstoken.commands.declared import configuration_files, find_row, options, read_rows, read_scale, scales
from gpstoken.commands.rows import STEPS
from gpstoken.commands.rows import main as rows_command

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def declare(tmp_path, monkeypatch):
    """Writes an experiments/ of one's own and makes its folder the current one."""

    def write(files: dict[str, dict]) -> None:
        for name, content in files.items():
            path = tmp_path / "experiments" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(yaml.safe_dump(content, sort_keys=False))
        monkeypatch.chdir(tmp_path)
        declared.read_rows.cache_clear()

    yield write
    declared.read_rows.cache_clear()


ROWS = {
    "tokenizers": {"ours": {"family": "us"}, "theirs": {}},
    "ablations": {"half": {"like": "ours", "arguments": {"depth": 1, "deep": False}}},
    "generator_tokenizers": {"coder": {"like": "theirs"}},
    "networks": {"one": {"tokens": "coder"}},
    "generators": {"one": {"first": "one", "last": "one", "tokens": "coder"}},
    "studies": ["sizes"],
    "swept": "ours",
}
FILES = {
    "rows.yaml": ROWS,
    "tokenizers/ours.yaml": {}, "tokenizers/theirs.yaml": {}, "generators/one.yaml": {},
    "small/scale.yaml": {"evaluate": {"networks": ["a", "b"]}, "cost": {"steps": 5}},
    "small/tokenizers.yaml": {}, "small/us.yaml": {}, "small/ours.yaml": {}, "small/half.yaml": {},
    "small/coder.yaml": {}, "small/classes.yaml": {},
    "tiny/scale.yaml": {"like": "small", "evaluate": {"data.init_args.views": "centre"}, "cost": {"steps": 1}},
    "tiny/tokenizers.yaml": {}, "tiny/generators.yaml": {},
    "studies/sizes.yaml": {"evaluate": {"networks": []}, "arms": {"big": {"row": "ours", "size-factor": 2}}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ("ours", ["tokenizers/ours", "small/tokenizers", "small/us", "small/ours", "tiny/tokenizers"]),
        ("theirs", ["tokenizers/theirs", "small/tokenizers", "tiny/tokenizers"]),
        ("half", ["tokenizers/ours", "small/tokenizers", "small/us", "small/ours", "small/half", "tiny/tokenizers"]),
        ("coder", ["tokenizers/theirs", "small/tokenizers", "small/coder", "tiny/tokenizers"]),
        ("one", ["generators/one", "tiny/generators"]),
        ("depth=2", ["tokenizers/ours", "small/tokenizers", "small/us", "small/ours", "tiny/tokenizers"]),
    ],
)
def test_files_are_laid_in_the_order_kind_family_row_and_scale_over_scale(declare, row, names):
    declare(FILES)
    found = find_row(row, ["tokenizers", "ablations", "sweeps", "generator_tokenizers", "networks"])
    assert configuration_files(found, "tiny") == [Path("experiments") / f"{name}.yaml" for name in names]


def test_settings_of_a_scale_lie_over_those_of_the_one_it_is_like(declare):
    declare(FILES)
    assert read_scale("tiny") == {
        "evaluate": {"networks": ["a", "b"], "data.init_args.views": "centre"}, "cost": {"steps": 1},
    }  # fmt: skip
    assert read_scale("small")["cost"] == {"steps": 5}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("fit half --scale small --seeds 3", [
            "fit -c experiments/tokenizers/ours.yaml -c experiments/small/tokenizers.yaml "
            "-c experiments/small/us.yaml -c experiments/small/ours.yaml -c experiments/small/half.yaml "
            "--model.init_args.tokenizer.init_args.depth 1 --model.init_args.tokenizer.init_args.deep false "
            "--row half --group tokenizers --scale small --seed_everything 3 "
            "--output runs/small/tokenizers/half/seed3"]),
        ("fit one --scale tiny --seeds 0 1 --trainer.max_steps 2", [
            "fit -c experiments/generators/one.yaml -c experiments/tiny/generators.yaml --data.init_args.root "
            "data/cache/tiny/coder --row one --group generators --scale tiny "
            f"--seed_everything {seed} --output runs/tiny/generators/one/seed{seed} "
            "--trainer.max_steps 2" for seed in (0, 1)]),
        ("profile ours --scale tiny", [
            "profile experiments/tokenizers/ours.yaml --row ours --scale tiny "
            "--output results/tiny/efficiency/ours.json"]),
        ("cost one --scale tiny", [
            "cost runs/tiny/generators/one/seed0 --row one --scale tiny --output results/tiny/cost/one.json "
            "--steps 1"]),
        ("images train --scale tiny", [
            "images --split train --output data/real/tiny/train.npz --data experiments/small/classes.yaml"]),
        ("images coder --scale small", [
            "images --split test --output data/real/small/coder.npz "
            "--through runs/small/generation/coder/seed0/last.ckpt --data experiments/small/classes.yaml"]),
    ],
)  # fmt: skip
def test_what_a_command_with_a_row_stands_for(declare, arguments, expected):
    declare(FILES)
    (lines,), side_by_side = parse(arguments.split())
    assert [" ".join(line) for line in lines] == expected
    assert side_by_side == arguments.startswith("fit")


def test_a_teacher_is_trained_first_with_the_same_seed(declare):
    taught = {
        "tokenizers": ROWS["tokenizers"] | {"pupil": {"teacher": "guide"}},
        "teachers": {"guide": {"like": "ours"}},
    }
    declare(FILES | {"rows.yaml": ROWS | taught, "tokenizers/pupil.yaml": {}})
    groups, side_by_side = parse(["fit", "pupil", "--scale", "tiny", "--seeds", "3", "4"])
    assert side_by_side and [len(lines) for lines in groups] == [2, 2]
    run = "runs/tiny/tokenizers/pupil"
    for seed, first, second in zip((3, 4), *groups, strict=True):
        assert "experiments/tokenizers/ours.yaml" in first and "experiments/tokenizers/pupil.yaml" in second
        ending = ["--row", "guide", "--group", "tokenizers", "--scale", "tiny", "--seed_everything", str(seed)]
        assert first[-10:] == [*ending, "--output", f"{run}/teacher{seed}"]
        option = ["--model.init_args.tokenizer.init_args.teacher", f"{run}/teacher{seed}/last.ckpt"]
        assert second[-4:] == ["--output", f"{run}/seed{seed}", *option]


def test_runs_are_found_when_the_command_runs(declare):
    declare(FILES)
    line = "evaluate runs/tiny/tokenizers/ours/seed* --row ours --group tokenizers --scale tiny --output "
    line += "results/tiny/tokenizers/ours.json --networks a b --data.init_args.views centre"
    assert [" ".join(each) for each in expanded("evaluate", "ours", "tiny", [])] == [line]
    with pytest.raises(ValueError, match=r"runs/tiny/tokenizers/ours/seed\*: nothing there yet"):
        parse(["evaluate", "ours", "--scale", "tiny"])
    for seed in (1, 0):
        Path(f"runs/tiny/tokenizers/ours/seed{seed}").mkdir(parents=True)
    assert parse(["evaluate", "ours", "--scale", "tiny"])[0][0][0][1:3] == [
        f"runs/tiny/tokenizers/ours/seed{seed}" for seed in (0, 1)
    ]
    # a swept row has no table with distribution scores
    assert expanded("evaluate", "depth=2", "small", [])[0][-1] == "--networks"


def test_a_scale_may_leave_out_arms_of_a_study(declare):
    arms = {name: {"row": "ours", "size-factor": factor} for name, factor in (("big", 2), ("huge", 4))}
    scale = FILES["tiny/scale.yaml"] | {"sizes": {"arms": ["huge"], "num-tokens": 9}}
    declare(FILES | {"studies/sizes.yaml": {"arms": arms}, "tiny/scale.yaml": scale})
    (line,) = expanded("study", "sizes", "tiny", [])
    assert line[line.index("--row") + 1] == "huge" and line[line.index("--num-tokens") + 1] == "9"
    assert "--arms" not in line and len(expanded("study", "sizes", "small", [])) == 2
    declare({"tiny/scale.yaml": scale | {"sizes": {"arms": ["hug"]}}})
    with pytest.raises(ValueError, match="tiny: sizes: arms: hug: no such arm; did you mean huge"):
        expanded("study", "sizes", "tiny", [])


def test_a_study_of_all_rows_of_a_section_needs_no_arm_for_each(declare):
    study = {"sections": ["tokenizers"], "data": {"who": "faces"}, "arms": {"big": {"row": "ours", "num-tokens": 2}}}
    scale = FILES["tiny/scale.yaml"] | {"sizes": {"arms": []}}
    declare(FILES | {"studies/sizes.yaml": study, "tiny/scale.yaml": scale})
    names = {place: [line[line.index("--row") + 1] for line in expanded("study", "sizes", place, [])]
             for place in ("small", "tiny")}  # fmt: skip
    assert names == {"small": ["big", "who_ours", "who_theirs"], "tiny": ["who_ours", "who_theirs"]}
    line = " ".join(expanded("study", "sizes", "tiny", [])[0])
    assert line.startswith("evaluate runs/tiny/tokenizers/ours/seed* --trained-row ours --row who_ours ")
    assert "--data experiments/_data/faces.yaml" in line


def test_a_study_is_an_evaluation_an_arm(declare):
    declare(FILES)
    (line,) = expanded("study", "sizes", "tiny", [])
    assert " ".join(line) == (
        "evaluate runs/tiny/tokenizers/ours/seed* --trained-row ours --row big --group studies --scale tiny --output "
        "results/tiny/studies/sizes/big.json --networks --size-factor 2 --data.init_args.views centre"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("fit our --scale small", "our: no such row here; did you mean ours?"),
        ("fit ours --scale smal", "--scale smal: no experiments/smal/scale.yaml; did you mean small?"),
        ("profile half --scale small", "half: no such row here"),
        ("study size --scale small", "size: no such study; did you mean sizes?"),
        ("fit ours --scale small --seeds 0 1 --output runs/x", "--output: works for one seed only"),
    ],
)
def test_bad_names_are_one_line(declare, arguments, said, capsys):
    declare(FILES)
    assert cli.main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"gpstoken: {said}") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ({"tokenizers": {"ours": {"famly": "us"}}}, "ours: no field famly; did you mean family?"),
        ({"tokenizers": {"ours": {}}, "ablations": {"ours": {"like": "ours"}}}, "ours is declared twice"),
        ({"tokenizers": {"ours": {"like": "theirs"}}}, "there is no row theirs"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(declare, rows, why):
    declare({"rows.yaml": rows})
    with pytest.raises(ValueError, match=why):
        read_rows()


def test_files_and_folders_are_no_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert not is_row_form(["evaluate", "mine", "--scale", "x"])
    assert not is_row_form(["evaluate", "runs/mine"]) and not is_row_form(["fit", "-c", "x.yaml"])
    assert not is_row_form(["generate", "x"]) and is_row_form(["fit", "mine2"])


def test_options_are_words_with_the_data_last():
    settings = {"data.init_args.views": "centre", "n": 3, "networks": [], "count-only": True, "data": "x.yaml"}
    assert " ".join(options(settings)) == "--n 3 --networks --count-only --data x.yaml --data.init_args.views centre"


# The repository's own


@pytest.mark.parametrize("scale", scales())
def test_every_file_of_a_scale_is_of_something(scale):
    known = {"scale", "classes", "tokenizers", "generators", "generator_tokenizers"}
    known |= {row.key for row in read_rows()} | {row.family for row in read_rows()}
    assert {path.stem for path in (EXPERIMENTS / scale).glob("*")} <= known
    sections = {
        "domains",
        "params",
        "like",
        *FORMS,
        *yaml.safe_load((EXPERIMENTS / "rows.yaml").read_text())["studies"],
    }
    sections |= {row.family for row in read_rows()} | {"generate"}
    sections |= {row.key for row in read_rows() if row.section == "generator_tokenizers"}
    assert set(yaml.safe_load((EXPERIMENTS / scale / "scale.yaml").read_text())) <= sections


def test_the_published_sizes_are_those_of_rows():
    published = {path for folder in ("tokenizers", "generators") for path in (EXPERIMENTS / folder).glob("*.yaml")}
    assert {ROOT / row.published for row in read_rows() if not row.networks} == published


@pytest.mark.parametrize("scale", scales())
def test_no_path_of_one_scale_is_of_another(scale):
    others = set(scales()) - {scale}
    for row in read_rows():
        for command in STEPS[row.section]:
            text = " ".join(word for line in expanded(command, row.key, scale, [0]) for word in line)
            found = [other for other in others for kind in ("runs", "results", "samples") if f"{kind}/{other}/" in text]
            assert not found


def test_the_list_of_rows_is_printed_with_their_commands(capsys):
    assert rows_command(["--scale", "quick"]) == 0
    shown = capsys.readouterr().out
    for row in read_rows():
        assert all(f"\ngpstoken {command} {row.key} --scale quick\n" in f"\n{shown}" for command in STEPS[row.section])


@pytest.mark.parametrize("scale", declared.scales())
def test_options_of_data_have_values_in_every_arm(in_the_repository, scale):
    for study in declared.studies():
        for line in expanded("study", study, scale, []):
            for option, value in zip(line, [*line[1:], "--"], strict=True):
                assert not option.startswith("--data") or not value.startswith("--"), " ".join(line)
