"""`gpstoken export`: a trained tokenizer or generator as one file to give away, or networks as ONNX models."""

import argparse
from pathlib import Path
from typing import Any

import torch

from gpstoken.base import Tokenizer
from gpstoken.commands.parser import Parser
from gpstoken.files.checkpoints import read_plain
from gpstoken.files.plain_text import read_yaml
from gpstoken.files.weights import SUFFIX, read_origin_of, weights_file, write_weights
from gpstoken.files.writing import check_writable, replace_file
from gpstoken.generators.loading import write_stages
from gpstoken.loading import class_path_of, load_tokenizer
from gpstoken.tokenizer import GPSToken
from gpstoken.training.files import CHECKPOINT_FILE, CONFIG_FILE
from gpstoken.training.origins import read_data_of, read_origin

TYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def main(arguments: list[str]) -> int:
    """Runs `export`.

    Returns:
        0.

    Raises:
        ValueError: if the checkpoint cannot be read, or the file cannot be written.
    """
    options = _parse(arguments)
    output = Path(options.output)
    check_writable(output / "encoder.onnx" if options.onnx else output)
    if not options.onnx and _is_stage(options.checkpoint):
        return _export_generator(options, output)
    if options.layout is not None:
        raise ValueError(f"{options.checkpoint}: holds a tokenizer; --layout is for the last stage of a generator")
    tokenizer = load_tokenizer(options.checkpoint)
    if options.onnx:
        return _export_onnx(tokenizer, options.checkpoint, output)
    run = Path(options.checkpoint).parent
    origin = read_origin(run) | {"phases": phases(run)}
    class_path, dtype = class_path_of(tokenizer), TYPES[options.type]
    output.parent.mkdir(parents=True, exist_ok=True)
    write_weights(output, class_path, tokenizer.config, tokenizer.state_dict(), origin, dtype)
    count = sum(parameter.numel() for parameter in tokenizer.parameters())
    print(f"{class_path}, {count:,} parameters, {output.stat().st_size:,} bytes -> {output}")
    return 0


def _is_stage(checkpoint: str) -> bool:
    path = Path(checkpoint)
    return path.is_file() and path.suffix != SUFFIX and "generator" in read_plain(path)


def _export_generator(options: argparse.Namespace, output: Path) -> int:
    checkpoints = [*([options.layout] if options.layout else []), options.checkpoint]
    output.parent.mkdir(parents=True, exist_ok=True)
    origin = {"stages": [read_origin(Path(checkpoint).parent) for checkpoint in checkpoints]}
    count = write_stages(output, checkpoints, origin, TYPES[options.type])
    print(f"a generator, {count:,} parameters, {output.stat().st_size:,} bytes -> {output}")
    return 0


def _export_onnx(tokenizer: Tokenizer, checkpoint: str, folder: Path) -> int:
    if not isinstance(tokenizer, GPSToken):
        raise ValueError(f"{checkpoint}: --onnx takes a GPSToken, got a {class_path_of(tokenizer)}")
    from gpstoken.onnx_models import onnx_models  # here, because torch's exporter takes seconds to import

    for name, model in onnx_models(tokenizer).items():
        path = folder / f"{name}.onnx"
        replace_file(path, model)
        print(f"{name}, {len(model):,} bytes -> {path}")
    return 0


def phases(run: Path) -> list[dict[str, Any]]:
    """The trainings that led to the weights in a run, from the first, each of which started from the one before.

    Args:
        run: folder that `gpstoken fit` wrote; empty for one without a configuration.

    Returns:
        Name of the run, steps, images in a step, side of the images, commit, processor or GPU, start and end of each.

    Raises:
        ValueError: for a damaged file.
    """
    found: list[dict[str, Any]] = []
    while (run / CONFIG_FILE).is_file() and run.name not in [phase["run"] for phase in found]:
        origin = read_origin(run)
        if "phases" in origin:  # a run that `gpstoken published` made of an exported file
            return origin["phases"] + found
        trained = read_plain(run / CHECKPOINT_FILE)
        phase = {"run": run.name, "steps": trained.get("global_step")} | trained.get("training", {}) | read_data_of(run)
        phase |= {name: origin[name] for name in ("commit", "machine", "started", "finished") if name in origin}
        found.insert(0, phase)
        start = read_yaml(run / CONFIG_FILE).get("model", {}).get("init_args", {}).get("weights")
        if start is None:
            break
        if (file := weights_file(start)).suffix == SUFFIX:
            return read_origin_of(file).get("phases", []) + found
        run = file.parent
    return found


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(description="A trained tokenizer or generator as one safetensors file, with its origin.")
    parser.add_argument(
        "checkpoint", metavar="CKPT", help="last.ckpt of `gpstoken fit`, a file of this command, or small"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="the file to write, *.safetensors; with --onnx a folder"
    )
    layout = "for the last stage of a two-stage generator: checkpoint of its layout stage"
    parser.add_argument("--layout", metavar="CKPT", help=layout)
    parser.add_argument(
        "--type", choices=tuple(TYPES), default="float16", help="type of the weights (default: float16)"
    )
    parser.add_argument(
        "--onnx", action="store_true", help="write encoder.onnx and decoder.onnx, float32, for one tile, instead"
    )
    options = parser.parse_args(arguments)
    if not options.onnx and Path(options.output).suffix != SUFFIX:
        parser.error(f"--output: expected a name that ends in {SUFFIX}, got {options.output}")
    return options
