"""`gpstoken evaluate` end to end, on a tiny tokenizer and the embedded faces."""

import csv
import json
import math
import signal
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from datamodules import Embedded
from gpstoken import GPSToken
from gpstoken.training import recorder
from tests.faults import forks, kills
from tests.threads import torch_threads

REPOSITORY = Path(__file__).parents[2]
FACES = ["--scale", "tiny", "--networks", "efficientnet_lite0", "--data", "experiments/_data/embedded_faces.yaml"]
# A process of its own, killed by itself when it has written one part.
KILLED = """
import os, sys
from functools import partial
from gpstoken import cli
from gpstoken.training import recorder
from tests.faults.kills import killed_after_a_part
recorder.IMAGES_A_FILE = 8
work = partial(cli.main, sys.argv[1:])
victim = os.environ.get("LOCAL_RANK", "0") == os.environ["VICTIM"]
sys.exit(killed_after_a_part(work) if victim else work())
"""


def arguments(runs: list[Path], output: Path) -> list[str]:
    """Of `gpstoken evaluate` on the faces."""
    named = ["--row", output.stem, "--trained-row", "row"]
    return ["evaluate", *map(str, runs), "-o", str(output), *named, *FACES]


@pytest.fixture(scope="module")
def evaluate(command):
    """`gpstoken evaluate` on the faces: the result and the rows of its CSV."""

    def call(runs: list[Path], output: Path, *options: str) -> tuple[dict, list[dict[str, str]]]:
        assert command([*arguments(runs, output), *options]) == 0
        return read(output)

    return call


def read(output: Path) -> tuple[dict, list[dict[str, str]]]:
    assert not list(output.parent.glob(".*"))
    with output.with_suffix(".csv").open(newline="") as file:
        return json.loads(output.read_text()), list(csv.DictReader(file))


@pytest.fixture(scope="module")
def whole(evaluate, tiny_runs, tmp_path_factory) -> tuple[dict, list[dict[str, str]]]:
    """Both seeds, in one go and one process."""
    return evaluate(tiny_runs, tmp_path_factory.mktemp("whole") / "row.json")


def equal(first: dict, second: dict, seeds: slice = slice(None)) -> None:
    """Whether a result has the numbers that another has of `seeds`."""
    for group in ("metrics", "scores"):
        assert first[group].keys() == second[group].keys()
        for name in first[group]:
            assert first[group][name]["per_seed"] == second[group][name]["per_seed"][seeds], name


def test_numbers_are_those_of_the_checkpoint_and_say_where_they_come_from(tiny_runs, whole):
    result, rows = whole
    data = Embedded("data/embedded", "faces", image_size=32, working_size=48)  # as the tiny fit has it
    samples = data.dataset("test")
    tokenizer = GPSToken.from_checkpoint(tiny_runs[1] / "last.ckpt")
    chosen = {int(row["index"]): row for row in rows if row["seed"] == "1"}
    for index in (0, 17, 39):
        image = samples[index]["image"]
        with torch.no_grad():
            reconstruction = tokenizer(image[None])[0]
        pixels = [np.rint((x.clamp(-1, 1).numpy() + 1) * 127.5).astype(np.uint8) for x in (image, reconstruction)]
        assert float(chosen[index]["psnr"]) == pytest.approx(peak_signal_noise_ratio(*pixels, data_range=255), rel=1e-5)
        assert chosen[index]["source"] == data.sources("test")[index]
    assert len(rows) == 2 * 40
    assert result["data"] == {
        "class_path": "datamodules.embedded.Embedded", "dataset": "faces", "split": "test", "crop": "adm",
        "images": 40, "photographs": len(set(data.sources("test"))), "skipped": 0,
        "fingerprint": data.fingerprint("test"),
    }  # fmt: skip
    code = {"shape": [8], "channels": 9, "codebook_size": None}
    assert result["evaluated"] == {"row": "row", "image_size": 32, "num_tokens": 8, "code": code, "focus": None}
    assert set(result["scores"]) == {"rfd_efficientnet_lite0", "kid_efficientnet_lite0"}
    assert set(result["metrics"]) == {"psnr", "ssim", "lpips_alexnet"}
    # a tokenizer without a codebook: its result says nothing of one
    assert list(result) == [
        "row", "group", "scale", "seeds", "tokenizer", "parameters", "data", "evaluated", "training", "networks",
        "metrics", "scores", "trained_at", "checkpoints", "commit", "versions", "machine", "seconds",
    ]  # fmt: skip
    assert len(result["networks"]["efficientnet_lite0"]["sha256"]) == 64
    assert (result["seeds"], result["scale"], result["machine"]["processes"]) == ([0, 1], "tiny", 1)
    assert result["trained_at"] == [json.loads((tiny_runs[0] / "origin.json").read_text())["commit"]]


