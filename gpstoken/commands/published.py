"""`gpstoken published`: turns trained weights of a row into a run, which `gpstoken evaluate` takes like any other.

A row without weights, such as a codec, needs none.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpstoken.base import Tokenizer
from gpstoken.commands.fit import RunCLI
from gpstoken.commands.parser import Parser
from gpstoken.files.checkpoints import read_tokenizer, write_plain
from gpstoken.files.latent_statistics import published_statistics
from gpstoken.files.provenance import file_hash
from gpstoken.files.weights import is_exported, read_origin_of, weights_file
from gpstoken.files.writing import check_replaceable, replacing
from gpstoken.loading import class_path_of, read_fitting
from gpstoken.training.files import CHECKPOINT_FILE, ORIGIN_FILE, is_run


def main(arguments: list[str]) -> int:
    """Parses the command line and writes the run; see `write_run`."""
    parser = Parser(
        "published",
        __doc__,
        epilog="Further options are those of `gpstoken fit`, such as -c experiments/paper/tokenizers.yaml.",
    )
    rows = "experiments/tokenizers/ROW.yaml: the row whose weights these are"
    parser.add_argument("row", type=Path, help=rows)
    weights = (
        "a folder, .safetensors, .bin, .ckpt, .pt or .pth as published, or hf://OWNER/NAME on the Hugging Face hub; a "
        "file of `gpstoken export`, or small; "
        "nothing for a row without weights"
    )
    parser.add_argument("weights", type=Path, nargs="?", help=weights)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="folder of the run, ROW/seed0")
    options, rest = parser.parse_known_args(arguments)
    write_run(options.row, options.weights, options.output, rest)
    return 0


def write_run(row: Path, weights: Path | None, output: Path, arguments: list[str]) -> None:
    """Writes config.yaml, origin.json and last.ckpt like a run of `gpstoken fit` with no training steps.

    Args:
        row: YAML of the row.
        weights: see `gpstoken.baselines.published.read_published`; or what `gpstoken export` wrote, or the name of
            weights that come with the package. None for a class without any.
        output: the folder; it is created, and an older run in it is replaced.
        arguments: further arguments of `gpstoken fit`.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: for a row whose weights cannot be read, or weights that do not fit it.
    """
    check_replaceable(output, is_run)

    if not row.is_file():
        raise FileNotFoundError(f"{row}: no such row; experiments/tokenizers/ has them")
    # The discriminator was dropped together with the losses.
    arguments = ["-c", str(row), *arguments, "--model.init_args.adversarial_start", "null"]
    with torch.device("meta"):
        cli = RunCLI(args=arguments, run=False)
    tokenizer = cli.model.tokenizer
    state, file, origin = _read(weights, tokenizer, cli.datamodule.image_size)
    config = cli.config.clone()
    config.pop("output", None)
    named = None if file is None else (origin.get("weights") or {}) | {"file": file.name, "sha256": file_hash(file)}
    origin |= {"weights": named}
    checkpoint = {
        "tokenizer": {"class_path": class_path_of(tokenizer), "init_args": tokenizer.config},
        "state_dict": {f"tokenizer.{name}": tensor for name, tensor in state.items()},
        "global_step": 0,
    }
    output.mkdir(parents=True, exist_ok=True)
    with replacing(output / "config.yaml") as part:
        part.write_text(cli.parser.dump(config, skip_check=True, skip_none=False))
    with replacing(output / ORIGIN_FILE) as part:
        part.write_text(json.dumps(origin, indent=1) + "\n")
    write_plain(output / CHECKPOINT_FILE, checkpoint)
    print(f"{output}: {len(state)} tensors of {file or 'a row without weights'}")


def _read(
    weights: Path | None, tokenizer: Tokenizer, side: int
) -> tuple[dict[str, Tensor], Path | None, dict[str, Any]]:
    """State dict of the tokenizer, the file that it is from, and the origin of a run of it."""
    if weights is None:
        if named := next(iter(tokenizer.state_dict()), None):
            raise ValueError(f"weights: {type(tokenizer).__name__} has some, such as {named}; name their file")
        return {}, None, {"commit": "untrained"}
    from gpstoken.baselines import published  # here: diffusers loads slowly

    file = published.at_hand(weights_file(weights))
    if not is_exported(file):
        state, kind, origin = published.read_published(file, tokenizer), type(tokenizer), {"commit": "published"}
        if licence := published.tell_licence(weights, kind):
            origin["weights"] = licence
        code = tokenizer.code((side, side))
        if code.codebook_size is None and (statistics := published_statistics(file, code.channels)):
            origin["statistics"] = statistics
            print(f"{weights}: with statistics of the latents, which token caches of this run will have")
        return state, published.weights_in(file) if file.is_dir() else file, origin
    state, trained = read_fitting(file, tokenizer), read_tokenizer(file)[1]
    for name, value in tokenizer.config.items():
        if trained.get(name, value) != value:
            raise ValueError(f"{weights}: was trained with {name} {trained[name]}, the row has {value}")
    return state, file, read_origin_of(file)
