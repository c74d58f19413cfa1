"""YAML and JSON that are none, and what reads them: what hostile ones did before it was mended."""

import numpy as np
import pytest

from datamodules.prepared import prepare
from datamodules.samples import Photos
from gpstoken.cli import main
from gpstoken.commands.fit_help import show
from gpstoken.commands.released_generator import read_statistics
from gpstoken.files.plain_text import read_json, read_yaml
from gpstoken.files.sample_files import SampleFiles
from gpstoken.profiling.rows import read_row
from gpstoken.training.origins import read_data_of, read_origin
from reports.publish.mirrored import trainings
from tests.faults.hostile.lines import BOMB, DEEP_LIST, one_line

DEEP_MAPPING = "\n".join(" " * level + f"k{level}:" for level in range(2000))
ITSELF = "a: &a\n  b: *a\n"
YAML = {
    "aliases that multiply": BOMB,
    "deep list": f"a: {DEEP_LIST}",
    "deep mapping": DEEP_MAPPING,
    "in itself": ITSELF,
}
YAML |= {"a list": "[1]", "no UTF-8": "\xff", "no date": "a: 2001-99-99", "empty": "", "unhashable": "{[1]: 2}"}
YAML |= {"a tag": "a: !!python/object/apply:os.getcwd []", "no flag": "a: !!bool maybe", "NUL": "a: \0"}
YAML |= {"long number": "a: 1" + ":1" * 300_000}
YAML |= {"nothing stamped": "a: !!timestamp word"}
PLACES = {
    "a row": read_row,
    "a run": lambda path: read_data_of(path.parent),
    "statistics": lambda path: read_statistics(path, 3),
    "help of fit": lambda path: show(["fit", "-c", str(path)]),
}


@pytest.mark.parametrize("reader", PLACES)
@pytest.mark.parametrize("content", YAML)
def test_yaml_that_is_none_is_one_line_wherever_it_is_read(tmp_path, content, reader):
    path = tmp_path / "config.yaml"
    path.write_text(YAML[content], encoding="latin-1")
    with one_line(path):
        PLACES[reader](path)


@pytest.mark.parametrize("arguments", [["-c", "x"], ["--config=x"], ["-c", "ours.yaml"], ["--data", "x.yaml"]], ids=str)
@pytest.mark.parametrize("content", ["aliases that multiply", "deep list"])
def test_fit_looks_at_its_files_first(tmp_path, monkeypatch, capsys, content, arguments):
    monkeypatch.chdir(tmp_path)
    for name in ("x", "x.yaml"):
        (tmp_path / name).write_text(YAML[content])
    (tmp_path / "ours.yaml").write_text("data: x.yaml\n")
    assert main(["fit", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith("gpstoken: x") and len(told.splitlines()) == 1


@pytest.mark.parametrize("text", ["means: [.nan, 0]", "means: [0, .inf]", "means: [true, 0]", "means: [1, 2, 3]"])
def test_means_that_are_no_numbers(tmp_path, text):
    path = tmp_path / "statistics.yaml"
    path.write_text(f"{text}\nstds: [1, 1]\n")
    with one_line(path):
        read_statistics(path, 2)


@pytest.mark.parametrize("text", ["stds: [.nan, 1]", "stds: [1, .inf]", "stds: [1]", f"stds: [1, 1{'0' * 400}]"])
def test_stds_that_are_no_numbers(tmp_path, text):
    path = tmp_path / "statistics.yaml"
    path.write_text(f"means: [0, 0]\n{text}\n")
    with one_line(path):
        read_statistics(path, 2)


def test_aliases_that_do_not_multiply_are_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: &a [1, 2]\nb: *a\nc: {<<: {d: 1}}\n")
    assert read_yaml(path) == {"a": [1, 2], "b": [1, 2], "c": {"d": 1}}


@pytest.mark.parametrize("text", [DEEP_LIST, f'{{"a": {DEEP_LIST}}}', "[1]", "1" * 5000, "", '{"a": ', "\xff"])
def test_json_that_is_none(tmp_path, text):
    path = tmp_path / "origin.json"
    path.write_text(text, encoding="latin-1")
    for reader in (read_json, lambda path: read_origin(path.parent)):
        with one_line(path):
            reader(path)


def test_files_of_text_have_a_limit_of_bytes(tmp_path):
    path = tmp_path / "config.yaml"
    with path.open("wb") as file:
        file.truncate(2**33)
    for reader in (read_json, read_yaml):
        with one_line(path):
            reader(path)


def test_a_run_without_its_configuration(tmp_path):
    with one_line(tmp_path / "config.yaml") as caught:
        read_data_of(tmp_path)
    assert "no such file" in str(caught.value) and "gpstoken fit" in str(caught.value)


def test_a_damaged_description_of_a_prepared_set(tmp_path):
    photos = Photos(["a"], [0], [np.zeros((8, 8, 3), np.uint8)])
    folder = prepare(photos, tmp_path, "Set-test", "adm", 8).folder
    (folder / "meta.json").write_text(f'{{"skipped": {DEEP_LIST}}}')
    with one_line(folder):
        prepare(photos, tmp_path, "Set-test", "adm", 8)


def test_a_damaged_manifest_of_samples(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "samples.json").write_text(f'{{"a": {DEEP_LIST}}}')
    with one_line(tmp_path / "out"):
        SampleFiles(tmp_path / "out", {"seed": 0}, [0], 1)


@pytest.mark.parametrize("text", ["a: 1", f"a: {DEEP_LIST}", "model: [1]", BOMB])
def test_a_damaged_run_is_not_published(tmp_path, text):
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(text)
    (run / "last.ckpt").write_bytes(b"")
    with one_line(run / "config.yaml"):
        list(trainings(tmp_path / "runs"))


@pytest.mark.parametrize("text", ["a: 1", f"a: {DEEP_LIST}", "model: [1]"])
def test_the_cost_of_a_damaged_run(tmp_path, text, capsys):
    for name, content in (("config.yaml", text), ("last.ckpt", "")):
        (tmp_path / name).write_text(content)
    options = ["--row", "row", "--scale", "tiny", "-o", str(tmp_path / "row.json")]
    assert main(["cost", str(tmp_path), *options]) == 2
    told = capsys.readouterr().err
    assert str(tmp_path / "config.yaml") in told and len(told.splitlines()) == 1