def test_other_batches_and_features_taken_by_the_seed_itself(tiny_runs, whole, evaluate, tmp_path):
    # The features of the images come from the first seed where there is one; here the second stands alone.
    second, _ = evaluate(tiny_runs[1:], tmp_path / "second.json", "--data.init_args.batch_size", "7")
    # Images are evaluated in groups that no option changes, so that every digit stays.
    equal(second, whole[0], slice(1, 2))


def test_a_killed_evaluation_goes_on(tiny_runs, whole, evaluate, tmp_path, monkeypatch, capfd):
    output = tmp_path / "killed.json"
    work = forks.command(arguments(tiny_runs, output), REPOSITORY, tmp_path)
    # Groups of sixteen: the first file has one of them.
    assert forks.forked(partial(kills.killed_after_a_part, work), tmp_path / "log.txt") == -signal.SIGKILL
    assert len(list(tmp_path.glob(".killed.*.parts/*.npz"))) == 1
    assert not output.exists()
    recorded: list[int] = []
    write = recorder.Parts.write

    def spy(self, columns):
        recorded.extend(columns["index"].tolist())
        write(self, columns)

    monkeypatch.setattr(recorder.Parts, "write", spy)
    result, rows = evaluate(tiny_runs, output)
    assert recorded == [*range(16, 40), *range(40)]  # the rest of the first seed, all of the second
    assert "resuming after 16 of 40 images" in capfd.readouterr().out
    assert rows == whole[1]
    equal(result, whole[0])


def test_two_processes_give_the_numbers_of_one(tiny_runs, whole, tmp_path):
    output = tmp_path / "shared.json"
    options = [*arguments(tiny_runs, output), "--devices", "2"]
    forks.together(forks.command(options, REPOSITORY, tmp_path), tmp_path)
    result, rows = read(output)
    assert result["machine"]["processes"] == 2
    equal(result, whole[0])
    assert rows == whole[1]


def test_another_number_of_threads_changes_single_levels_alone(tiny_runs, whole, evaluate, tmp_path):
    """Threads divide a sum among them, so that it is rounded elsewhere.

    About 20 layers of sums of up to 144 products differ by up to 20 * sqrt(144) * 2^-24 = 1.5e-5 of a scale where a
    level is 1 / 127.5: of 3,072 levels those flip that lie within .002 of a boundary, 12 as a rule and less than 30 by
    five standard deviations. By Cauchy and Schwarz n flips change a sum of squared errors S by n + 2 sqrt(n S) at most.
    """
    with torch_threads(2):
        _, rows = evaluate(tiny_runs, tmp_path / "threads.json", "--networks")
    for row, alone in zip(rows, whole[1], strict=True):
        squares = 3072 * 255**2 / 10 ** (float(alone["psnr"]) / 10)
        bound = 10 / math.log(10) * (30 + 2 * math.sqrt(30 * squares)) / squares
        assert float(row["psnr"]) == pytest.approx(float(alone["psnr"]), abs=bound), row["index"]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_lost_process_ends_the_evaluation_with_one_line_and_the_same_command_goes_on(
    tiny_runs, whole, tmp_path, victim
):
    output, program = tmp_path / "lost.json", tmp_path / "killed.py"
    program.write_text(KILLED)  # a file, which Lightning can start once more for the second process
    options = [*arguments(tiny_runs[:1], output), "--devices", "2"]
    environment = {"OMP_NUM_THREADS": 1, "OMP_WAIT_POLICY": "passive", "VICTIM": victim, "PYTHONPATH": REPOSITORY}
    work = forks.program([str(program), *options], REPOSITORY, environment)
    first = forks.started(work, tmp_path / "log.txt")
    while not (parts := list(tmp_path.glob(".lost.*.parts/*.npz"))):
        assert first.exitcode is None, (tmp_path / "log.txt").read_text()[-2000:]
        time.sleep(0.01)
    killed = time.monotonic()
    assert forks.ended(first) == (1 if victim else -signal.SIGKILL)
    folder = parts[0].parent
    while holders(program):
        time.sleep(0.05)
    passed = time.monotonic() - killed
    print(f"ended {passed:.1f} s after process {victim} was killed")
    assert passed < 600  # the promise is 30 s; a busy machine may take longer
    log = (tmp_path / "log.txt").read_text()
    (line,) = [line for line in log.splitlines() if line.startswith("gpstoken: ")]
    how = "was killed by SIGKILL" if victim else "has ended"
    advice = f"the same command resumes after the images in {folder}"
    assert line == f"gpstoken: process {victim} of the evaluation {how}; {advice}"
    assert "Traceback" not in log and not output.exists()
    again = forks.program([str(Path(sys.executable).with_name("gpstoken")), *options], REPOSITORY, environment)
    assert forks.forked(again, tmp_path / "log.txt") == 0, (tmp_path / "log.txt").read_text()[-2000:]
    assert "resuming after" in (tmp_path / "log.txt").read_text()
    result, rows = read(output)
    equal(result, whole[0], slice(1))
    assert rows == whole[1][: len(rows)] and len(rows) == 40


