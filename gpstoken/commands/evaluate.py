"""`gpstoken evaluate`: evaluates the runs of one row, seed by seed, into one result file and a CSV of every image.

A killed evaluation resumes where it was: finished images lie in .ROW.*.parts beside the result until it is complete.
Several devices share the images (`--devices 2`, or torchrun); each image is evaluated on one device.
"""

import csv
import json
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lightning.pytorch.utilities import rank_zero_only

from gpstoken.commands.evaluation import Evaluated, evaluate_run
from gpstoken.commands.parser import Parser
from gpstoken.commands.protocol import Protocol
from gpstoken.commands.seeds import as_one, same_but_seed
from gpstoken.files.locks import locked
from gpstoken.files.provenance import check_named, record
from gpstoken.files.writing import check_writable, remove_abandoned, remove_unfinished, replacing
from gpstoken.limits import at_least, limits, text
from gpstoken.metrics import METRICS, summarise
from gpstoken.metrics.distributions import networks_at_hand
from gpstoken.metrics.networks import load_features
from gpstoken.metrics.summary import summarise_seeds
from gpstoken.rounding import BITS
from gpstoken.training.lost import lost_connections


def main(arguments: list[str]) -> int:
    """Parses the command line and evaluates; see `evaluate`."""
    parser = Parser(
        "evaluate",
        __doc__,
        epilog="Options that start with --data replace the data that the runs were trained on: --data FILE.yaml, "
        "--data.init_args.image_size 128. Images keep the size of training unless an option changes it.",
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders that `gpstoken fit --output` wrote, one per seed")
    parser.add_result()
    parser.add_argument(
        "--group", default="tokenizers", help="tokenizers (default), studies or sweeps, as in the report"
    )
    parser.add_argument("--trained-row", help="row of the runs, if it differs from --row (in a study)")
    parser.add_argument("--num-tokens", type=int, help="tokens per image (default: as in training, scaled by the area)")
    parser.add_argument("--token-factor", type=float, help="tokens per image, as a multiple of the trained number")
    parser.add_argument("--token-bits", type=int, choices=BITS, help="round the numbers of tokens to so many bits")
    parser.add_argument("--size-factor", type=int, help="size of the images, as a multiple of the trained size")
    parser.add_argument("--focus-radius", type=float, help="also measure a central disc with this radius (in sides)")
    parser.add_argument("--focus-strength", type=float, default=0.0, help="how strongly tokens are drawn into the disc")
    parser.add_argument("--networks", nargs="*", help="feature networks (default: the protocol's, if available)")
    parser.add_argument("--statistics", type=Path, help="reference statistics (ADM npz) for FID and sFID")
    parser.add_device()
    parser.add_argument("--devices", type=int, default=1, help="devices or CPU processes that share the images")
    options, data = parser.parse_known_args(arguments)
    if data and not data[0].startswith("--data"):
        parser.error(f"unrecognized arguments: {' '.join(data)}")
    if options.focus_strength and options.focus_radius is None:
        parser.error("--focus-strength needs --focus-radius")
    named = Named(options.row, options.group, options.scale, options.trained_row or options.row)
    if options.token_factor is not None and options.num_tokens is not None:
        parser.error("--token-factor and --num-tokens both set the number of tokens; give one of them")
    protocol = Protocol(
        options.num_tokens,
        options.token_factor,
        options.token_bits,
        options.size_factor,
        options.focus_radius,
        options.focus_strength,
        networks_at_hand() if options.networks is None else tuple(options.networks),
        options.statistics,
        options.device,
    )
    evaluate(options.runs, options.output, named, protocol, data, options.devices)
    return 0


class Named(NamedTuple):
    """The identity of a result, stored in the result itself and not parsed from a path.

    Attributes:
        row: name of the result.
        group: group of the report.
        scale: scale of the runs.
        trained_row: row of the runs; in a study it differs from `row`.
    """

    row: str
    group: str
    scale: str
    trained_row: str


@limits(devices=at_least(1))
def evaluate(
    runs: list[Path], output: Path, named: Named, protocol: Protocol, data: list[str], devices: int = 1
) -> None:
    """Tests the tokenizers of `runs` on the test split of their data and writes ROW.json and ROW.csv.

    Args:
        runs: run folders of one row that differ only in their seed.
        output: result file, ROW.json; the CSV of every image lies beside it.
        named: the identity of the result.
        protocol: what is measured.
        data: command-line options that replace the runs' data.
        devices: number of processes that share the images.

    Raises:
        ValueError: if a run is unfinished, the runs differ in configuration or data, or the result cannot be written,
            because its folder is not writable or something else is in its place.
    """
    for name, value in named._asdict().items():
        text().check(f"--{name.replace('_', '-')}", value)
    check_named(output, named.row)
    check_writable(output)
    check_result(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    first = rank_zero_only.rank == 0  # the other processes of `devices` run the same command
    with lost_connections("evaluation"), locked(output, "gpstoken evaluate") if first else nullcontext():
        _evaluate(runs, output, named, protocol, data, devices)


def check_result(output: Path) -> None:
    """Checks that nothing but an earlier result would be overwritten.

    Raises:
        ValueError: if something else is there.
    """
    for path, mark in ((output, b'{\n "row": '), (output.with_suffix(".csv"), b"seed,index,")):
        if path.is_dir() or (path.is_file() and not path.read_bytes().startswith(mark)):
            raise ValueError(f"{path}: already exists and is not an evaluation's result; choose another --output")


def _evaluate(runs: list[Path], output: Path, named: Named, protocol: Protocol, data: list[str], devices: int) -> None:
    networks = {name: load_features(name) for name in protocol.networks}
    seeds: list[Evaluated] = []
    for run in runs:
        # The features of the original images are computed for the first seed only.
        seeds.append(
            evaluate_run(
                run, output, named.trained_row, protocol, networks, data, devices, seeds[0].parts if seeds else None
            )
        )
        if not same_but_seed(seeds[-1].described, seeds[0].described):
            raise ValueError(f"{run}: differs from {runs[0]} in more than its seed")
        if seeds[-1].seed in [earlier.seed for earlier in seeds[:-1]]:
            raise ValueError(f"{run}: has the seed of another run, {seeds[-1].seed}")
    if not seeds[0].first:
        return
    for path in (output, output.with_suffix(".csv")):
        remove_abandoned(path)
    write(seeds, output, named)
    remove_unfinished(output.parent, output.stem)  # also the parts of an evaluation that was abandoned


def write(seeds: list[Evaluated], output: Path, named: Named) -> None:
    """Writes ROW.csv, then ROW.json."""
    first = seeds[0]
    names = [name for name in METRICS if name in first.columns]
    values = {name: np.stack([evaluated.columns[name] for evaluated in seeds]) for name in names}
    usage = {name: summarise_seeds([evaluated.codebook[name] for evaluated in seeds]) for name in first.codebook}
    size = {"codebook_size": first.described["evaluated"]["code"]["codebook_size"]}
    seconds = {stage: round(sum(evaluated.seconds[stage] for evaluated in seeds), 1) for stage in first.seconds}
    result = {
        "row": named.row,
        "group": named.group,
        "scale": named.scale,
        "seeds": [evaluated.seed for evaluated in seeds],
        **first.described,
        "training": as_one([evaluated.described["training"] for evaluated in seeds]),
        "metrics": {name: asdict(summarise(values[name], first.sources)) for name in names},
        "scores": {
            name: summarise_seeds([evaluated.scores[name] for evaluated in seeds]) | {"count": len(first.sources)}
            for name in first.scores
        },
        **({"recognition": first.recognition} if first.recognition else {}),
        **({"codebook": size | usage} if usage else {}),
        "trained_at": sorted({evaluated.trained_at for evaluated in seeds}),
        "checkpoints": [evaluated.checkpoint for evaluated in seeds],
        **record(first.device),
        "seconds": seconds,
    }
    result["machine"]["processes"] = first.processes
    with replacing(output.with_suffix(".csv")) as part, part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["seed", "index", "source", *names])
        for evaluated in seeds:
            numbers = (evaluated.columns[name].tolist() for name in names)
            for row in zip(evaluated.columns["index"].tolist(), first.sources, *numbers, strict=True):
                writer.writerow([evaluated.seed, *row])
    with replacing(output) as part:
        part.write_text(json.dumps(result, indent=1) + "\n")
    spent = ", ".join(f"{stage} {time} s" for stage, time in seconds.items())
    print(f"{output}: {len(first.sources)} images, {len(seeds)} seeds; {spent}")
    for name, entry in (result["metrics"] | result["scores"]).items():
        print(f"  {name:<32}{entry['mean']:>12.5g}")
