import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gpstoken import cli
from gpstoken.base import Generator
from gpstoken.commands import generate
from gpstoken.generators.loading import Loaded
from gpstoken.generators.two_stage import TwoStageSampling
from gpstoken.metrics.samples import count, read_batches

# What differs between two runs of one command
OF_THE_RUN = {
    "samples_in_this_run", "seconds", "samples_per_second", "network_calls", "peak_memory_mb", "commit", "machine",
}  # fmt: skip


def levels(label, index, place, rows=16, seed=0):
    """Levels 0 to 255 with fractions; as a network's, they depend on the batch and on the place in it."""
    return np.random.default_rng((label, index, place, rows, seed)).random((8, 6, 3)) * 255


class Fake(Generator):
    """A generator whose tokens are images of known levels; `Same` makes them images."""

    name = "grid"
    num_classes = 5
    options = TwoStageSampling
    pause = 0.0

    def __init__(self):
        super().__init__()
        self.network = torch.nn.Identity()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.drawn = []

    @classmethod
    def load(cls, checkpoint, layout=None, tokenizer=None):
        if not Path(checkpoint).exists():
            raise FileNotFoundError(f"{checkpoint}: no such checkpoint")
        cls.last, cls.given = cls(), (layout, tokenizer)
        record = {"class_path": "fake", "stages": {"grid": {"sha256": Path(checkpoint).read_text(), "heads": 2}}}
        return Loaded(cls.last, Same(), record)

    def sample(self, labels, indices, seed, options):
        time.sleep(self.pause)
        for _ in range(options.steps):
            self.network(labels)
        self.drawn += list(indices)
        pairs = enumerate(zip(labels.tolist(), indices, strict=True))
        values = [levels(label, index, place, len(labels), seed) for place, (label, index) in pairs]
        return {"image": torch.from_numpy(np.stack(values)).permute(0, 3, 1, 2) / 127.5 - 1}

    loss = preview = calls = inputs = None


class Same(torch.nn.Module):
    """A tokenizer without weights, whose tokens are the image."""

    def unpack(self, parts):
        return parts["image"]

    def decode(self, tokens):
        return tokens


@pytest.fixture
def fake(monkeypatch, tmp_path):
    monkeypatch.setattr(generate, "load_generator", Fake.load)
    monkeypatch.chdir(tmp_path)
    Path("a.ckpt").write_text("abc")
    Path("b.ckpt").write_text("def")
    return Fake


def run(*arguments):
    return cli.main(["generate", *map(str, arguments)])


