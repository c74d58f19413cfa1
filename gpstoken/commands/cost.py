"""`gpstoken cost`: the cost of training and sampling a generator: iterations/s, samples/s, memory, multiply-adds.

Every measurement runs in its own process, one after the other, on a machine that should be idle otherwise.
"""

import json
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from gpstoken.base import Generator
from gpstoken.commands.fit import RunCLI
from gpstoken.commands.generate import GROUP, group_images, group_tokens
from gpstoken.commands.parser import Parser, positive
from gpstoken.devices import peak_memory_mb
from gpstoken.files.plain_text import read_yaml
from gpstoken.files.provenance import check_named, machine, record
from gpstoken.files.writing import replacing
from gpstoken.generators.calls import Calls
from gpstoken.generators.loading import load_generator
from gpstoken.generators.options import sampling_options
from gpstoken.loading import class_of
from gpstoken.profiling.counting import count, network_counts
from gpstoken.profiling.shapes import without_weights

WARM_UP = 3  # iterations that are not counted
FIRST_STEPS = 3  # sampler steps before the timing starts


def main(arguments: list[str]) -> int:
    """Measures one generator; see the module's docstring.

    Returns:
        0.

    Raises:
        ValueError: naming the run that is unfinished, or the measurement that failed.
    """
    parser = Parser("cost", __doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the stage whose tokens are decoded")
    parser.add_argument("--layout", type=Path, metavar="RUN", help="folder of the layout stage")
    parser.add_result()
    parser.add_argument("--iterations", type=positive, default=20, help="training iterations to time (default: 20)")
    parser.add_argument("--groups", type=positive, default=2, help=f"groups of {GROUP} samples to time (default: 2)")
    parser.add_argument("--steps", type=int, help="sampler steps (default: the generator's own)")
    parser.add_argument("--guidance", type=float, help="guidance scale (default: the generator's own)")
    options = parser.parse_args(arguments)
    check_named(options.output, options.row)
    runs = [run for run in (options.layout, options.run) if run is not None]
    for run in runs:
        if not (run / "config.yaml").is_file() or not (run / "last.ckpt").is_file():
            raise ValueError(f"{run}: not a finished run of a generator's stage")
    training = {_stage(run): alone(_training, run, options.iterations) for run in runs}
    inference = alone(_inference, runs[-1], options.layout, options.groups, options.steps, options.guidance)
    cost = {
        "row": options.row,
        "group": "cost",
        "scale": options.scale,
        "training": training,
        "inference": inference,
        "device": training[_stage(runs[-1])]["device"],
        **record(),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(options.output) as part:
        part.write_text(json.dumps(cost, indent=1) + "\n")
    return 0


class Stopwatch(Callback):
    """Records when training batches end, for the median time between them."""

    def __init__(self) -> None:
        """Makes the callback."""
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Records the time."""
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def _training(run: Path, iterations: int) -> dict[str, Any]:
    cli = RunCLI(args=["--config", str(run / "config.yaml")], run=False)
    watch, configured = Stopwatch(), cli.config.trainer
    trainer = Trainer(
        accelerator=configured.accelerator, devices=1, precision=configured.precision, max_epochs=-1,
        max_steps=WARM_UP + iterations, gradient_clip_val=configured.gradient_clip_val, logger=False,
        enable_checkpointing=False, enable_model_summary=False, enable_progress_bar=False, limit_val_batches=0,
        callbacks=[watch], default_root_dir=run,
    )  # fmt: skip
    trainer.fit(cli.model, cli.datamodule)
    seconds = [after - before for before, after in zip(watch.ends[WARM_UP - 1 :], watch.ends[WARM_UP:], strict=False)]
    generator = cli.model.generator
    return {
        "iterations_per_second": 1 / median(seconds),
        "slowest_iterations_per_second": 1 / max(seconds),
        "fastest_iterations_per_second": 1 / min(seconds),
        "iterations": len(seconds),
        "batch_size": cli.datamodule.batch_size,
        "peak_memory_mb": peak_memory_mb(cli.model.device),
        "parameters": sum(parameter.numel() for parameter in generator.network.parameters()),
        "gmacs": network_counts(without_weights(partial(generator.from_config, generator.config), ())).total / 1e9,
        "device": machine(cli.model.device)["device"],
    }


def _inference(
    run: Path, layout: Path | None, groups: int, steps: int | None, guidance: float | None
) -> dict[str, Any]:
    loaded = load_generator(run / "last.ckpt", None if layout is None else layout / "last.ckpt")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for network in (loaded.generator, loaded.tokenizer):
        network.to(device)
    classes = range(loaded.generator.num_classes)
    how = sampling_options(loaded.generator, {"guidance": guidance, "steps": steps})
    first = replace(how, steps=min(how.steps, FIRST_STEPS)) if hasattr(how, "steps") else how
    group_images(loaded, classes, 0, 0, first)
    calls = Calls(loaded.generator)
    start = time.perf_counter()
    for number in range(groups):
        group_images(loaded, classes, number, 0, how)
    seconds = time.perf_counter() - start
    measured = {
        "samples_per_second": groups * GROUP / seconds,
        "samples": groups * GROUP,
        "group": GROUP,
        "steps": getattr(how, "steps", None),
        "guidance": getattr(how, "guidance", None),
        "network_calls": {name: number // groups for name, number in calls.calls.items()},
        "network_rows_a_sample": {name: number / (groups * GROUP) for name, number in calls.rows.items()},
        "peak_memory_mb": peak_memory_mb(device),
    }
    # A gradient that guides and keys that are kept count as what they are, which calls do not tell.
    counts = count(partial(group_tokens, loaded.generator, classes, 0, 0, how))[1]
    return measured | {"gflops_a_sample": 2 * counts.total / GROUP / 1e9}


def _stage(run: Path) -> str:
    path = run / "config.yaml"
    try:
        return class_of(read_yaml(path)["model"]["init_args"]["generator"]["class_path"], Generator).name
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a generator's configuration, has no model.init_args.generator") from error


def alone(measure: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """The result of `measure` in a separate process, so that its peak memory is measured alone.

    A forked process has the libraries, whose import takes longer than the measurement; this process has not computed
    anything yet, so no thread and no device is shared.

    Raises:
        ValueError: if that process is killed.
    """
    context = multiprocessing.get_context("fork")
    # A fork recreates torch's thread pool, which two threads must not start at once: the initializer does it first.
    with ProcessPoolExecutor(1, context, torch.set_num_threads, (torch.get_num_threads(),)) as pool:
        try:
            return pool.submit(measure, *arguments).result()
        except BrokenProcessPool:
            raise ValueError("cost: the measuring process was killed; was there enough memory?") from None
