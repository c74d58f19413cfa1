"""`gpstoken speed`: times encoding and decoding of trained tokenizers side by side, and counts their multiply-adds.

All are in one process and take turns, round by round, on the same photographs: what slows the machine for a while slows
all of them.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from gpstoken.base import Tokenizer
from gpstoken.commands.parser import Parser, positive
from gpstoken.devices import to_device
from gpstoken.files import provenance
from gpstoken.files.provenance import check_named
from gpstoken.files.writing import check_writable, replacing
from gpstoken.loading import load_tokenizer
from gpstoken.profiling.counting import count
from gpstoken.profiling.inputs import photographs
from gpstoken.profiling.timing import timed
from gpstoken.training.files import CHECKPOINT_FILE
from gpstoken.training.origins import read_data_of


def main(arguments: list[str]) -> int:
    """Parses the command line, times the runs and writes the file.

    Returns:
        0.

    Raises:
        FileNotFoundError: if a run or the photographs are missing.
        ValueError: if two runs have one name, or images of different sizes.
    """
    parser = Parser("speed", __doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders that `gpstoken fit --output` wrote: .../ROW/seed0")
    parser.add_result()
    parser.add_argument("--batch-size", type=positive, default=16, metavar="N", help="images of a call (default: 16)")
    parser.add_argument("--rounds", type=positive, default=7, metavar="N", help="timed calls of each (default: 7)")
    parser.add_device()
    options = parser.parse_args(arguments)
    check_named(options.output, options.row)
    check_writable(options.output)
    names = [run.parent.name for run in options.runs]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{repeated[0]}: given twice; of each row one run is timed")
    sizes = {read_data_of(run)["image_size"] for run in options.runs}
    if len(sizes) > 1:
        raise ValueError(f"image sizes differ: {', '.join(f'{size} px' for size in sorted(sizes))}; time them apart")
    (size,) = sizes
    tokenizers = {
        name: to_device(load_tokenizer(run / CHECKPOINT_FILE), options.device)
        for name, run in zip(names, options.runs, strict=True)
    }
    images = photographs(options.batch_size, size).to(options.device)
    record = {
        "row": options.row, "group": "speed", "scale": options.scale, "image_size": size,
        "batch_size": options.batch_size, "rounds": options.rounds, "threads": torch.get_num_threads(),
        "rows": side_by_side(tokenizers, images, options.rounds),
        **provenance.record(images.device),
    }  # fmt: skip
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(options.output) as part:
        part.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{options.output}: {len(tokenizers)} tokenizers, {options.rounds} rounds")
    return 0


@torch.no_grad()
def side_by_side(tokenizers: dict[str, Tokenizer], images: torch.Tensor, rounds: int) -> dict[str, dict[str, Any]]:
    """Multiply-adds of an image and milliseconds of each round, after a round that is not timed.

    Args:
        tokenizers: by name, on the device of the images.
        images: float[B, 3, H, W] in [-1, 1].
        rounds: number of timed rounds.

    Returns:
        By name {"encode_gmacs", "decode_gmacs": of an image, as executed; "encode_ms", "decode_ms": of an image, a list
        of the rounds}.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, tokenizer in tokenizers.items():
        tokens, encoder, _ = count(partial(tokenizer.encode, images[:1]))
        _, decoder, _ = count(partial(tokenizer.decode, tokens))
        found[name] = {"encode_gmacs": encoder.total / 1e9, "decode_gmacs": decoder.total / 1e9}
        found[name] |= {"encode_ms": [], "decode_ms": []}
    for number in tqdm(range(rounds + 1), desc="speed", unit="round"):
        for name, tokenizer in tokenizers.items():
            tokens, encoding = timed(partial(tokenizer.encode, images), images.device)
            _, decoding = timed(partial(tokenizer.decode, tokens), images.device)
            if number:
                for part, milliseconds in (("encode_ms", encoding), ("decode_ms", decoding)):
                    found[name][part].append(round(milliseconds / len(images), 4))
    return found
