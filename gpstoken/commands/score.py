"""`gpstoken score`: scores generated images against a reference, or writes a reference file."""

import argparse
import hashlib
import json
import sys
from pathlib import Path

from torch import nn

from gpstoken.commands.parser import Parser, positive
from gpstoken.commands.score_explained import explain, print_explained
from gpstoken.commands.score_self_test import print_checks, self_test
from gpstoken.devices import to_device
from gpstoken.files import provenance
from gpstoken.files.locks import locked
from gpstoken.files.provenance import file_hash
from gpstoken.files.writing import check_writable, remove_abandoned, replacing
from gpstoken.metrics.frechet import write_statistics
from gpstoken.metrics.generation import FeatureSet, extract, measure, stage
from gpstoken.metrics.networks import FEATURES, load_features
from gpstoken.metrics.samples import pictures
from gpstoken.metrics.weights import find_weights, weights_record


def main(arguments: list[str]) -> int:
    """Parses the command line, then scores the images, writes their statistics, or tests the scores.

    Numbers go to stdout as "name  number", the reasons for omitted metrics to stderr.

    Returns:
        0; 1 if a check of the self-test failed.

    Raises:
        FileNotFoundError: if images, reference or weights are missing.
        ValueError: if a file is damaged or of another kind, or the device or the output cannot be used.
    """
    options = _parse(arguments)
    for output in (options.output, options.write_statistics):
        if output is not None:  # checked before minutes of computation
            if output.is_dir():
                raise ValueError(f"{output}: is a folder, expected a file")
            check_writable(output)
            output.parent.mkdir(parents=True, exist_ok=True)
    network = _network(options)
    if options.self_test:
        return print_checks(self_test(options.reference, network, options.batch_size))
    if options.write_statistics:
        seconds: dict[str, float] = {}
        features = extract(options.images, network, options.batch_size, "images", seconds)
        write_statistics(options.write_statistics, features.statistics)
        print(f"{options.write_statistics}: {network.label} statistics of {len(features.pool)} images")
        return 0
    if options.output is None:
        _score(options, network)
        return 0
    with locked(options.output, "gpstoken score"):
        remove_abandoned(options.output)
        _write(_score(options, network), options, network)
    return 0


def content_hash(source: str | Path) -> str:
    """Sha256 of a file, or for a folder, of the lines "sha256  path" that `sha256sum` prints for its pictures."""
    source = Path(source)
    if source.is_dir():
        lines = [f"{content_hash(path)}  {path.relative_to(source).as_posix()}\n" for path in pictures(source)]
        return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()
    return file_hash(source)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        "score",
        __doc__,
        epilog="The report reads results with --row ROW --scale SCALE -o results/SCALE/scored/ROW.json: its table of "
        "generation shows the samples as a row with the source `scored samples`.",
    )
    images = "a folder of pictures, an npz with arr_0 = uint8[N, H, W, 3], or an npy of that array"
    parser.add_argument("images", type=Path, nargs="?", metavar="SAMPLES", help=images)
    task = parser.add_mutually_exclusive_group()
    task.add_argument(
        "--reference", type=Path, metavar="REF", help="like SAMPLES, or an npz of statistics (mu, sigma, ...)"
    )
    task.add_argument("--write-statistics", type=Path, metavar="OUT.npz", help="write the statistics of SAMPLES")
    parser.add_argument("--network", choices=tuple(FEATURES), help="default: inception, else efficientnet_lite0")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="weights of --network; default: found automatically"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="JSON", help="result file, with the origin of its numbers")
    parser.add_argument("--row", help="name of SAMPLES in the report; needs --scale and --output")
    parser.add_argument("--scale", help="scale of the report that shows the result as a row")
    parser.add_argument("--batch-size", type=positive, default=64, metavar="N", help="default: 64")
    parser.add_device()
    parser.add_argument(
        "--allow-small", action="store_true", help="compute Fréchet distances even below 2 images per dimension"
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        help="print also what was compared, each known reason for other numbers, and the expected spread",
    )
    parser.add_argument(
        "--self-test",
        action="store_true",
        help="check the scores on real images: those of REF, else the held-out photographs of data/embedded",
    )
    options = parser.parse_args(arguments)
    _check_task(parser, options)
    if options.weights and not options.network:
        parser.error("--weights needs --network, the network of the weights")
    if bool(options.row) != bool(options.scale) or (options.row and not options.output):
        parser.error("--row, --scale and --output go together: the report needs all three")
    if options.row and options.output.name != f"{options.row}.json":
        parser.error(f"--output: the result of row {options.row} must be named {options.row}.json")
    if options.output and options.write_statistics:
        parser.error("--output needs --reference; --write-statistics names its own file")
    if options.write_statistics and options.write_statistics.suffix != ".npz":
        parser.error(f"--write-statistics: expected a name ending in .npz, got {options.write_statistics}")
    return options