def holders(program: Path) -> list[str]:
    """Processes that run a program."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has just ended
            if str(program).encode() in path.read_bytes():
                found.append(path.parent.name)
    return found


def test_other_tokens_sizes_and_a_focus(tiny_runs, whole, evaluate, tmp_path):
    larger = ["--data.init_args.image_size", "64", "--data.init_args.views", "centre"]
    large, _ = evaluate(tiny_runs[:1], tmp_path / "large.json", *larger, "--networks")
    focus = ["--num-tokens", "16", "--focus-radius", "0.3", "--focus-strength", "50", "--networks"]
    drawn, _ = evaluate(tiny_runs[:1], tmp_path / "drawn.json", *focus)
    code = {"shape": [32], "channels": 9, "codebook_size": None}
    assert large["evaluated"] == {"row": "row", "image_size": 64, "num_tokens": 32, "code": code, "focus": None}
    assert drawn["evaluated"]["focus"] == {"radius": 0.3, "strength": 50.0}
    assert drawn["evaluated"]["num_tokens"] == 16
    assert drawn["evaluated"]["code"] == {"shape": [16], "channels": 9, "codebook_size": None}
    assert drawn["scores"] == {}
    # What reaches the tokenizer changes what it makes.
    assert drawn["metrics"]["psnr"]["per_seed"][0] != whole[0]["metrics"]["psnr"]["per_seed"][0]
    index = 3
    data = Embedded("data/embedded", "faces", image_size=32, working_size=48)
    image = data.dataset("test")[index]["image"]
    tokenizer = GPSToken.from_checkpoint(tiny_runs[0] / "last.ckpt")
    y, x = np.mgrid[:32, :32] - 15.5
    disc = torch.from_numpy(np.hypot(x, y) <= 0.3 * 32)
    with torch.no_grad():
        reconstruction = tokenizer.decode(tokenizer.encode(image[None], num_tokens=16, bias=50.0 * disc))[0]
    pixels = [np.rint((z.clamp(-1, 1).numpy() + 1) * 127.5)[:, disc.numpy()] for z in (image, reconstruction)]
    expected = 10 * np.log10(255**2 / np.mean((pixels[0] - pixels[1]) ** 2))
    with (tmp_path / "drawn.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["index"] == str(index))
    assert float(row["psnr_inside"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--focus-strength", "2"], "--focus-strength needs --focus-radius"),
        (["--nonsense", "2"], "unrecognized arguments: --nonsense 2"),
    ],
)
def test_wrong_options(run_cli, capsys, options, message):
    assert run_cli(["evaluate", "runs/row", "-o", "x.json", "--row", "x", "--scale", "tiny", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_result_is_named_by_options_and_by_no_path(tiny_runs, run_cli, tmp_path, capsys):
    output = tmp_path / "some" / "faces_row.json"
    command = ["evaluate", str(tiny_runs[0]), "-o", str(output), *FACES, "--networks"]
    assert run_cli([*command, "--row", "faces_row", "--group", "studies", "--trained-row", "narrow"]) == 0
    record = json.loads(output.read_text())
    assert (record["row"], record["group"], record["scale"]) == ("faces_row", "studies", "tiny")
    assert record["evaluated"]["row"] == "narrow"
    capsys.readouterr()
    assert run_cli([*command, "--row", "other"]) == 2
    expected = f"gpstoken: {output}: the result of row other must be named other.json"
    assert capsys.readouterr().err.splitlines() == [expected]
    assert run_cli([*command, "--row", "faces_row", "--group", " "]) == 2
    assert capsys.readouterr().err.startswith("gpstoken: --group: ")
    assert run_cli(command) == 2
    assert "required: --row" in capsys.readouterr().err


def test_runs_that_do_not_belong_together(tiny_runs, run_cli, tmp_path, capsys):
    options = ["-o", str(tmp_path / "x.json"), "--row", "x", *FACES, "--networks"]
    assert run_cli(["evaluate", str(tiny_runs[0]), str(tiny_runs[0]), *options]) == 2
    assert f"gpstoken: {tiny_runs[0]}: has the seed of another run, 0" in capsys.readouterr().err
    assert run_cli(["evaluate", str(tmp_path), *options]) == 2
    assert f"gpstoken: {tmp_path}: no last.ckpt; the run is not finished" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()