def tree(folder):
    """Every file by its path; of a manifest what is the same for any run."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for name in files:
        if name.endswith(".json"):
            files[name] = {key: value for key, value in json.loads(files[name]).items() if key not in OF_THE_RUN}
    return files


def pixels(source):
    return torch.cat(list(read_batches(source, 7))).permute(0, 2, 3, 1).numpy()


def test_progress_and_a_closing_line(fake, capsys, monkeypatch):
    assert run("a.ckpt", "-n", 20, "--steps", 9, "--classes", "1-3", "-o", "quick") == 0
    quick = capsys.readouterr()
    assert quick.err == ""  # a log needs nothing of what is over at once
    assert re.fullmatch(
        r"quick: 20 images of 3 classes, 20 of them in this call in \d+\.\d s with 18 network calls\n", quick.out
    )
    # The images of a group are done all at once: what is shown in between are the network's calls.
    monkeypatch.setattr(generate, "PERIOD", 0.05)
    monkeypatch.setattr(generate, "DELAY", 0.05)
    monkeypatch.setattr(Fake, "pause", 0.4)
    assert run("a.ckpt", "-n", 20, "--steps", 9, "-o", "slow") == 0
    bars = capsys.readouterr().err.replace("\r", "\n")
    assert "0/20" in bars and "0 network calls" in bars and "16/20" in bars and "9 network calls" in bars


@pytest.mark.parametrize("name", ["out", "out.npz"])
def test_samples_and_files(fake, name, capsys):
    assert run("a.ckpt", "--classes", "0-2,4", "-n", 37, "-o", f"deep/{name}", "--seed", 3, "--steps", 9) == 0
    classes = [0, 1, 2, 4]
    expected = [levels(classes[i % 4], i, i % 16, seed=3) for i in range(37)]
    # Rounding to the nearest: half a level, and what float64 loses on the way to [-1, 1] and back
    assert count(f"deep/{name}") == 37
    assert np.abs(pixels(f"deep/{name}") - np.stack(expected)).max() <= 0.5 + 1e-9
    if name == "out":
        files = [f"{i:06}.png" for i in range(37)]
        assert sorted(os.listdir("deep/out")) == sorted([*files, "labels.csv", "samples.json"])
        lines = Path("deep/out/labels.csv").read_text().splitlines()
        assert lines == ["index,label", *(f"{i},{classes[i % 4]}" for i in range(37))]
        manifest = json.loads(Path("deep/out/samples.json").read_text())
    else:
        assert sorted(os.listdir("deep")) == ["out.json", "out.npz"]
        with np.load("deep/out.npz", allow_pickle=False) as archive:
            assert archive.files == ["arr_0", "arr_1"] and archive["arr_1"].dtype == np.int64
            assert archive["arr_1"].tolist() == [classes[i % 4] for i in range(37)]
            assert np.array_equal(archive["arr_0"], pixels("deep/out.npz"))
        manifest = json.loads(Path("deep/out.json").read_text())
    assert manifest["samples"] == manifest["samples_in_this_run"] == 37 and manifest["classes"] == classes
    assert manifest["sampling"]["steps"] == 9 and manifest["sampling"]["seed"] == 3 and manifest["group"] == 16
    assert manifest["generator"]["stages"]["grid"]["sha256"] == "abc"
    assert manifest["network_calls"] == {"grid": 3 * 9}  # of each of three groups
    assert manifest["seconds"] > 0 and manifest["samples_per_second"] > 0 and manifest["peak_memory_mb"] > 1
    assert {"commit", "versions", "machine"} <= set(manifest)


@pytest.mark.parametrize("name", ["out", "out.npz"])
def test_files_are_the_same_for_any_batch_size(fake, name):
    for size in (64, 1, 7, 16, 40):
        assert run("a.ckpt", "-n", 70, "--batch-size", size, "-o", f"{size}/{name}") == 0
        assert tree(Path(str(size))) == tree(Path("64"))


def test_a_sample_is_the_same_in_a_larger_set(fake):
    # The last group of the smaller one is filled up and cut.
    for n in (20, 32):
        assert run("a.ckpt", "-n", n, "-o", f"{n}.npz") == 0
    assert np.array_equal(pixels("20.npz"), pixels("32.npz")[:20])


MANY = ["a.ckpt", "-n", "150", "--batch-size", "32"]


def test_killed_in_the_middle(fake, tmp_path):
    # One process makes both forms at once: its imports take longer than all else here.
    killed, outputs = tmp_path / "killed", [tmp_path / "killed/out", tmp_path / "killed/out.npz"]
    parts = killed / ".out.npz.parts"
    deadline = time.monotonic() + 600
    with (
        open("log", "w") as log,
        subprocess.Popen([sys.executable, __file__, *map(str, outputs)], stdout=log, stderr=log) as process,
    ):
        try:
            while len(list(outputs[0].glob("0*.png"))) < 40 or len(list(parts.glob("0*.npy"))) < 2:
                assert process.poll() is None and time.monotonic() < deadline, Path("log").read_text()
                time.sleep(0.01)
        finally:
            process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "out.json").exists() and not (outputs[0] / "samples.json").exists()
    for folder in (outputs[0], parts):
        (folder / ".000009.png.77.part").write_bytes(b"half")  # what a kill within a write leaves

    for output in outputs:
        assert run(*MANY, "-o", output) == 0
        assert run(*MANY, "-o", f"unbroken/{output.name}") == 0
    assert tree(killed) == tree(Path("unbroken"))


@pytest.mark.parametrize("name", ["out", "out.npz"])
def test_what_is_done_is_not_done_again(fake, name, monkeypatch):
    write = generate.SampleFiles.write

    def killed(self, group, images):
        if group == 5:
            raise KeyboardInterrupt
        write(self, group, images)

    with monkeypatch.context() as patch:
        patch.setattr(generate.SampleFiles, "write", killed)
        assert run(*MANY, "-o", name) == 130
    # Groups of 16 in batches of two: the one with groups 4 and 5 was cut in its middle; the last group is filled up.
    assert run(*MANY, "-o", name) == 0
    assert fake.last.drawn == list(range(80, 160))
    before = tree(Path("."))
    assert run(*MANY, "-o", name) == 0
    assert fake.last.drawn == [] and tree(Path(".")) == before


@pytest.mark.parametrize("name", ["out", "out.npz"])
def test_killed_before_the_manifest(fake, name, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(generate.SampleFiles, "finish", killed)
        assert run("a.ckpt", "-n", 20, "-o", name) == 130
    assert run("a.ckpt", "-n", 20, "-o", name) == 0
    assert fake.last.drawn == []
    assert run("a.ckpt", "-n", 20, "-o", f"unbroken/{name}") == 0
    manifest = "samples.json" if name == "out" else "unbroken/out.json"
    assert pixels(name).shape == (20, 8, 6, 3) and np.array_equal(pixels(name), pixels(f"unbroken/{name}"))
    assert Path(name, manifest).exists() or Path(manifest).exists()


def test_layouts_and_tokenizer_are_passed_on_and_a_change_of_layouts_is_seen(fake, capsys):
    Path("l.safetensors").write_bytes(b"abc")
    assert run("a.ckpt", "-n", 1, "-o", "out", "--layout", "l.safetensors", "--tokenizer", "t.ckpt") == 0
    assert [str(path) for path in fake.given] == ["l.safetensors", "t.ckpt"]
    # FIPS 180-2, appendix B.1
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert json.loads(Path("out/samples.json").read_text())["layout_file_sha256"] == digest
    Path("l.safetensors").write_bytes(b"abcd")
    assert run("a.ckpt", "-n", 1, "-o", "out", "--layout", "l.safetensors") == 2
    assert f'layout_file_sha256 is "{digest}" there' in capsys.readouterr().err


def test_a_picture_that_was_deleted_comes_back(fake):
    assert run("a.ckpt", "-n", 40, "-o", "out") == 0
    before = tree(Path("out"))
    Path("out/000020.png").unlink()
    assert run("a.ckpt", "-n", 40, "-o", "out") == 0
    assert fake.last.drawn == list(range(16, 32)) and tree(Path("out")) == before


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("name", ["out", "out.npz"])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--steps", 8], "sampling.steps is 9 there and 8 here"),
        (["--seed", 1], "sampling.seed is 0 there and 1 here"),
        (["--guidance-interval", 0, 1], "sampling.guidance_interval is [0.2, 1.0] there and [0.0, 1.0] here"),
        (["--classes", "0"], "classes is [0, 1, 2, 3, 4] there and [0] here"),
        (["-n", 21], "samples is 20 there and 21 here"),
        (["b.ckpt"], 'generator.stages.grid.sha256 is "abc" there and "def" here'),
    ],
)
def test_samples_of_another_command_are_not_mixed_in(fake, name, finished, changes, said, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        if not finished:
            patch.setattr(generate.SampleFiles, "finish", lambda *_: None)
        assert run("a.ckpt", "-n", 20, "--steps", 9, "-o", name) == 0
    before = tree(Path("."))
    assert run("-n", 20, "--steps", 9, "-o", name, *(changes if "b.ckpt" in changes else ["a.ckpt", *changes])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"gpstoken: {name}: has samples of another command, {said}; name another output"
    assert tree(Path(".")) == before


def test_what_is_not_ours_is_left_alone(fake, capsys):
    Path("photos").mkdir()
    Image.new("RGB", (4, 4)).save("photos/000000.png")
    Path("notes.txt").write_text("mine")
    Path("data.npz").write_bytes(b"mine")
    Path("x.json").write_text("mine")
    Path("folder.npz").mkdir()
    before = {path: path.is_file() and path.read_bytes() for path in Path(".").rglob("*")}
    for output, said in (
        ("photos", "photos/000000.png: already exists"),
        ("notes.txt", "notes.txt: is a file, but not an .npz"),
        ("data.npz", "data.npz: already exists"),
        ("x.npz", "x.json: already exists"),
        ("folder.npz", "folder.npz: is a folder, but ends in .npz"),
        ("notes.txt/out", "notes.txt/out: cannot be written"),
    ):
        assert run("a.ckpt", "-n", 1, "-o", output) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"gpstoken: {said}")
    assert {path: path.is_file() and path.read_bytes() for path in Path(".").rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.ckpt", "-n", 0], "-n/--n: expected at least 1, got 0"),
        (["a.ckpt", "-n", 1, "--batch-size", 0], "--batch-size: expected at least 1, got 0"),
        (["none.ckpt", "-n", 1], "none.ckpt: no such checkpoint"),
        (["a.ckpt", "-n", 1, "--classes", "3-5"], "--classes: this generator has 0 to 4, got 5"),
        (
            ["a.ckpt", "-n", 1, "--classes", "cat"],
            "--classes: expected all, or numbers and ranges like 0-4,7, got 'cat'",
        ),
        (["a.ckpt", "-n", 1, "--classes", "4-0"], "--classes: expected all, or numbers and ranges"),
        (["a.ckpt", "-n", 1, "--classes", "1,"], "--classes: expected all, or numbers and ranges"),
        (["a.ckpt", "-n", 1, "--classes=-1"], "--classes: expected all, or numbers and ranges"),
        (["a.ckpt", "-n", 1, "--steps", 1], "sampling: steps must be at least 2, got 1"),
        (["a.ckpt", "-n", 1, "--method", "dopri5"], "sampling: method must be one of euler, heun, got 'dopri5'"),
        (
            ["a.ckpt", "-n", 1, "--guidance-interval", 0.5, 0.2],
            "sampling: guidance_interval must be 0 <= LOW <= HIGH <= 1, got 0.5 0.2",
        ),
        (
            ["a.ckpt", "-n", 1, "--temperature", 2],
            "--temperature: Fake has no such option, only --steps, --sampler, --method, ",
        ),
        (["a.ckpt", "-n", 1, "--device", "abacus"], "--device abacus: "),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(fake, arguments, said, capsys):
    assert run(*arguments, "-o", "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gpstoken: {said}") and not Path("out").exists()


def test_values_that_are_no_colours_are_refused(fake, monkeypatch, capsys):
    monkeypatch.setattr(Same, "decode", lambda self, tokens: tokens / 0)
    assert run("a.ckpt", "-n", 3, "-o", "out") == 2
    assert capsys.readouterr().err.splitlines()[-1] == "gpstoken: a.ckpt: samples 0 to 15: some values are not finite"
    # Nothing is kept that would stand in the way of better options.
    assert run("a.ckpt", "-n", 3, "--steps", 5, "-o", "out") == 2
    assert "not finite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [("all", [0, 1, 2, 3, 4]), ("3", [3]), ("0,3", [0, 3]), ("0-4", [0, 1, 2, 3, 4]), ("4,1-2", [4, 1, 2])],
)
def test_lists_of_classes(text, expected):
    assert generate.parse_classes(text, 5) == expected


@pytest.mark.parametrize(
    ("stage", "calls"),
    # two groups of four SDE steps in each stage
    [("texture", {"layout": 8, "texture": 8}), ("one_stage", {"generator": 8}), ("grid", {"generator": 8})],
)
def test_a_real_generator(narrow_generator, tmp_path, stage, calls):
    common = [narrow_generator[stage], "-n", 20, "--steps", 4, "--classes", "0,2"]
    common += ["--layout", narrow_generator["layout"]] if stage == "texture" else []
    for size, name in ((1, "a.npz"), (40, "b.npz"), (40, "folder")):
        assert run(*common, "--batch-size", size, "-o", tmp_path / name) == 0
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    images = pixels(tmp_path / "a.npz")
    assert images.shape == (20, 32, 32, 3) and np.array_equal(images, pixels(tmp_path / "folder"))
    assert len(np.unique(images.reshape(20, -1), axis=0)) == 20
    manifest = json.loads((tmp_path / "a.json").read_text())
    assert manifest["network_calls"] == calls and set(manifest["generator"]["stages"]) == set(calls)


if __name__ == "__main__":  # what test_killed_in_the_middle kills
    Fake.pause = 0.3
    generate.load_generator = Fake.load
    for output in sys.argv[1:]:
        threading.Thread(target=generate.main, args=[[*MANY, "-o", output]]).start()
