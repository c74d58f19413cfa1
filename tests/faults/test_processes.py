"""Several processes train as one: the same losses, the same weights, and an end where one of them is lost."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from gpstoken.training import LastCheckpoint, MetricsFile, ReconstructionPictures
from gpstoken.training.files import read_metrics
from gpstoken.training.processes import average_gradients, share_batch_norms
from tests.faults.forks import command, ended, program, started, together
from tests.training.conftest import WARNINGS

REPOSITORY = Path(__file__).parents[2]
pytestmark = [pytest.mark.filterwarnings(warning) for warning in WARNINGS]
SAVERS = ("MetricsFile", "LastCheckpoint")


@pytest.mark.parametrize(("steps", "accumulate"), [(50, 1), (12, 2)])
def test_two_processes_have_the_losses_and_weights_of_one(make_module, noise, fit, tmp_path, steps, accumulate):
    start = steps * 2 // 5

    def train(name: str, devices: int) -> None:
        options = {"adversarial_start": start, "discriminator_levels": 2, "learning_rate": 5e-5}
        callbacks = [MetricsFile(every_n_steps=1), LastCheckpoint()]
        data = noise(batch_size=4 // devices, epoch_length=16)  # the same images together
        module = make_module(accumulate=accumulate, **options)
        fit(module, data, callbacks, name=name, max_steps=steps, devices=devices, val_check_interval=8)

    train("one", 1)
    together(lambda: train("two", 2), tmp_path)
    one, two = (read_metrics(tmp_path / name / "metrics.csv") for name in ("one", "two"))
    names = {name for _, name, _ in one}
    assert {"train/l2", "train/adaptive_weight", "discriminator/real", "validation/psnr"} <= names
    assert [row[:2] for row in two] == [row[:2] for row in one]
    for (step, name, first), (_, _, second) in zip(one, two, strict=True):
        # Sums over a batch are rounded in another order (6e-8 each) and Adam carries that on; a mean of logits is of
        # both signs, of size 1 before it cancels. Validation rounds to 8 bits: of 2 x 3072 levels 6 may flip, each of
        # which changes the squared error by at most 1 part in 128 of its own.
        bound = {"rel": 1e-5, "abs": 1e-6} if not name.startswith("validation/") else {"rel": 1e-4, "abs": 1e-4}
        assert second == pytest.approx(first, **bound), (step, name)
    first, second = (torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("one", "two"))
    assert first["global_step"] == second["global_step"] == steps
    for name, value in first["state_dict"].items():
        if name.endswith("in_proj_bias"):  # a third of it, the keys', has no effect: its gradient is rounding alone
            continue
        # Adam moves a weight whose gradient is rounding alone by up to its rate, 5e-5 a step.
        torch.testing.assert_close(second["state_dict"][name], value, rtol=1e-4, atol=steps * 5e-5 / 10)


def test_a_batch_norm_over_processes_is_that_of_the_whole_batch(tmp_path):
    torch.manual_seed(0)
    whole, target = (torch.randn(6, 3, 5, 4, dtype=torch.float64) for _ in range(2))

    def passed(norm: torch.nn.BatchNorm2d, rows: slice) -> dict[str, torch.Tensor]:
        image = whole[rows].clone().requires_grad_()
        first = norm(image)
        (norm(first.tanh()) * target[rows]).mean().backward()  # twice, as for real and for reconstructed images
        average_gradients(norm.parameters())
        gradients = {name: parameter.grad for name, parameter in norm.named_parameters()}
        return {"output": first.detach(), "image": image.grad, **gradients, **dict(norm.named_buffers())}

    def work() -> None:
        torch.distributed.init_process_group("gloo", rank=int(os.environ["LOCAL_RANK"]), world_size=2)
        norm = torch.nn.Sequential(torch.nn.BatchNorm2d(3)).double()
        share_batch_norms(norm)
        rank = torch.distributed.get_rank()
        torch.save(passed(norm[0], slice(rank, None, 2)), tmp_path / f"{rank}.pt")

    together(work, tmp_path)
    expected = passed(torch.nn.BatchNorm2d(3).double(), slice(None))
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for name, value in expected.items():
        for rank, part in enumerate(parts):
            own = value[rank::2] / (1 if name == "output" else 0.5) if name in ("output", "image") else value
            torch.testing.assert_close(part[name], own, rtol=1e-12, atol=1e-14, msg=name)  # float64


def test_a_lost_process_ends_the_training_with_one_line_and_the_same_command_resumes(tiny_arguments, tmp_path):
    often = [{"class_path": f"gpstoken.training.{name}", "init_args": {"every_n_steps": 1}} for name in SAVERS]
    changes = {"trainer": {"max_steps": 10, "val_check_interval": 4, "callbacks": often}}
    arguments = [*tiny_arguments(**changes), "--trainer.devices", "2"]
    finished = {}
    for victim in ("nobody", 0, 1):
        folder = tmp_path / str(victim)
        folder.mkdir()
        output = [*arguments, "--output", str(folder / "run")]
        if victim != "nobody":
            log = kill(victim, output, folder)
            (line,) = [line for line in log.splitlines() if line.startswith("gpstoken: ")]
            how = "was killed by SIGKILL" if victim else "has ended"
            (scratch,) = (folder / "scratch").glob("*/")
            advice = f"the same command resumes from the last checkpoint in {scratch}"
            assert line == f"gpstoken: process {victim} of the training {how}; {advice}"
            assert "Traceback" not in log and not (folder / "run").exists()
        together(command(output, REPOSITORY, folder / "scratch"), folder)
        assert ("resuming from" in (folder / "rank_0.txt").read_text()) == (victim != "nobody")
        rows = read_metrics(folder / "run" / "metrics.csv")
        finished[victim] = torch.load(folder / "run" / "last.ckpt", weights_only=True)["state_dict"], rows
    weights, rows = finished.pop("nobody")
    for resumed, resumed_rows in finished.values():
        assert resumed_rows == rows
        for name, value in weights.items():
            assert torch.equal(value, resumed[name]), name


def kill(victim: int, arguments: list[str], folder: Path) -> str:
    """Starts a fit, kills one of its two processes after the first checkpoint, and returns what was printed."""
    words = [str(Path(sys.executable).with_name("gpstoken")), *arguments]
    environment = {"GPSTOKEN_SCRATCH": folder / "scratch", "OMP_NUM_THREADS": 1}
    first = started(program(words, REPOSITORY, environment), folder / "log.txt")
    limit = time.monotonic() + 300  # for a busy machine
    while not list(folder.glob("scratch/*/last.ckpt")):
        assert first.exitcode is None and time.monotonic() < limit, (folder / "log.txt").read_text()[-2000:]
        time.sleep(0.01)
    (second,) = map(int, Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split())
    os.kill((first.pid, second)[victim], signal.SIGKILL)
    killed = time.monotonic()
    assert ended(first) == (1 if victim else -signal.SIGKILL)
    while Path(f"/proc/{second}").exists():
        time.sleep(0.05)
    # The promise is 30 s; a process that has lost the other waits 6 s for the line of the thread that watches.
    assert time.monotonic() - killed < 600  # the promise is 30 s; a busy machine may take longer
    print(f"ended {time.monotonic() - killed:.1f} s after process {victim} was killed")
    return (folder / "log.txt").read_text()


def test_only_the_first_process_draws(make_module, noise, fit, tmp_path):
    def train() -> None:
        callbacks = [ReconstructionPictures(images=2, times=2)]
        fit(make_module(), noise(), callbacks, name=f"run_{os.environ['LOCAL_RANK']}", max_steps=4, devices=2)

    together(train, tmp_path)
    pictures = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.glob("run_*/**/*.png"))]
    assert pictures == [f"run_0/pictures/step_{step:07d}.png" for step in (2, 4)]
    assert not (tmp_path / "run_1").exists()
