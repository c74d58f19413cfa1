"""`gpstoken cache`: encodes a data set with a frozen tokenizer into shards of tokens, to train generators on.

A killed call resumes where it was: finished shards lie in .DIR.*.parts beside the output until all are done.
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from lightning import LightningDataModule

from gpstoken.base import Tokenizer
from gpstoken.commands.images import DATA_HELP, class_names, read_data
from gpstoken.commands.parser import Parser, positive
from gpstoken.commands.shards import FORMAT, Plan, encode, samples_of, summarise
from gpstoken.devices import to_device
from gpstoken.files import provenance
from gpstoken.files.locks import locked
from gpstoken.files.plain_text import read_json
from gpstoken.files.records import ALIGNMENT
from gpstoken.files.writing import (
    check_replaceable,
    check_writable,
    move_folder,
    remove_abandoned_within,
    remove_unfinished,
    replacing,
)
from gpstoken.loading import class_path_of, load_tokenizer, tokenizer_hash
from gpstoken.metrics.patch_features import PatchFeatures
from gpstoken.metrics.weights import weights_record
from gpstoken.training.origins import statistics_of

VERSION, CACHE_FILE = 2, "cache.json"


def is_cache(folder: Path) -> bool:
    """Whether a folder is a token cache and holds nothing else."""
    names = {path.name for path in folder.iterdir()}
    return {CACHE_FILE} <= names <= {CACHE_FILE, "train", "val", "test"}


def main(arguments: list[str]) -> int:
    """Parses the command line and writes the cache; see `make_cache`."""
    parser = Parser("cache", __doc__, epilog=DATA_HELP)
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="CKPT", help="last.ckpt of a tokenizer's run")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the cache")
    parser.add_argument("--views", type=positive, default=1, help="epochs of training views to store (default: 1)")
    parser.add_argument("--no-mirror", action="store_true", help="leave out the mirror image of each training view")
    parser.add_argument("--num-tokens", type=positive, metavar="N", help="tokens per image (default: the tokenizer's)")
    aligned = "also store features of each image at SIDE x SIDE places, with which REPA aligns its network"
    parser.add_argument("--features", nargs=2, metavar=("NETWORK", "SIDE"), help=aligned)
    parser.add_argument("--splits", nargs="+", default=["train", "val"], choices=("train", "val", "test"))
    parser.add_argument("--batch-size", type=positive, help="images at a time (default: the data's batch size)")
    parser.add_argument("--shard-size", type=positive, default=1024, help="samples per file (default: 1024)")
    parser.add_device()
    options, rest = parser.parse_known_args(arguments)
    if "train" not in options.splits:
        parser.error("--splits: must include train, whose mean and standard deviation generators need")
    if options.shard_size % 2 and not options.no_mirror:
        parser.error(f"--shard-size: expected an even number with mirror images, got {options.shard_size}")
    check_writable(options.output)
    check_replaceable(options.output, is_cache)
    data, described = read_data(parser, rest)
    features = None
    if options.features:
        try:
            features = PatchFeatures(options.features[0], positive(options.features[1])).to(options.device)
        except argparse.ArgumentTypeError as error:
            parser.error(f"--features: {error}")
    tokenizer = load_tokenizer(options.tokenizer)
    to_device(tokenizer, options.device)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with locked(options.output, "gpstoken cache"):
        make_cache(tokenizer, data, described, options, features)
    return 0


def make_cache(
    tokenizer: Tokenizer,
    data: LightningDataModule,
    described: dict[str, Any],
    options: argparse.Namespace,
    features: PatchFeatures | None = None,
) -> None:
    """Encodes the splits of a data set into `options.output`.

    Sample i of "train" is view i // 2 (mirrored where i is odd) in the order (epoch, index) of the data set, or view i
    without mirror images; other splits are the prepared views in order. Every tensor is float32. Mean and deviation of
    the channels are those that were published with the tokenizer, if there are such, and else measured on "train".

    Args:
        tokenizer: frozen, on its device.
        data: the data module of the images.
        described: the data as `read_data` describes it.
        options: options of the command line.
        features: the network whose features are stored beside the tokens.

    Raises:
        ValueError: if the output is not a cache, the data is missing or the tokens are not finite.
    """
    output = options.output
    plans = []
    for split in dict.fromkeys(options.splits):
        train = split == "train"
        mirror = train and not options.no_mirror
        plans.append(Plan(split, data.dataset(split), options.views if train else 1, mirror, options.shard_size))
    record = {
        "format": FORMAT,
        "version": VERSION,
        "tokenizer": {
            "class_path": class_path_of(tokenizer),
            "init_args": tokenizer.config,
            "sha256": tokenizer_hash(tokenizer),
            "path": str(options.tokenizer),
        },
        "code": tokenizer.code((data.image_size, data.image_size), options.num_tokens)._asdict(),
        "data": described | {"fingerprints": {plan.split: _fingerprint(data, plan.split) for plan in plans}},
        "views": options.views,
        "mirror": not options.no_mirror,
        "shard_size": options.shard_size,
        "splits": {plan.split: {"samples": plan.samples} for plan in plans},
    }
    if features is not None:
        record[ALIGNMENT] = {"network": features.name, "side": features.side, **weights_record(features.path)}
    published = statistics_of(options.tokenizer, record["code"]["channels"])
    if published is not None:
        record["tokenizer"]["statistics"] = published
    record["identity"] = _identity(record)
    if (output / CACHE_FILE).is_file():
        if _is_whole(output, record["identity"]):
            print(f"{output}: already exists; delete it to encode again")
            return
        print(f"{output}: replacing a cache that is damaged, or has another tokenizer, data or options")
    work = output.with_name(f".{output.name}.{record['identity'][:16]}.parts")
    remove_abandoned_within(work)
    for plan in plans:
        (work / plan.split).mkdir(parents=True, exist_ok=True)
        batch_size = options.batch_size or data.batch_size
        encode(tokenizer, plan, work, record["identity"], batch_size, data.num_workers, options.num_tokens, features)
    record |= summarise(work, plans, tokenizer.differences)
    if published is not None and len(record["statistics"]) == 1:
        record["statistics"] = dict.fromkeys(record["statistics"], published)
        print(f"{output}: mean and deviation of the channels as published with the tokenizer, not as measured")
    record |= {"classes": class_names(data)} | provenance.record(options.device)
    with replacing(work / CACHE_FILE) as part:
        part.write_text(json.dumps(record, indent=1) + "\n")
    move_folder(work, output, is_cache)
    remove_unfinished(output.parent, output.name)
    counts = ", ".join(f"{plan.samples} of {plan.split}" for plan in plans)
    print(f"{output}: tokens of {counts}, encoded by tokenizer {record['tokenizer']['sha256'][:12]}")


def _fingerprint(data: LightningDataModule, split: str) -> str:
    if split != "train":
        return data.fingerprint(split)
    # Training images are read on demand, so their fingerprint is that of the list of photographs.
    return hashlib.sha256("\n".join(data.sources(split)).encode()).hexdigest()


def _identity(record: dict[str, Any]) -> str:
    tokenizer = record["tokenizer"] | {"path": None}  # the same tokenizer may have been moved
    return hashlib.sha256(json.dumps(record | {"tokenizer": tokenizer}, sort_keys=True).encode()).hexdigest()


def _is_whole(folder: Path, identity: str) -> bool:
    try:
        record = read_json(folder / CACHE_FILE)
        shards = [shard for split in record["splits"].values() for shard in split["shards"]]
        same = record["identity"] == identity
        return same and all(samples_of(folder / shard["file"], identity) == shard["samples"] for shard in shards)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
