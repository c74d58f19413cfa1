"""`gpstoken generate`: generates images of classes, as a folder of pictures or an npz for `evaluate-generator`."""

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from gpstoken.base import Generator
from gpstoken.commands.parser import Parser, positive
from gpstoken.devices import peak_memory_mb, to_device
from gpstoken.files.locks import locked
from gpstoken.files.provenance import file_hash, record
from gpstoken.files.sample_files import SampleFiles
from gpstoken.files.writing import check_writable
from gpstoken.flow.settings import LAST_STEPS
from gpstoken.generators.calls import Calls
from gpstoken.generators.loading import Loaded, load_generator
from gpstoken.generators.options import NONE, sampling_options
from gpstoken.metrics import to_uint8

# The last bits of sums within a network depend on the shape of its batch. So every sample is always computed in the
# same batch: sample i in group i // GROUP at place i % GROUP, whatever was requested or is finished already.
GROUP = 16
PERIOD, DELAY = (0.5, 0.0) if sys.stderr.isatty() else (15.0, 15.0)  # seconds; a log file gets fewer lines


def main(arguments: list[str]) -> int:
    """Generates samples, resuming a killed run of the same command; see `SampleFiles` for the files.

    Sample i has the i-th class, taken in turn, and the noise of number i.

    Returns:
        0.

    Raises:
        FileNotFoundError: if a checkpoint is missing.
        ValueError: if a checkpoint is of another kind, an option is out of range, or the output holds something else.
    """
    options = _parse(arguments)
    loaded = load_generator(options.checkpoint, options.layout, options.tokenizer)
    how = sampling_options(loaded.generator, vars(options))
    classes = parse_classes(options.classes, loaded.generator.num_classes)
    for network in (loaded.generator, loaded.tokenizer):
        to_device(network, options.device)
    if torch.device(options.device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(options.device)  # several commands may share a process
    origin = record(options.device)
    identity = {
        "samples": options.n,
        "classes": classes,
        "sampling": asdict(how) | {"seed": options.seed},
        "group": GROUP,
        "device": origin["machine"]["device"],
        "layout_file_sha256": file_hash(options.layout) if options.layout else None,
        "generator": loaded.record,
    }
    labels = [classes[number % len(classes)] for number in range(options.n)]
    check_writable(options.output)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with locked(options.output, "gpstoken generate"):
        files = SampleFiles(options.output, identity, labels, GROUP)
        _write(loaded, files, classes, how, origin, options)
    return 0


def _write(
    loaded: Loaded,
    files: SampleFiles,
    classes: list[int],
    how: Any,
    origin: dict[str, Any],
    options: argparse.Namespace,
) -> None:
    if files.complete:
        files.clear()
        print(f"{options.output}: already complete")
        return

    def images(group: int) -> np.ndarray:
        try:
            return group_images(loaded, classes, group, options.seed, how)
        except ValueError as error:
            raise ValueError(f"{options.checkpoint}: {error}") from error

    calls = Calls(loaded.generator)
    cost = _generate(images, files, -(-options.batch_size // GROUP), calls)
    files.finish(
        cost
        | {
            "network_calls": calls.calls,
            "peak_memory_mb": peak_memory_mb(options.device),
        }
        | origin
    )
    made, seconds = cost["samples_in_this_run"], cost["seconds"]
    images_now = f"{made} of them in this call in {seconds:.1f} s with {calls.total} network calls"
    print(f"{options.output}: {options.n} images of {len(set(files.labels))} classes, {images_now}")


def parse_classes(text: str, num_classes: int) -> list[int]:
    """Parses "all", or numbers and ranges of classes: "0-2,7" is [0, 1, 2, 7].

    Raises:
        ValueError: for any other text, or a class that the generator does not have.
    """
    if text == "all":
        return list(range(num_classes))
    classes: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not (first.isdecimal() and (last or first).isdecimal() and int(first) <= int(last or first)):
            raise ValueError(f"--classes: expected all, or numbers and ranges like 0-4,7, got {text!r}")
        if int(last or first) >= num_classes:
            raise ValueError(f"--classes: this generator has 0 to {num_classes - 1}, got {last or first}")
        classes += range(int(first), int(last or first) + 1)
    return classes


def group_tokens(
    generator: Generator, classes: Sequence[int], group: int, seed: int, how: Any
) -> dict[str, torch.Tensor]:
    """The packed tokens of a group, with the arguments of `group_images`."""
    indices = range(GROUP * group, GROUP * (group + 1))
    device = next(generator.parameters()).device  # a tokenizer may have no parameters
    labels = torch.tensor([classes[index % len(classes)] for index in indices], device=device)
    return generator.sample(labels, indices, seed, how)


def group_images(loaded: Loaded, classes: Sequence[int], group: int, seed: int, how: Any) -> np.ndarray:
    """Generates all images of a group.

    Args:
        loaded: the generator and its tokenizer.
        classes: sample i has class classes[i % len(classes)].
        group: the group's number; its samples start at GROUP * group.
        seed: seed of all random numbers.
        how: options of the generator.

    Returns:
        uint8[GROUP, H, W, 3], rounded.

    Raises:
        ValueError: if a value is not finite.
    """
    with torch.no_grad():
        parts = group_tokens(loaded.generator, classes, group, seed, how)
        image = loaded.tokenizer.decode(loaded.tokenizer.unpack(parts))
    if not torch.isfinite(image).all():
        raise ValueError(f"samples {GROUP * group} to {GROUP * (group + 1) - 1}: some values are not finite")
    return to_uint8(image).permute(0, 2, 3, 1).cpu().numpy()


def _generate(images: Callable[[int], np.ndarray], files: SampleFiles, together: int, calls: Calls) -> dict[str, Any]:
    """Generates the missing groups, writing `together` of them at a time; returns the cost for the manifest."""
    groups = files.missing()
    made = sum(len(files.samples(group)) for group in groups)
    start = time.perf_counter()
    with (
        tqdm(
            total=len(files.labels), initial=len(files.labels) - made, unit="image", mininterval=PERIOD, delay=DELAY
        ) as bar,
        _beating(bar, calls),
    ):
        for first in range(0, len(groups), together):
            held = {}
            for group in groups[first : first + together]:
                held[group] = images(group)
                bar.update(len(files.samples(group)))
            for group, content in held.items():
                files.write(group, content)
    seconds = time.perf_counter() - start
    rate = round(made / seconds, 4) if made else None
    # The cost of this run only: that of an earlier, killed run is lost.
    return {"samples_in_this_run": made, "seconds": round(seconds, 3), "samples_per_second": rate}


@contextmanager
def _beating(bar: tqdm, calls: Calls) -> Iterator[None]:
    """Shows the number of network calls while a group is computed, which takes minutes on a CPU."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(PERIOD):
            bar.set_postfix_str(f"{calls.total} network calls")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser("generate", __doc__)
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="checkpoint of the stage whose tokens are decoded"
    )
    layout = "checkpoint of the layout stage, or a .safetensors file of layouts by class"
    parser.add_argument("--layout", type=Path, metavar="CKPT", help=layout)
    parser.add_argument(
        "--tokenizer", type=Path, metavar="CKPT", help="default: the tokenizer that the stage was trained with"
    )
    parser.add_argument(
        "--classes", default="all", metavar="LIST", help="classes such as 0-4,7, taken in turn; default: all"
    )
    parser.add_argument("-n", "--n", type=positive, required=True, metavar="N", help="number of samples")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR|FILE.npz", help="resumes if killed")
    parser.add_argument("--steps", type=int, metavar="N", help="default: 250 for a flow, 8 to 64 for masked codes")
    parser.add_argument("--sampler", choices=("sde", "ode"), help="for a flow; default: sde")
    parser.add_argument("--method", help="for a flow: euler (default) or heun; for ode also midpoint, dopri5")
    limit = "largest D(t) dt of sde (default: 0.1); none: first steps are unstable, as in the release"
    parser.add_argument("--diffusion-limit", type=_number_or_none, metavar="X|none", help=limit)
    parser.add_argument("--last-step", choices=LAST_STEPS, help="last step of sde; default: mean, as in the release")
    scale = "for a flow 1 is no guidance, for masked codes 0; default: that of the generator's recipe"
    parser.add_argument("--guidance", type=float, metavar="SCALE", help=scale)
    interval = "times with guidance (0: noise, 1: image); default: that of the recipe, for GPSToken 0.2 1.0"
    parser.add_argument("--guidance-interval", type=float, nargs=2, metavar="T", help=interval)
    parser.add_argument("--layout-guidance", type=float, metavar="SCALE", help="for two stages; default: 1 (none)")
    parser.add_argument("--temperature", type=float, metavar="T", help="for codes; default: as published")
    prefix = "codes of an autoregressive generator, the first of each image; default: all"
    parser.add_argument("--num-tokens", type=positive, metavar="K", help=prefix)
    parser.add_argument("--seed", type=int, default=0, help="seed of all noise; default: 0")
    batch = f"images per write, rounded up to a multiple of {GROUP} (default: 64); does not change the files"
    parser.add_argument("--batch-size", type=positive, default=64, metavar="N", help=batch)
    parser.add_device()
    return parser.parse_args(arguments)


def _number_or_none(text: str) -> float | str:
    return NONE if text == NONE else float(text)
