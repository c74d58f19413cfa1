"""A complete generator as one file: what goes in comes out, and anything else is refused in one line."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gpstoken import Generator, load_generator
from gpstoken.cli import main
from gpstoken.files.weights import GENERATOR, read_exported, read_origin_of, write_exported
from gpstoken.generators.loading import class_names, write_stages


@pytest.fixture
def exported(narrow_generator, tmp_path):
    path = tmp_path / "generator.safetensors"
    stages = [narrow_generator["layout"], narrow_generator["texture"]]
    assert write_stages(path, stages, {"commit": "abc"}, torch.float32) > 0
    return path


def assert_same(one, other):
    assert list(one.stages) == list(other.stages) and one.config == other.config
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_both_stages_come_back(exported, narrow_generator):
    expected = load_generator(narrow_generator["texture"], narrow_generator["layout"])
    loaded = load_generator(exported)
    assert_same(loaded.generator, expected.generator)
    assert loaded.record["tokenizer"] == expected.record["tokenizer"]
    assert read_origin_of(exported, GENERATOR) == {"commit": "abc"}
    assert class_names(loaded) == ["0", "1", "2"]
    options = loaded.generator.options(sampler="ode", steps=3)
    made = [each.generator.sample(torch.tensor([0, 2]), range(2), 0, options) for each in (loaded, expected)]
    for name in ("geometry", "features", "layout"):
        assert torch.equal(made[0][name], made[1][name])
    assert_same(Generator.from_pretrained(exported), expected.generator)


def test_a_generator_of_one_stage(narrow_generator, tmp_path):
    path = tmp_path / "one.safetensors"
    write_stages(path, [narrow_generator["one_stage"]], {}, torch.float32)
    assert_same(load_generator(path).generator, load_generator(narrow_generator["one_stage"]).generator)


def test_the_command_writes_halves_that_plain_safetensors_reads(narrow_generator, tmp_path, capsys):
    path = tmp_path / "new" / "generator.safetensors"
    command = ["export", narrow_generator["texture"], "--layout", narrow_generator["layout"], "-o", path]
    assert main([str(part) for part in command]) == 0
    assert "a generator, " in capsys.readouterr().out
    expected = load_generator(narrow_generator["texture"], narrow_generator["layout"]).generator
    tensors = load_file(path)
    for number, stage in enumerate(expected.stages.values()):
        for name, tensor in stage.state_dict().items():
            assert torch.equal(tensors[f"{number}.{name}"], tensor.half() if tensor.is_floating_point() else tensor)
    with safe_open(path, framework="pt") as file:
        stages = json.loads(file.metadata()["generator"])["stages"]
    assert [stage["class_path"].rpartition(".")[2] for stage in stages] == ["Layout", "Texture"]
    assert all(parameter.dtype == torch.float32 for parameter in Generator.from_pretrained(path).parameters())


def test_images_are_generated_from_the_file(exported, tmp_path):
    command = ["generate", exported, "-n", "2", "--steps", "3", "--device", "cpu", "-o", tmp_path / "made.npz"]
    assert main([str(part) for part in command]) == 0


def test_a_layout_that_is_there_already(exported, narrow_generator):
    with pytest.raises(ValueError, match=r"generator\.safetensors: has its layout stage; leave out .*layout"):
        load_generator(exported, narrow_generator["layout"])


def test_stages_that_do_not_belong_together(narrow_generator, tmp_path):
    with pytest.raises(ValueError, match=r"was trained on the tokens of tokenizer|takes no layout"):
        write_stages(tmp_path / "a.safetensors", [narrow_generator["layout"], narrow_generator["grid"]], {}, None)
    assert not list(tmp_path.iterdir())


def test_a_tokenizer_takes_no_layout(narrow_generator, tmp_path, capsys):
    command = [
        "export",
        narrow_generator["tokenizer"],
        "--layout",
        narrow_generator["layout"],
        "-o",
        tmp_path / "a.safetensors",
    ]
    assert main([str(part) for part in command]) == 2
    assert "holds a tokenizer; --layout is for the last stage of a generator" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({}, "describes no stages"),
        ({"stages": []}, "describes no stages"),
        ({"stages": [{}] * 9}, "describes no stages"),
        ({"stages": [3]}, "not a generator checkpoint"),
        ({"stages": [{"class_path": "os.system"}]}, "not a generator checkpoint"),
    ],
)
def test_other_descriptions_are_refused(tmp_path, described, message):
    path = tmp_path / "other.safetensors"
    write_exported(path, GENERATOR, described, {"0.a": torch.zeros(2)}, {})
    with pytest.raises(ValueError, match=r"other\.safetensors: ") as caught:
        load_generator(path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("class_path", ["os.system", "gpstoken.tokenizer.GPSToken", "gpstoken.none.Flow"])
def test_other_classes_are_refused(exported, tmp_path, class_path):
    described, tensors = read_exported(exported, GENERATOR)
    described["stages"][0]["class_path"] = class_path
    path = tmp_path / "other.safetensors"
    write_exported(path, GENERATOR, described, tensors, {}, torch.float32)
    with pytest.raises(ValueError, match=r"other\.safetensors: names "):
        load_generator(path)


def test_a_tokenizer_is_no_generator(tmp_path):
    path = tmp_path / "tokenizer.safetensors"
    save_file({"a": torch.zeros(2)}, path, {"format": "gpstoken tokenizer", "version": "1"})
    with pytest.raises(ValueError, match="not a generator that `gpstoken export` wrote"):
        load_generator(path)
    with pytest.raises(ValueError, match="smal: no such file, and no such weights"):
        load_generator("smal")
