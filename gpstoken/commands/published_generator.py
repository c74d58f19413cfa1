"""`gpstoken published-generator`: turns published weights of a generator's row into a checkpoint that samples.

Its tokenizer is one of this project, for published weights the run that `gpstoken published` makes of them.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from gpstoken.base import Generator, Tokenizer
from gpstoken.commands.fit import RunCLI
from gpstoken.commands.parser import Parser, positive
from gpstoken.files.checkpoints import write_plain
from gpstoken.files.provenance import file_hash
from gpstoken.files.writing import check_replaceable, replacing
from gpstoken.generators.loading import AVERAGED, describe
from gpstoken.loading import class_path_of, load_tokenizer, tokenizer_hash
from gpstoken.training.files import CHECKPOINT_FILE, ORIGIN_FILE
from gpstoken.training.origins import statistics_of


def main(arguments: list[str]) -> int:
    """Parses the command line and writes the checkpoint; see `write_checkpoint`. Returns 0."""
    parser = Parser(
        "published-generator",
        __doc__,
        epilog="Further options are those of `gpstoken fit`. Then: gpstoken generate DIR/last.ckpt -n 16 -o new",
    )
    row = "experiments/generators/ROW.yaml: the row whose weights these are"
    parser.add_argument("row", type=Path, metavar="ROW.yaml", help=row)
    weights = (
        "a folder, .safetensors, .bin, .ckpt, .pt or .pth as published, or hf://OWNER/NAME on the Hugging Face hub"
    )
    parser.add_argument("weights", type=Path, help=weights)
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="CKPT", help="last.ckpt of its tokenizer")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the checkpoint")
    scale = "what latents were multiplied by in training (SiT, DiT, REPA: 0.18215); default: the tokenizer's statistics"
    parser.add_argument("--latent-scale", type=_factor, metavar="X", help=scale)
    side = "side of the images, where a tokenizer takes any (default: 256)"
    parser.add_argument("--image-size", type=positive, default=256, metavar="PIXELS", help=side)
    options, rest = parser.parse_known_args(arguments)
    write_checkpoint(
        options.row, options.weights, options.tokenizer, options.output, options.latent_scale, options.image_size, rest
    )
    return 0


def write_checkpoint(
    row: Path,
    weights: Path,
    tokenizer: Path,
    output: Path,
    latent_scale: float | None = None,
    image_size: int = 256,
    arguments: list[str] | None = None,
) -> None:
    """Writes last.ckpt, which `load_generator` reads, and origin.json.

    Args:
        row: YAML of the row.
        weights: see `gpstoken.baselines.published.read_published`.
        tokenizer: checkpoint of the tokenizer of its tokens.
        output: the folder; it is created, and what an earlier call wrote is replaced.
        latent_scale: the latents were multiplied by it; None: mean and deviation were published with the tokenizer.
        image_size: side of the images in pixels, where a tokenizer takes any.
        arguments: further arguments of `gpstoken fit`.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is unreadable or does not fit the row, or no statistics are known that the row needs.
    """
    check_replaceable(output, is_checkpoint)
    if not row.is_file():
        raise FileNotFoundError(f"{row}: no such row; experiments/generators/ has them")
    read = load_tokenizer(tokenizer)
    with torch.device("meta"):  # random weights would only be replaced
        generator = RunCLI(args=["-c", str(row), *(arguments or ())], run=False).model.generator
    from gpstoken.baselines import published  # here: diffusers loads slowly

    file = published.at_hand(weights)
    generator.load_state_dict(published.read_published(file, generator), assign=True)
    prepare(generator, read, tokenizer, latent_scale, image_size)
    own = {"class_path": class_path_of(read), "init_args": read.config}
    own |= {"sha256": tokenizer_hash(read), "path": str(tokenizer)}
    content = {f"{AVERAGED}{name}": tensor for name, tensor in generator.state_dict().items()}
    licence = published.tell_licence(weights, type(generator), row.stem)
    file = published.weights_in(file) if file.is_dir() else file
    origin = {"file": file.name, "sha256": file_hash(file)} | licence
    output.mkdir(parents=True, exist_ok=True)
    with replacing(output / ORIGIN_FILE) as part:
        part.write_text(json.dumps({"commit": "published", "weights": origin}, indent=1) + "\n")
    # How long it was trained is not in the file.
    write_plain(
        output / CHECKPOINT_FILE,
        {"generator": describe(generator, own, None), "state_dict": content, "global_step": 0},
    )
    print(f"{output / CHECKPOINT_FILE}: {len(content)} tensors of {file}")


def prepare(
    generator: Generator, tokenizer: Tokenizer, path: Path, latent_scale: float | None, image_size: int
) -> None:
    """Gives a generator what training would have read from the token cache of its tokenizer.

    Args:
        generator: with its weights.
        tokenizer: the tokenizer of its tokens.
        path: the tokenizer's checkpoint.
        latent_scale: see `write_checkpoint`.
        image_size: see `write_checkpoint`.

    Raises:
        ValueError: if the tokens are not those that the generator makes, or it needs statistics that are not known.
    """
    side = tokenizer.config.get("image_size", image_size)
    code = tokenizer.code((side, side))
    known = statistics_of(path, code.channels) if code.codebook_size is None else None
    if latent_scale is not None:
        known = {"mean": [0.0] * code.channels, "std": [1 / latent_scale] * code.channels}
    part = "latent" if len(code.shape) == 2 else "tokens"  # as `Tokenizer.pack` names them
    record: dict[str, Any] = {"num_classes": generator.num_classes, "code": code._asdict()}
    try:
        generator.prepare(record | {"statistics": {} if known is None else {part: known}})
    except ValueError as error:
        unknown = known is None and code.codebook_size is None
        hint = "; latents need a mean and a deviation: give --latent-scale" if unknown else ""
        raise ValueError(f"{path}: {error}{hint}") from error


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder holds what this command writes and nothing else."""
    return {path.name for path in folder.iterdir()} == {CHECKPOINT_FILE, ORIGIN_FILE}


def _factor(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a finite number above 0, got {text}")
    return value
