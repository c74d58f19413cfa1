import csv
import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from gpstoken import cli
from gpstoken.commands import profile as command
from gpstoken.profiling.inputs import photographs

TOKENIZER = {
    "num_tokens": 8, "feature_channels": 4, "image_size": 32, "grid_size": 8, "width": 16, "depth": 1, "heads": 2,
    "roi_size": 2, "stem_channels": 4, "decoder_channels": 4, "decoder_blocks": 1, "norm_groups": 2,
    "min_region_size": 4,
}  # fmt: skip
NETWORK = {"channels": 9, "shape": [8], "layout_channels": 5, "width": 16, "depth": 1, "heads": 2, "num_classes": 3}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with two rows and two photographs."""
    monkeypatch.chdir(tmp_path)
    for name, part in {
        "coder": {"tokenizer": {"class_path": "gpstoken.GPSToken", "init_args": TOKENIZER}},
        "texture": {
            "generator": {
                "class_path": "gpstoken.generators.two_stage.Texture",
                "init_args": {"network": {"class_path": "gpstoken.sit.SiT", "init_args": NETWORK}},
            }
        },
    }.items():
        model = {"class_path": "gpstoken.training.Anything", "init_args": part}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"model": model, "data": "elsewhere.yaml"}))
    folder = tmp_path / "data" / "embedded"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "domain", "split"])
        for name, domain, split in (
            ("red", "faces", "test"), ("one", "natural", "test"), ("two", "natural", "test"), ("no", "natural", "train")
        ):  # fmt: skip
            writer.writerow([f"{name}.png", domain, split])
            level = {"one": 0, "two": 255}.get(name)
            pixels = random.integers(0, 256, (40, 50, 3)) if level is None else np.full((40, 50, 3), level)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}.png")
    return tmp_path


def run(name, *options):
    arguments = ["profile", f"{name}.yaml", "--row", name, "--scale", "laptop", "-o", f"out/{name}.json"]
    return cli.main([*arguments, "--image-size", "32", "--train-batch-size", "2", *options])


def result(name):
    return json.loads((command.Path("out") / f"{name}.json").read_text())


TIMED = ("--batch-size", "3", "--repeats", "2", "--device", "cpu")


def test_the_record_of_a_tokenizer(here):
    assert run("coder", *TIMED) == 0
    record = result("coder")
    assert {name: record[name] for name in ("row", "group", "scale", "kind", "experiment", "image_size")} == {
        "row": "coder", "group": "efficiency", "scale": "laptop", "kind": "tokenizer", "experiment": "coder.yaml",
        "image_size": 32,
    }  # fmt: skip
    assert record["config"]["class_path"] == "gpstoken.GPSToken"
    assert record["config"]["init_args"] | TOKENIZER == record["config"]["init_args"]
    assert record["config"]["init_args"]["splat_backend"] == "auto"  # counted dense, but that is how the row is
    parts = record["parameters"]
    assert parts["total"] == parts["encoder"] + parts["decoder"] + parts["other"]
    assert parts["as_paper"] is None and record["paper_convention"] is None
    for counts in record["counts"].values():
        assert counts["gflops"] == pytest.approx(2 * counts["gmacs"], abs=1e-6)
        assert 0 < counts["attention_gmacs"] < counts["gmacs"]
    memory = record["memory"]
    assert list(memory["training_parts_mb"]) == ["parameters", "gradients", "moments", "activations"]
    # each is rounded to .1
    assert memory["training_counted_mb"] == pytest.approx(sum(memory["training_parts_mb"].values()), abs=0.3)
    assert memory["inference_counted_mb"] == pytest.approx(sum(memory["inference_parts_mb"].values()), abs=0.2)
    assert (memory["training_batch_size"], memory["inference_batch_size"]) == (2, 8)
    assert memory["training_measured_mb"] is None
    measured = record["measured"]
    assert len(measured["encode_ms"]) == len(measured["decode_ms"]) == 2
    rounds = [sum(pair) for pair in zip(measured["encode_ms"], measured["decode_ms"], strict=True)]
    assert measured["latency_ms"] == pytest.approx(sum(rounds) / 2, abs=0.01)
    assert measured["throughput_per_s"] == pytest.approx(3000 / measured["latency_ms"], rel=1e-3)
    assert {name: measured[name] for name in ("device", "precision", "compile", "batch_size", "repeats")} == {
        "device": "cpu", "precision": "fp32", "compile": False, "batch_size": 3, "repeats": 2
    }  # fmt: skip
    assert measured["peak_memory_mb"] is None  # no GPU, no figure
    assert measured["threads"] == record["machine"]["threads"] == torch.get_num_threads()
    assert record["versions"]["torch"] == torch.__version__.split("+")[0]
    assert record["commit"]


def test_the_record_of_a_network_of_a_generator(here):
    assert run("texture", *TIMED) == 0
    record = result("texture")
    assert record["kind"] == "generator" and record["image_size"] is None
    # width 16, one block, 8 tokens, by hand as in the test of `gpstoken cost`
    tokens, w = 8, 16
    a_token = 12 * w * w + 2 * tokens * w + 9 * w + (5 * w + w * w) + 18 * w
    expected = tokens * a_token + 6 * w * w + 2 * w * w + 256 * w + w * w
    assert record["counts"]["network"]["gmacs"] == pytest.approx(expected / 1e9, abs=5e-7)
    assert record["counts"]["calls"] == 500  # a fact about the row of this name
    assert record["parameters"]["total"] > 0 and record["parameters"]["encoder"] is None
    assert len(record["measured"]["network_ms"]) == 2


def test_what_is_counted_needs_no_photographs_and_measures_nothing(here):
    (here / "data" / "embedded" / "index.csv").unlink()
    assert run("coder", "--count-only") == 0
    assert result("coder")["measured"] is None


def test_half_precision_and_compilation_reach_the_networks(here, monkeypatch):
    compiled, dtypes = [], set()
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(type(module).__name__))
    decode = command.measure

    def spy(parts, *rest):
        def after(tokens):
            dtypes.add(parts["decode"](tokens).dtype)

        return decode({"encode": parts["encode"], "decode": after}, *rest)

    monkeypatch.setattr(command, "measure", spy)
    assert run("coder", *TIMED, "--precision", "bf16", "--compile") == 0
    assert compiled == ["Refine", "Decoder"]
    assert dtypes == {torch.bfloat16}
    assert result("coder")["measured"]["precision"] == "bf16" and result("coder")["measured"]["compile"] is True


def test_an_interrupted_profile_leaves_the_old_file(here, monkeypatch):
    assert run("coder", "--count-only") == 0
    before = (here / "out" / "coder.json").read_bytes()

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "measure_row", interrupt)
    assert run("coder", *TIMED) == 130
    assert [path.name for path in (here / "out").iterdir()] == ["coder.json"]
    assert (here / "out" / "coder.json").read_bytes() == before


def test_photographs_are_the_test_ones_of_nature_again_and_again(here):
    images = photographs(3, 32)
    assert tuple(images.shape) == (3, 3, 32, 32)
    assert [(image.min().item(), image.max().item()) for image in images] == [(-1, -1), (1, 1), (-1, -1)]


def wrong(here, part):
    (here / "wrong.yaml").write_text(yaml.safe_dump({"model": {"init_args": part}}))
    return "wrong"


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"tokenizer": {"class_path": "os.path"}}, "names os.path, which is not a class of this package"),
        ({"tokenizer": {"class_path": "gpstoken.nowhere.Coder"}}, "names gpstoken.nowhere.Coder, which cannot be"),
        ({"tokenizer": {"class_path": "gpstoken.Tokens"}}, "names gpstoken.Tokens, which is not a Tokenizer"),
        ({"tokenizer": {"class_path": "gpstoken.sit.SiT"}}, "names gpstoken.sit.SiT, which is not a Tokenizer"),
        ({"generator": {"class_path": "gpstoken.sit.SiT"}}, "names gpstoken.sit.SiT, which is not a Generator"),
        ({"generator": {"class_path": "gpstoken.generators.flow.Flow", "init_args": {}}}, "'network'"),
        ({"tokenizer": {"class_path": "gpstoken.GPSToken", "init_args": {"tokens": 1}}}, "keyword argument 'tokens'"),
        ({"tokenizer": {"class_path": "gpstoken.GPSToken", "init_args": {"norm": "odd"}}}, "got 'odd'"),
        ({"tokenizer": "../elsewhere.yaml"}, "not a row: expected model.init_args.tokenizer or .generator"),
        ({"stage": "grid"}, "not a row: expected model.init_args.tokenizer or .generator"),
    ],
)
def test_a_row_that_cannot_be_built_is_one_line(here, capsys, part, message):
    assert run(wrong(here, part), "--count-only") == 2
    error = capsys.readouterr().err
    assert error.startswith("gpstoken: wrong.yaml: ") and message in error
    assert error.count("\n") == 1
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("none", (), "none.yaml: no such row"),
        ("coder", ("--row", "other"), "coder.json: the result of row other must be named other.json"),
        ("coder", ("--repeats", "0"), "--repeats: expected at least 1, got 0"),
        ("coder", ("--device", "nowhere"), "--device nowhere: "),
        ("coder", ("--image-size", "0"), "--image-size: expected"),
    ],
)
def test_a_wrong_command_is_one_line(here, capsys, name, options, message):
    assert run(name, *options) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_broken_file_and_missing_photographs_are_one_line(here, capsys):
    (here / "broken.yaml").write_text("model: [")
    assert run("broken") == 2
    assert "broken.yaml: not a readable YAML file" in capsys.readouterr().err
    (here / "data" / "embedded" / "index.csv").unlink()
    assert run("coder", *TIMED) == 2
    assert "no photographs to time on; run `python -m datamodules.prepare" in capsys.readouterr().err
