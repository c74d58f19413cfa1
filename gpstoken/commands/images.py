"""`gpstoken images`: writes the images of a data set to one npz, with which generated images are compared."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import ArgumentParser
from lightning import LightningDataModule
from torch.utils.data import DataLoader
from tqdm import tqdm

from gpstoken.base import Tokenizer
from gpstoken.commands.configurations import check_files
from gpstoken.commands.messages import OneLine
from gpstoken.commands.parser import Parser
from gpstoken.files import provenance
from gpstoken.files.image_archive import write_archive
from gpstoken.files.locks import locked
from gpstoken.files.provenance import file_hash
from gpstoken.files.writing import check_writable, replacing
from gpstoken.loading import load_tokenizer, tokenizer_hash
from gpstoken.metrics import to_uint8

LOADING = ("batch_size", "num_workers", "prepared")  # options of a data module that change no image


def main(arguments: list[str]) -> int:
    """Parses the command line and writes the images; see `write_images`."""
    parser = Parser("images", __doc__, epilog=DATA_HELP)
    parser.add_argument("--split", choices=("train", "val", "test"), required=True)
    parser.add_argument("--count", type=int, help="number of images (default: all prepared ones; for train one epoch)")
    parser.add_argument(
        "--through", type=Path, metavar="CKPT", help="write this tokenizer's reconstructions of the images"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="OUT.npz; OUT.json is written beside it")
    options, rest = parser.parse_known_args(arguments)
    if options.output.suffix != ".npz":
        parser.error(f"--output: expected a name ending in .npz, got {options.output}")
    check_writable(options.output)
    data, described = read_data(parser, rest)
    tokenizer = None if options.through is None else load_tokenizer(options.through)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with locked(options.output, "gpstoken images"):
        write_images(data, described, options.split, options.count, options.output, tokenizer)
    return 0


DATA_HELP = (
    "Options that start with --data select the images: --data experiments/_data/embedded_classes.yaml, "
    "--data.init_args.image_size 64."
)


class DataParser(OneLine, ArgumentParser):
    """A parser of a data module's options, with error messages of one line."""


def read_data(parser: Parser, arguments: list[str]) -> tuple[LightningDataModule, dict[str, Any]]:
    """The data module that `--data FILE.yaml --data.init_args.X ...` names.

    Args:
        parser: the command's parser, which reports errors of the command line.
        arguments: the arguments that the command itself does not know.

    Returns:
        (data module, {"class_path", "dataset", "init_args"} without the options that change no image).

    Raises:
        ValueError: if the data module rejects its options.
    """
    unknown = [word for word in arguments if word.startswith("-") and not word.startswith("--data")]
    if unknown or (arguments and not arguments[0].startswith("--data")):
        parser.error(f"unrecognized arguments: {' '.join(unknown or arguments)}")
    if not arguments:
        parser.error("--data FILE.yaml is missing; it selects the images")
    check_files(arguments)
    reader = DataParser(prog=parser.prog)
    reader.add_subclass_arguments(LightningDataModule, "data")
    config = reader.parse_args(arguments)
    try:
        data = reader.instantiate(config).data
    except ValueError as error:  # jsonargparse appends the whole configuration to the constructor's message
        raise (error.__cause__ if isinstance(error.__cause__, ValueError) else error) from None
    options = {name: value for name, value in config.data.init_args.as_dict().items() if name not in LOADING}
    return data, {"class_path": config.data.class_path, "dataset": data.name, "init_args": options}


@torch.no_grad()
def write_images(
    data: LightningDataModule,
    described: dict[str, Any],
    split: str,
    count: int | None,
    output: Path,
    tokenizer: Tokenizer | None = None,
) -> None:
    """Writes an npz in ADM's format (arr_0 uint8[n, H, W, 3], arr_1 int64[n], the labels) and a JSON that describes it.

    For "train" the images are the first `count` random views, the same every time; for "val" and "test" the prepared
    views. The images are streamed: memory holds one batch.

    Args:
        data: the data module.
        described: the description from `read_data`.
        split: "train", "val" or "test".
        count: number of images; None: all prepared views, for "train" one epoch.
        output: the npz; its folder is made.
        tokenizer: encodes and decodes the images: the upper bound of a generator's quality on its tokens.

    Raises:
        ValueError: if there are fewer images, or the data is missing.
    """
    samples = data.dataset(split)
    count = len(samples) if count is None else count
    # The training views never end: they continue with the next epoch.
    if count < 1 or (split != "train" and count > len(samples)):
        raise ValueError(f"--count: {split} has {len(samples)} images, got {count}")
    keys = [divmod(i, len(samples)) for i in range(count)] if split == "train" else list(range(count))
    loader = DataLoader(samples, data.batch_size, sampler=keys, num_workers=data.num_workers)
    digest, labels = hashlib.sha256(), []

    def pictures() -> Iterator[np.ndarray]:
        with tqdm(total=count, desc=f"images of {split}", unit="image") as progress:
            for batch in loader:
                labels.extend(batch["label"].tolist())
                image = batch["image"] if tokenizer is None else tokenizer(batch["image"])
                for picture in np.ascontiguousarray(to_uint8(image).permute(0, 2, 3, 1).numpy()):
                    digest.update(repr(picture.shape).encode())  # like the fingerprint of a prepared set
                    digest.update(picture)
                    yield picture
                progress.update(len(batch["label"]))

    shape = (count, data.image_size, data.image_size, 3)
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as part:
        write_archive(part, shape, pictures(), labels)
        file = {"file": output.name, "sha256": file_hash(part)}
    all_sources = data.sources(split)
    sources = [all_sources[i % len(all_sources)] for i in range(count)]
    record = {
        "format": "gpstoken.images",
        **file,
        "images": count,
        "image_size": data.image_size,
        "split": split,
        "labels": {str(label): number for label, number in sorted(Counter(labels).items())},
        "classes": class_names(data),
        "tokenizer": None if tokenizer is None else {"sha256": tokenizer_hash(tokenizer)},
        "data": described | {"photographs": len(set(sources)), "fingerprint": digest.hexdigest()},
        "sources": sources,  # images of one photograph are not independent
        **provenance.record(),
    }
    with replacing(output.with_suffix(".json")) as part:
        part.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{output}: {count} images of {data.name}, {split}")


def class_names(data: LightningDataModule) -> list[str] | None:
    """Names of the classes by label, where the data has them."""
    names = getattr(data, "class_names", None)
    return None if names is None else list(names)
