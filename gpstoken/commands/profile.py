"""`gpstoken profile`: parameters, multiply-adds, memory and latency of a row at its published size.

Parameters, multiply-adds and the memory of training and inference are counted, without weights, and are the same on
every machine. Latency, throughput and peak memory are measured on this machine, with random weights, on photographs.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gpstoken.base import Tokenizer
from gpstoken.commands.parser import Parser, positive
from gpstoken.devices import to_device
from gpstoken.files import provenance
from gpstoken.files.provenance import check_named, machine
from gpstoken.files.writing import replacing
from gpstoken.profiling.counting import Counts, count, network_counts, parameter_counts
from gpstoken.profiling.facts import facts
from gpstoken.profiling.inputs import photographs, picture
from gpstoken.profiling.memory import inference_bytes, step_loss, training_bytes
from gpstoken.profiling.rows import Row, read_row
from gpstoken.profiling.shapes import without_weights
from gpstoken.profiling.timing import measure, training_peak_mb

INFERENCE_BATCH = 8  # images, as in the paper's table, for the counted memory; --batch-size is what is timed


def main(arguments: list[str]) -> int:
    """Parses the command line, profiles the row and writes the file; an interrupted profile writes nothing.

    Returns:
        0.

    Raises:
        FileNotFoundError: if the row or the photographs are missing.
        ValueError: if the row cannot be built or counted, or an option cannot be met.
    """
    options = _parse(arguments)
    row = read_row(options.experiment)
    device = to_device(nn.Linear(1, 1), options.device).weight.device
    try:
        record = count_tokenizer(row, options) if row.kind == "tokenizer" else count_generator(row, options)
        measured = None if options.count_only else measure_row(row, options, device)
    except ValueError as error:
        raise ValueError(str(error) if str(error).startswith(str(row.path)) else f"{row.path}: {error}") from error
    if measured:
        record["memory"]["training_measured_mb"] = measured.pop("training_peak_mb")
    record |= {"measured": measured} | provenance.record(device)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(options.output) as part:
        part.write_text(json.dumps(record, indent=1) + "\n")
    return 0


def count_tokenizer(row: Row, options: argparse.Namespace) -> dict[str, Any]:
    """The record of a tokenizer, without the measurements."""
    tokenizer = without_weights(row.build, row.arguments())
    parameters, encoder, decoder = count_directions(tokenizer, options.image_size)

    images, batch = picture(INFERENCE_BATCH, options.image_size), picture(options.train_batch_size, options.image_size)
    inference = inference_bytes(tokenizer, lambda: tokenizer.decode(tokenizer.encode(images)), images)
    tokenizer.train()
    training = training_bytes(tokenizer, lambda: step_loss(tokenizer, batch)[1])
    return {
        **_head(row, options, row.arguments()),
        "parameters": {**parameters, "as_paper": _as_paper(options.row, parameters["total"])},
        "counts": {"encoder": _counts(encoder), "decoder": _counts(decoder)},
        "paper_convention": paper_convention(options.row, encoder, decoder),
        "memory": _memory(training, options.train_batch_size, inference),
    }


def count_directions(tokenizer: Tokenizer, size: int) -> tuple[dict[str, int], Counts, Counts]:
    """Parameters by part, and the multiply-adds of encoding and of decoding one image of size x size pixels.

    Args:
        tokenizer: a tokenizer without weights (see `shapes`).
        size: side of the image in pixels.
    """
    tokens, encoder, encoding = count(partial(tokenizer.encode, picture(1, size)))
    _, decoder, decoding = count(partial(tokenizer.decode, tokens))
    return parameter_counts(tokenizer, encoding, decoding), encoder, decoder


def count_generator(row: Row, options: argparse.Namespace) -> dict[str, Any]:
    """The record of one stage of a generator, without the measurements."""
    generator = without_weights(row.build, ())
    counts, network = network_counts(generator), generator.network
    total = sum(parameter.numel() for parameter in network.parameters())

    given = generator.inputs(INFERENCE_BATCH)
    inference = inference_bytes(network, lambda: network(**given), *given.values())
    batch = generator.train().inputs(options.train_batch_size)
    training = training_bytes(network, lambda: network(**batch).float().square().mean())
    return {
        **_head(row, options, generator.config),
        "parameters": {"total": total, "encoder": None, "decoder": None, "other": None, "as_paper": None},
        "counts": {"network": _counts(counts), "calls": facts(options.row).get("network_evaluations")},
        "paper_convention": None,
        "memory": _memory(training, options.train_batch_size, inference),
    }


def paper_convention(row: str, encoder: Counts, decoder: Counts) -> dict[str, Any] | None:
    """What the paper's table calls a row's GFLOPs, and how it counts them (see `paper.yaml`); None for other rows."""
    convention = facts(row).get("convention")
    if convention is None:
        return None
    parts = {"encoder": encoder, "decoder": decoder}
    gmacs = {
        f"{name}_gmacs": _giga(convention["images"] * counts.without(convention[f"{name}_without"]))
        for name, counts in parts.items()
    }
    return gmacs | convention


def measure_row(row: Row, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Times the row with random weights, and on a CUDA device measures the peak memory."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = to_device(row.build().eval(), str(device))
    precision = torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16")
    if options.compile:
        called = built.networks() if row.kind == "tokenizer" else [built.network]
        for one in called:
            one.compile()

    if row.kind == "tokenizer":
        start = photographs(options.batch_size, options.image_size).to(device)
        parts = {"encode": built.encode, "decode": built.decode}
    else:
        (first, start), *more = ((name, value.to(device)) for name, value in built.inputs(options.batch_size).items())
        parts = {"network": lambda value: built.network(**{first: value}, **dict(more))}
    with precision:
        measured = measure(parts, start, options.repeats, device, options.seconds)
        peak = None
        if device.type == "cuda":
            peak = _training_peak(row, built.train(), options, device)
    return {
        "device": machine(device)["device"],
        "precision": options.precision,
        "compile": options.compile,
        "threads": torch.get_num_threads(),
        "batch_size": options.batch_size,
        **measured,
        "training_peak_mb": peak,
    }


def _training_peak(row: Row, built: nn.Module, options: argparse.Namespace, device: torch.device) -> float | None:
    if row.kind == "tokenizer":
        images = photographs(options.train_batch_size, options.image_size).to(device)
        return training_peak_mb(built, lambda: step_loss(built, images)[1], device)
    given = {name: value.to(device) for name, value in built.inputs(options.train_batch_size).items()}
    return training_peak_mb(built.network, lambda: built.network(**given).float().square().mean(), device)


def _head(row: Row, options: argparse.Namespace, arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "row": options.row,
        "group": "efficiency",
        "scale": options.scale,
        "kind": row.kind,
        "experiment": str(row.path),
        "config": {"class_path": row.class_path, "init_args": arguments},
        "image_size": options.image_size if row.kind == "tokenizer" else None,
    }


def _as_paper(row: str, total: int) -> int | None:
    added = facts(row).get("loss_networks")
    return total + sum(added.values()) if added else None


def _counts(counts: Counts) -> dict[str, float]:
    gmacs = _giga(counts.total)
    return {"gmacs": gmacs, "gflops": round(2 * gmacs, 6), "attention_gmacs": _giga(counts.attention)}


def _giga(number: int) -> float:
    return round(number / 1e9, 6)


def _memory(training: dict[str, int], training_batch: int, inference: dict[str, int]) -> dict[str, Any]:
    def mebibytes(sizes: dict[str, int]) -> dict[str, float]:
        return {name: round(size / 2**20, 1) for name, size in sizes.items()}

    return {
        "training_counted_mb": round(sum(training.values()) / 2**20, 1),
        "training_batch_size": training_batch,
        "training_parts_mb": mebibytes(training),
        "training_measured_mb": None,
        "inference_counted_mb": round(sum(inference.values()) / 2**20, 1),
        "inference_batch_size": INFERENCE_BATCH,
        "inference_parts_mb": mebibytes(inference),
        "counted_precision": "fp32",
    }


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser("profile", __doc__)
    parser.add_argument("experiment", type=Path, metavar="EXPERIMENT.yaml", help="row of experiments/")
    parser.add_result()
    parser.add_argument(
        "--image-size", type=positive, default=256, help="side of a tokenizer's image in pixels (default: 256)"
    )
    parser.add_argument("--batch-size", type=positive, default=8, help="batch size of the timing (default: 8)")
    parser.add_argument(
        "--train-batch-size", type=positive, default=16, help="batch size for the training memory (default: 16)"
    )
    parser.add_argument("--repeats", type=positive, default=20, help="most timed rounds (default: 20)")
    parser.add_argument(
        "--seconds", type=positive, default=600, help="no further round after so many seconds (default: 600)"
    )
    parser.add_device()
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16: autocast (default: fp32)")
    parser.add_argument("--compile", action="store_true", help="time networks under torch.compile")
    parser.add_argument("--count-only", action="store_true", help="count only, without measuring")
    options = parser.parse_args(arguments)
    check_named(options.output, options.row)
    return options