def _check_task(parser: Parser, options: argparse.Namespace) -> None:
    if options.self_test:
        others = {"SAMPLES": options.images, "--write-statistics": options.write_statistics, "-o": options.output}
        others |= {"--explain": options.explain, "--allow-small": options.allow_small}
        if given := ", ".join(name for name, value in others.items() if value):
            parser.error(f"--self-test takes real images from --reference, and no {given}")
        return
    if options.images is None:
        parser.error("SAMPLES is needed, or --self-test")
    if not (options.reference or options.write_statistics):
        parser.error("one of --reference and --write-statistics is needed")
    if options.explain and options.write_statistics:
        parser.error("--explain needs --reference, with which SAMPLES are compared")


def _network(options: argparse.Namespace) -> nn.Module:
    name = options.network
    if name is None:
        name = "inception"
        try:
            find_weights(name)
        except FileNotFoundError as error:
            name = "efficientnet_lite0"
            print(f"gpstoken: using features of {name}, whose distances are not FID: {error}", file=sys.stderr)
    return to_device(load_features(name, options.weights), options.device)


def _score(options: argparse.Namespace, network: nn.Module) -> dict:
    """The result of `measure`, printed; with its files if they are printed or written, and what explains it."""
    features: dict[str, FeatureSet] = {}
    sources = {"samples": options.images, "reference": options.reference}
    result = measure(*sources.values(), network, options.batch_size, options.allow_small, features)
    _print(result)
    if options.output or options.explain:
        with stage(result["seconds"], "hashes"):
            result["files"] = {
                side: {"file": path.resolve().name, "sha256": content_hash(path)} for side, path in sources.items()
            }
    if options.explain:
        with stage(result["seconds"], "explain"):
            result["explained"] = explain(result, sources, features, network, options.batch_size)
        print_explained(result, network)
    return result


def _print(result: dict) -> None:
    reference = result["reference"]
    counts = {"samples": result["samples"]}
    counts |= {f"reference_{kind}": n for kind, n in reference.items() if n is not None}
    rows = {name: str(n) for name, n in counts.items()}
    rows |= {name: f"{value:.6g}" for name, value in result["metrics"].items()}
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:{width}}  {value}")
    for name, reason in result["left_out"].items():
        print(f"gpstoken: no {name}: {reason}", file=sys.stderr)


def _write(result: dict, options: argparse.Namespace, network: nn.Module) -> None:
    files = result.pop("files")
    named = {"row": options.row, "group": "scored", "scale": options.scale} if options.row else {}
    record = (
        named
        | result
        | {
            "samples": files["samples"] | {"images": result["samples"]},
            "reference": files["reference"] | result["reference"],
            "network": {"name": network.name, "label": network.label, **weights_record(network.path)},
            "batch_size": options.batch_size,
            "seconds": {name: round(value, 3) for name, value in result["seconds"].items()},
        }
        | provenance.record(options.device)
    )
    with replacing(options.output) as part:
        part.write_text(json.dumps(record, indent=1) + "\n")
