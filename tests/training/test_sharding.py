"""A generator shared by two processes (FSDP): the weights of one process, in one whole checkpoint that goes on."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from gpstoken import load_generator
from gpstoken.files.checkpoints import read_plain
from gpstoken.files.digests import DIGEST
from gpstoken.generators.flow import Flow
from gpstoken.profiling.needs import needs
from gpstoken.sit import SiT
from gpstoken.training.files import read_metrics
from gpstoken.training.generator_module import GeneratorModule
from tests.faults.forks import command, together

REPOSITORY = Path(__file__).parents[2]
RATE = 1e-3  # of experiments/laptop/generators.yaml


class BothHalves(GeneratorModule):
    """One process that takes the samples of two, each half with the noise that its process would draw."""

    global_rank = 0

    def training_step(self, batch: dict[str, torch.Tensor], batch_index: int) -> torch.Tensor:
        losses = []
        for self.global_rank in (0, 1):
            part = {name: values[self.global_rank :: 2] for name, values in batch.items()}
            losses.append(super().training_step(part, batch_index))
        loss = torch.stack(losses).mean()
        self.log("train/loss", loss)
        return loss


def test_a_sharded_training_has_the_weights_of_one_process_and_goes_on(
    stage_arguments, run_cli, narrow_generator, tmp_path
):
    # With a sample a batch the first process has 30 batches to validate on, the second 29; every step is clipped.
    options = {"val_check_interval": 5, "limit_val_batches": 1.0, "gradient_clip_val": 0.05}

    def shared(steps: int, name: str, strategy: str, *more: str) -> dict:
        arguments = [*stage_arguments("texture", max_steps=steps, **options), "--output", str(tmp_path / name), *more]
        arguments += ["--data.init_args.batch_size", "1", "--trainer.devices", "2", "--trainer.strategy", strategy]
        together(command(arguments, REPOSITORY, tmp_path / "scratch"), tmp_path)
        return read(tmp_path / name / "last.ckpt")

    sharded = shared(12, "sharded", "sharded")
    alone = [*stage_arguments("texture", max_steps=12, **options), "--output", str(tmp_path / "alone")]
    alone += ["--model.class_path", f"{__name__}.BothHalves", "--data.init_args.batch_size", "2"]
    assert run_cli(alone) == 0
    one = read(tmp_path / "alone" / "last.ckpt")
    close(sharded, one)

    snapshot = read_plain(tmp_path / "sharded" / "snapshots" / "step_0000012.ckpt")["state_dict"]
    for name, value in snapshot.items():
        assert torch.equal(value, sharded["state_dict"][name]), name
    assert len(list((tmp_path / "sharded" / "pictures").glob("*.png"))) == 4
    rows = [read_metrics(tmp_path / name / "metrics.csv") for name in ("sharded", "alone")]
    assert [row[:2] for row in rows[0]] == [row[:2] for row in rows[1]]
    record = load_generator(tmp_path / "sharded" / "last.ckpt", narrow_generator["layout"]).record
    assert record["stages"]["texture"]["steps"] == 12
    assert record["stages"]["texture"]["batch_size"] == 2
    sampled = ["generate", str(tmp_path / "sharded" / "last.ckpt"), "--layout", str(narrow_generator["layout"])]
    assert run_cli([*sampled, "-n", "2", "--classes", "0-2", "--steps", "2", "-o", str(tmp_path / "samples.npz")]) == 0
    with np.load(tmp_path / "samples.npz") as made:
        assert len(made["arr_0"]) == 2

    shared(6, "resumed", "sharded")
    shutil.copytree(tmp_path / "resumed", tmp_path / "copies")
    resumed = shared(12, "resumed", "sharded", "--ckpt_path", "last")
    for name, value in sharded["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][name]), name
    # Two processes that keep copies instead of shares: the moments are those of the same weights.
    close(shared(12, "copies", "ddp", "--ckpt_path", "last"), sharded)


def test_the_older_fsdp_is_refused(stage_arguments, run_cli, capsys):
    assert run_cli([*stage_arguments("texture"), "--trainer.strategy", "fsdp"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == "gpstoken: --trainer.strategy: expected sharded to shard a network among processes, got fsdp"


def test_a_share_of_the_states_is_a_share_of_the_memory():
    with torch.device("meta"):
        network = SiT(channels=9, shape=(8,), width=64, depth=2, heads=2, num_classes=5)
    data = SimpleNamespace(batch_size=4)
    module = SimpleNamespace(generator=Flow(network, ("geometry", "features")))
    whole, half = (needs(module, data, shares).memory for shares in (1, 2))
    # by hand, in float32: weights, their average, gradients and two moments; the positions are trained here
    states = 5 * 4 * sum(parameter.numel() for parameter in network.parameters())
    assert whole - half == states // 2


def read(path: Path) -> dict:
    assert DIGEST in torch.load(path, weights_only=True)
    return read_plain(path)


def close(first: dict, second: dict) -> None:
    """Whether all weights, averages and moments are those of another training, but for the rounding of the clipping.

    The gradients are of the same samples in the same company, and a half of their sum is exact. The norm that they are
    clipped by is summed in another order, 1e-7 of its size off, and scales all gradients of a step alike. So it does a
    moment; of Adam's step, a ratio of both moments of at most RATE, it changes as little. A weight is rounded itself.
    """
    assert first["state_dict"].keys() == second["state_dict"].keys()
    for name, value in second["state_dict"].items():
        torch.testing.assert_close(first["state_dict"][name], value, rtol=1e-6, atol=12 * RATE * 1e-6, msg=name)
    states = [each["optimizer_states"][0]["state"] for each in (first, second)]
    assert states[0].keys() == states[1].keys()
    for number, moments in states[1].items():
        for name, value in moments.items():
            bound = 1e-5 * value.abs().max().item()  # a mean may cancel
            torch.testing.assert_close(states[0][number][name], value, rtol=0, atol=bound, msg=f"{number} {name}")
    largest = max((value - second["state_dict"][name]).abs().max() for name, value in first["state_dict"].items())
    print(f"largest difference of a weight {largest:.1e}")
